"""R2 of every output: `evaluate.load` of this file, or `load_metric("r2")`."""

from mert_hf.probing.metrics import module


class R2(module.ScoresModule):
    """See `METRICS["r2"]`."""

    metric = "r2"
    example = module.ROW
