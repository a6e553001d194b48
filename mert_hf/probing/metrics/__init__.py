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

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mert_hf.common.errors import InputError

METRIC_NAMES = ("accuracy", "beat_f1", "mean_average_precision", "r2", "refined_key_accuracy", "roc_auc", "sdr")
"""Of the measures."""


@dataclass(frozen=True)
class TaskScores:
    """Scores of all measures of a task.

    Attributes:
        values, left_out: as in `checks.Scores`, of all measures together.
        per_class: the same by measure; without the measures that have none.
    """

    values: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def load_metric(name: str):
    """The measure: a `ScoresModule`, which is an `evaluate.Metric`. Each call gives one of its own, with nothing collected.

    Raises:
        InputError: there is no such measure, or the cache of `evaluate` cannot be written.
    """
    import evaluate

    if name not in METRIC_NAMES:
        raise InputError(f"metric {name!r} is unknown; known metrics: {', '.join(METRIC_NAMES)}.")
    try:
        return evaluate.load(str(Path(__file__).parent / f"{name}.py"))
    except OSError as error:
        raise InputError(f"evaluate keeps measures in its cache, which cannot be written ({error}); set HF_HOME.") from None


def load_metrics(names: Iterable[str]) -> dict[str, Any]:
    """Several measures by their names, for [`score_all`]; errors as in [`load_metric`]."""
    return {name: load_metric(name) for name in names}


def score_all(metrics: Mapping[str, Any], references, predictions, labels: Sequence[str]) -> TaskScores:
    """All measures of the same answers; arguments and errors as theirs."""
    scores = TaskScores()
    for name, metric in metrics.items():
        found = metric.compute(references=references, predictions=predictions, labels=labels)
        scores.left_out.update(found.pop("left_out"))
        per_class = found.pop("per_class")
        if per_class:
            scores.per_class[name] = per_class
        scores.values.update(found)
    return scores


def __getattr__(name: str) -> Any:
    """`METRICS` of version 0.1: functions that give `checks.Scores`, by name."""
    if name != "METRICS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("METRICS[name](...) is now load_metric(name).compute(...).", FutureWarning, stacklevel=2)
    return {measure: metric.score for measure, metric in load_metrics(METRIC_NAMES).items()}


__all__ = ["METRIC_NAMES", "TaskScores", "load_metric", "load_metrics", "score_all"]
