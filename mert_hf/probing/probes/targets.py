"""How labels are put to a probe and its answers read: targets, loss, predictions, one class a kind of label."""

from abc import ABC, abstractmethod

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.tasks.base import TaskData


class ClipTargets(ABC):
    """Targets and answers of a task of one label an example.

    Args:
        data: of the task.

    Attributes:
        outputs: numbers a probe gives.
        references: of every split, (examples, ...) labels as the measures take them.
        targets: the same as the loss takes them.
        missing: labels without a training example.

    Raises:
        InputError: a label does not fit the task, or nothing can be learnt.
    """

    def __init__(self, data: TaskData):
        self.data, self.outputs = data, len(data.labels)
        self.references = {
            split: np.array([data.target(example) for example in examples]) for split, examples in data.splits.items()
        }
        self.targets: dict[str, NDArray] = self.references
        counts = self.count()
        self.missing = [label for label, count in zip(data.labels, counts, strict=True) if not count]

    @abstractmethod
    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(rates, heads, batch, outputs) and the targets of the batch -> mean loss (rates, heads)."""

    @abstractmethod
    def count(self) -> NDArray:
        """(outputs,) training examples of every label."""

    def predictions(self, answers: NDArray) -> NDArray:
        """(examples, outputs) answers -> what the measures take."""
        return answers

    @property
    def strata(self) -> NDArray:
        """(training examples,) what a share of them holds in the same proportions; all one by default."""
        return np.zeros(len(self.references["train"]), dtype=np.int64)


class ClassTargets(ClipTargets):
    """One class an example: targets (examples,) int64."""

    def losses(self, logits, targets):
        """See [`ClipTargets`]."""
        flat = logits.flatten(0, 1)
        repeated = targets.expand(len(flat), -1)
        losses = F.cross_entropy(flat.flatten(0, 1), repeated.flatten(), reduction="none").view(len(flat), -1)
        return losses.mean(dim=1).view(logits.shape[:2])

    def count(self):
        """See [`ClipTargets`]."""
        return np.bincount(self.targets["train"], minlength=self.outputs)

    def predictions(self, answers):
        """(examples, classes) -> (examples,) the likeliest."""
        return answers.argmax(axis=1)

    @property
    def strata(self):
        """The classes."""
        return self.references["train"]


class TagTargets(ClipTargets):
    """Several labels an example, or none: targets (examples, labels) float32 of 0 and 1."""

    def losses(self, logits, targets):
        """See [`ClipTargets`]."""
        return _mean_losses(F.binary_cross_entropy_with_logits, logits, targets)

    def count(self):
        """See [`ClipTargets`]."""
        return self.targets["train"].sum(axis=0)


class NumberTargets(ClipTargets):
    """Numbers: targets (examples, outputs) float32, in standard deviations of the training split around its mean."""

    def __init__(self, data: TaskData):
        super().__init__(data)
        self._mean, self._deviation = self.references["train"].mean(axis=0), self.references["train"].std(axis=0)
        if not (self._deviation > 0).all():
            raise InputError(f"{data.task.name}: an output is the same in all training examples; nothing can be learnt.")
        self.targets = {
            split: ((values - self._mean) / self._deviation).astype(np.float32) for split, values in self.references.items()
        }

    def losses(self, logits, targets):
        """See [`ClipTargets`]."""
        return _mean_losses(F.mse_loss, logits, targets)

    def count(self):
        """All have every output."""
        return np.full(self.outputs, len(self.references["train"]))

    def predictions(self, answers):
        """In the dataset's own unit."""
        return answers * self._deviation + self._mean

    @property
    def strata(self):
        """Thirds of the first output."""
        first = self.references["train"][:, 0]
        return np.searchsorted(np.quantile(first, (1 / 3, 2 / 3)), first)


def _mean_losses(loss, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    repeated = targets.expand(*logits.shape[:2], -1, -1)
    return loss(logits, repeated, reduction="none").flatten(2).mean(dim=2)


def join_windows(logits: NDArray, owners: NDArray, examples: int, aggregation: str) -> dict[str, NDArray]:
    """The answers of all windows of an example as one.

    Args:
        logits: (windows, outputs).
        owners: (windows,) the example of every window.
        examples: how many.
        aggregation: of the task.

    Returns:
        (examples, outputs) by ensemble; "mean" is that of the logits, the others exist for "best_ensemble" alone. Where
        every window is an example of its own, "window": (windows, outputs) as they are.
    """
    if aggregation == "window":
        return {"window": logits}
    counts = np.bincount(owners, minlength=examples)[:, None]

    def mean(values: NDArray) -> NDArray:
        summed = np.zeros((examples, values.shape[1]))
        np.add.at(summed, owners, values)
        return summed / counts

    if aggregation != "best_ensemble" or counts.max() == 1:
        return {"mean": mean(logits)}
    shifted = logits - logits.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    greatest = np.full((examples, logits.shape[1]), -np.inf)
    np.maximum.at(greatest, owners, logarithms)
    votes = np.eye(logits.shape[1])[logits.argmax(axis=1)]
    # a tie of votes goes to the class of the greater mean probability
    average = mean(np.exp(logarithms))
    return {"mean": average, "gmean": mean(logarithms), "max": greatest, "vote": mean(votes) + 1e-3 * average}
