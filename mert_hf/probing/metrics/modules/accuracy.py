"""Share of right classes: `evaluate.load` of this file, or `load_metric("accuracy")`."""

from mert_hf.probing.metrics import module


class Accuracy(module.ScoresModule):
    """See `METRICS["accuracy"]`."""

    metric = "accuracy"
    example = module.INDEX
