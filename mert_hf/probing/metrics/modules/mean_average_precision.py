"""Mean average precision: `evaluate.load` of this file, or `load_metric("mean_average_precision")`."""

from mert_hf.probing.metrics import module


class MeanAveragePrecision(module.ScoresModule):
    """See `METRICS["mean_average_precision"]`."""

    metric = "mean_average_precision"
    example = module.ROW
