"""Refined accuracy of keys: `evaluate.load` of this file, or `load_metric("refined_key_accuracy")`."""

from mert_hf.probing.metrics import module


class RefinedKeyAccuracy(module.ScoresModule):
    """See `METRICS["refined_key_accuracy"]`."""

    metric = "refined_key_accuracy"
    example = module.INDEX
