"""How each kind of task is put to a probe and its answer read: targets, loss, the answer of several windows, predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.features.cache import Features
from mert_hf.probing.metrics import METRICS
from mert_hf.tasks.base import TaskData

# what no paper does, or does otherwise, on every bench
EQUAL_SHARES = "the weighted sum begins with equal shares of all layers (MARBLE draws them at random)"
PROBE_NOTES = ("features are standardised layer by layer, by mean and deviation of the training split", EQUAL_SHARES)


class Readout:
    """Targets and answers of a task of one label an example.

    Args:
        data: of the task; kind multiclass, key, multilabel or regression.

    Attributes:
        outputs: numbers a probe gives.
        targets: of every split, (examples,) int64 or (examples, outputs) float32; regression in standard deviations of the
            training split around its mean.
        notes: classes without a training example, and what differs from the papers' probes.

    Raises:
        InputError: a label does not fit the task, or an output of a regression is the same for all training examples.
    """

    def __init__(self, data: TaskData):
        self.data, self.kind, self.outputs = data, data.task.kind, len(data.labels)
        raw = {split: np.array([data.target(example) for example in examples]) for split, examples in data.splits.items()}
        self.references = raw
        self._mean, self._deviation = np.zeros(1), np.ones(1)
        if self.kind == "regression":
            self._mean, self._deviation = raw["train"].mean(axis=0), raw["train"].std(axis=0)
            if not (self._deviation > 0).all():
                raise InputError(f"{data.task.name}: an output is the same in all training examples; nothing can be learnt.")
            raw = {split: ((values - self._mean) / self._deviation).astype(np.float32) for split, values in raw.items()}
        self.targets: dict[str, NDArray] = raw
        self.notes = (*self._missing_classes(), *PROBE_NOTES)

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(rates, heads, batch, outputs) and the targets of the batch -> mean loss (rates, heads)."""
        lead = logits.shape[:2]
        flat = logits.flatten(0, 1)
        if self.kind in ("multiclass", "key"):
            repeated = targets.expand(len(flat), -1)
            losses = F.cross_entropy(flat.flatten(0, 1), repeated.flatten(), reduction="none").view(len(flat), -1)
        else:
            repeated = targets.expand(len(flat), -1, -1)
            score = F.mse_loss if self.kind == "regression" else F.binary_cross_entropy_with_logits
            losses = score(flat, repeated, reduction="none").flatten(1)
        return losses.mean(dim=1).view(lead)

    def answers(self, logits: NDArray, owners: NDArray, examples: int) -> dict[str, NDArray]:
        """The answers of all windows of an example as one.

        Args:
            logits: (windows, outputs).
            owners: (windows,) the example of every window.
            examples: how many.

        Returns:
            (examples, outputs) by ensemble; "mean" is that of the logits, the others exist for "best_ensemble" alone. Where
            every window is an example of its own, "window": (windows, outputs) as they are.
        """
        if self.data.task.aggregation == "window":
            return {"window": logits}
        counts = np.bincount(owners, minlength=examples)[:, None]

        def mean(values: NDArray) -> NDArray:
            summed = np.zeros((examples, values.shape[1]))
            np.add.at(summed, owners, values)
            return summed / counts

        if self.data.task.aggregation != "best_ensemble" or counts.max() == 1:
            return {"mean": mean(logits)}
        shifted = logits - logits.max(axis=1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        greatest = np.full((examples, logits.shape[1]), -np.inf)
        np.maximum.at(greatest, owners, logarithms)
        votes = np.eye(logits.shape[1])[logits.argmax(axis=1)]
        # a tie of votes goes to the class of the greater mean probability
        average = mean(np.exp(logarithms))
        return {"mean": average, "gmean": mean(logarithms), "max": greatest, "vote": mean(votes) + 1e-3 * average}

    def predictions(self, answers: NDArray) -> NDArray:
        """(examples, outputs) answers -> what the measures take."""
        if self.kind in ("multiclass", "key"):
            return answers.argmax(axis=1)
        if self.kind == "regression":
            return answers * self._deviation + self._mean
        return answers

    def _missing_classes(self) -> tuple[str, ...]:
        train = self.targets["train"]
        if self.kind in ("multiclass", "key"):
            counts = np.bincount(train, minlength=self.outputs)
        elif self.kind == "multilabel":
            counts = train.sum(axis=0)
        else:
            return ()
        missing = [label for label, count in zip(self.data.labels, counts, strict=True) if not count]
        return (f"no training example of {', '.join(missing)}",) if missing else ()


@dataclass(frozen=True)
class TaskScores:
    """Scores of all measures of a task.

    Attributes:
        values, left_out: as in [`Scores`], of all measures together.
        per_class: by measure, as in [`Scores`]; without the measures that have none.
    """

    values: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, str]


