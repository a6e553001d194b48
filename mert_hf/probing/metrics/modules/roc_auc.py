"""Area under the ROC curve: `evaluate.load` of this file, or `load_metric("roc_auc")`."""

from mert_hf.probing.metrics import module


class RocAuc(module.ScoresModule):
    """See `METRICS["roc_auc"]`."""

    metric = "roc_auc"
    example = module.ROW
