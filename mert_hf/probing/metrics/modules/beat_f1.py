"""F1 of beats: `evaluate.load` of this file, or `load_metric("beat_f1")`."""

from mert_hf.probing.metrics import module


class BeatF1(module.ScoresModule):
    """See `METRICS["beat_f1"]`."""

    metric = "beat_f1"
    example = module.ROW
