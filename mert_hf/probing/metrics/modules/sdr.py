"""Signal-to-distortion ratio: `evaluate.load` of this file, or `load_metric("sdr")`."""

from mert_hf.probing.metrics import module


class SDR(module.ScoresModule):
    """See `METRICS["sdr"]`."""

    metric = "sdr"
    example = module.ROWS
