"""Measures. Every one is a function `(references, predictions, labels) -> Scores`, and a local module of `evaluate`.

    scores = METRICS["roc_auc"](references, predictions, labels)
    module = load_metric("roc_auc")              # evaluate.Metric; no network is needed

What references and predictions are, by the kind of task:

    accuracy               (examples,) class indices; the same
    refined_key_accuracy   (tracks,) indices into `KEYS`; the same
    roc_auc, mean_average_precision   (examples, classes) of 0 and 1; (examples, classes) scores, larger is likelier
    r2                     (examples, outputs) numbers; the same
    beat_f1                one array of times in seconds a track; the same
    sdr                    one array (sources, samples) a track; the same
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.accuracy import accuracy
from mert_hf.probing.metrics.beats import beat_f1
from mert_hf.probing.metrics.key import refined_key_accuracy
from mert_hf.probing.metrics.ranking import mean_average_precision, roc_auc
from mert_hf.probing.metrics.regression import r2
from mert_hf.probing.metrics.scores import Scores
from mert_hf.probing.metrics.separation import sdr

METRICS: dict[str, Callable[[Any, Any, Sequence[str]], Scores]] = {
    "accuracy": accuracy,
    "beat_f1": beat_f1,
    "mean_average_precision": mean_average_precision,
    "r2": r2,
    "refined_key_accuracy": refined_key_accuracy,
    "roc_auc": roc_auc,
    "sdr": sdr,
}


def load_metric(name: str):
    """The measure as a module of `evaluate` (`evaluate.Metric`), read from this package.

    Raises:
        InputError: there is no such measure.
    """
    import evaluate

    if name not in METRICS:
        raise InputError(f"metric {name!r} is unknown; known metrics: {', '.join(METRICS)}.")
    return evaluate.load(str(Path(__file__).parent / "modules" / f"{name}.py"))


__all__ = ["METRICS", "Scores", "load_metric"]
