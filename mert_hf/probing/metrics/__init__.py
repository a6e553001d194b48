"""Measures. Each is a file of its own and a local module of `evaluate`; no network is needed.

    metric = load_metric("roc_auc")              # evaluate.Metric, by `evaluate.load` of metrics/roc_auc.py
    found = metric.compute(references=truth, predictions=scores, labels=["rock", "jazz"])
    found["roc_auc"], found["per_class"], found["left_out"]

What references and predictions are:

    accuracy               (examples,) class indices; the same
    refined_key_accuracy   (tracks,) indices into `KEYS`; the same
    roc_auc, mean_average_precision   (examples, classes) of 0 and 1; (examples, classes) scores, larger is likelier
    r2                     (examples, outputs) numbers; the same
    beat_f1                one array of times in seconds a track; the same
    sdr                    one array (sources, samples) a track; the same
"""

from pathlib import Path

from mert_hf.common.errors import InputError

METRICS = ("accuracy", "beat_f1", "mean_average_precision", "r2", "refined_key_accuracy", "roc_auc", "sdr")
"""Names of the measures."""


def load_metric(name: str):
    """The measure: a `ScoresModule`, which is an `evaluate.Metric`. Each call gives one of its own, with nothing collected.

    Raises:
        InputError: there is no such measure, `evaluate` is not installed, or its cache cannot be written.
    """
    if name not in METRICS:
        raise InputError(f"metric {name!r} is unknown; known metrics: {', '.join(METRICS)}.")
    try:
        import evaluate
    except ImportError:
        raise InputError('measures need evaluate: pip install "mert_hf[train]"') from None
    try:
        return evaluate.load(str(Path(__file__).parent / f"{name}.py"))
    except OSError as error:
        raise InputError(f"evaluate keeps measures in its cache, which cannot be written ({error}); set HF_HOME.") from None


__all__ = ["METRICS", "load_metric"]