class Scorer:
    """Scores answers on a split, all or those of some groups.

    Args:
        readout: of the task.
        split: that was asked.
        owners: (answers,) the example of every answer: all its windows where each is an example of its own. By default every
            example has one.

    Attributes:
        references: (answers, ...) what is right.
        groups: how many things the split holds that are independent of each other, such as files or pieces (`Example.group`):
            resampling takes all answers of one or none.
    """

    def __init__(self, readout: Readout, split: str, owners: NDArray[np.int64] | None = None):
        examples = readout.data.splits[split]
        owners = np.arange(len(examples)) if owners is None else owners
        self.references = readout.references[split][owners]
        self._data = readout.data
        numbers: dict[Any, int] = {}
        names = (place if example.group is None else example.group for place, example in enumerate(examples))
        of_example = [numbers.setdefault(name, len(numbers)) for name in names]
        of_answer = np.array(of_example)[owners]
        self.groups = len(numbers)
        order = np.argsort(of_answer, kind="stable")
        self._rows = np.split(order, np.cumsum(np.bincount(of_answer, minlength=self.groups))[:-1])

    def __call__(self, predictions: NDArray, chosen: NDArray[np.int64] | None = None) -> TaskScores:
        """All measures of the task; `chosen` are the groups that count (which may repeat), all by default."""
        references = self.references
        if chosen is not None:
            rows = np.concatenate([self._rows[group] for group in chosen])
            references, predictions = references[rows], predictions[rows]
        return score_all(self._data.task.metrics, references, predictions, self._data.labels)


def score_all(metrics: Sequence[str], references, predictions, labels: Sequence[str]) -> TaskScores:
    """All measures of a task (keys in `METRICS`); arguments and errors as theirs."""
    scored = {name: METRICS[name](references, predictions, labels) for name in metrics}
    return TaskScores(
        {name: value for scores in scored.values() for name, value in scores.values.items()},
        {name: dict(scores.per_class) for name, scores in scored.items() if scores.per_class},
        {name: reason for scores in scored.values() for name, reason in scores.left_out.items()},
    )


def beat_targets(features: Features, times: Sequence[NDArray], frame_rate: float, first_frame_s: float) -> NDArray[np.float32]:
    """(rows, 1) 1 in the frames nearest to a beat and beside them (MARBLE v1), 0 elsewhere.

    Args:
        features: of a split, a row a frame.
        times: beats of every example in seconds; a track without any is all 0.
        frame_rate, first_frame_s: of the encoder.
    """
    targets = np.zeros((int(features.rows.sum()), 1), dtype=np.float32)
    row = 0
    for windows, beats in zip(features.windows, times, strict=True):
        for window in windows:
            nearest = np.round((beats - window.start_s - first_frame_s) * frame_rate).astype(np.int64)
            for beside in (-1, 0, 1):
                frames = nearest + beside
                targets[row + frames[(frames >= 0) & (frames < window.rows)]] = 1
            row += window.rows
    return targets
