"""Scores of predictions on the test split: all measures of a task, on all examples or on those of a resampling."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import NDArray

from mert_hf.probing.metrics import load_metric
from mert_hf.tasks.base import TaskData

Predictions = NDArray | Sequence[NDArray] | Mapping[str, NDArray]
"""(examples, ...) answers, the beats of every example, or of a separation the SDR of every track (its audio is too large)."""


@dataclass(frozen=True)
class TaskScores:
    """Scores of all measures of a task.

    Attributes:
        values, left_out: as in `metrics.checks.Scores`, of all measures together.
        per_class: the same by measure; without the measures that have none.
    """

    values: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, str]


class TaskScorer(ABC):
    """Scores predictions on a split, all or those of some groups.

    Args:
        data: of the task, without the examples that cannot be read.

    Attributes:
        groups: how many things the split holds that are independent of each other, such as files or pieces; resampling takes
            all answers of one or none.
    """

    groups: int

    def __init__(self, data: TaskData):
        self.data = data
        self._metrics = {name: load_metric(name) for name in data.task.metrics}

    @abstractmethod
    def __call__(self, predictions: Predictions, chosen: Sequence[int] | None = None) -> TaskScores:
        """All measures of the task; `chosen` are the groups that count (which may repeat), all by default."""

    def by_answer(self, predictions: Predictions) -> Predictions:
        """Predictions of one answer an example, as a baseline makes them -> as they are scored."""
        return predictions

    def _score(self, references, predictions, labels: Sequence[str]) -> TaskScores:
        """Arguments and errors as those of the measures."""
        values: dict[str, float] = {}
        per_class, left_out = {}, {}
        for name, metric in self._metrics.items():
            found = metric.compute(references=references, predictions=predictions, labels=labels)
            per_class[name] = found.pop("per_class")
            left_out |= found.pop("left_out")
            values |= found
        return TaskScores(values, {name: scores for name, scores in per_class.items() if scores}, left_out)
