"""Tasks of one label an example: classes, keys, tags, numbers."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.features.extraction import extract_splits, without_unreadable
from mert_hf.probing.metrics import score_all
from mert_hf.probing.probes.bank import ProbeBank
from mert_hf.probing.probes.base import EQUAL_SHARES, STANDARDISED, TaskScorer
from mert_hf.probing.probes.baselines import autocorrelation_tempo, krumhansl_keys, majority_class, mean_label
from mert_hf.probing.probes.layer_probes import LayerProbes
from mert_hf.probing.probes.probe_training import TrainingSet, read_probes
from mert_hf.tasks.base import TaskData


class ClipScorer(TaskScorer):
    """Scores answers (answers, ...) on a split; see [`TaskScorer`]. Groups are those of the examples (`Example.group`).

    Args:
        owners: (answers,) the example of every answer: all its windows where each is an example of its own. By default every
            example has one.
    """

    def __init__(self, data: TaskData, split: str, owners: NDArray[np.int64] | None = None):
        super().__init__(data)
        examples = data.splits[split]
        self._owners = np.arange(len(examples)) if owners is None else owners
        self.references = np.array([data.target(example) for example in examples])[self._owners]
        numbers: dict[Any, int] = {}
        names = (place if example.group is None else example.group for place, example in enumerate(examples))
        of_example = [numbers.setdefault(name, len(numbers)) for name in names]
        of_answer = np.array(of_example)[self._owners]
        self.groups = len(numbers)
        order = np.argsort(of_answer, kind="stable")
        self._rows = np.split(order, np.cumsum(np.bincount(of_answer, minlength=self.groups))[:-1])

    def __call__(self, predictions, chosen=None):
        references = self.references
        if chosen is not None:
            rows = np.concatenate([self._rows[group] for group in chosen])
            references, predictions = references[rows], predictions[rows]
        return score_all(self.metrics, references, predictions, self.data.labels)

    def by_answer(self, predictions):
        """See [`TaskScorer`]: a baseline counts as often as a probe."""
        return predictions[self._owners]


class ClipProbe(LayerProbes):
    """Probes of one label an example; see [`LayerProbes`].

    Attributes:
        targets: of every split, (examples,) int64 or (examples, outputs) float32, as the loss takes them.
    """

    baseline_version = 2  # clips that cannot be read are left out

    def __init__(self, encoder, data, extraction, settings):
        super().__init__(encoder, data, extraction, settings)
        self.read_targets(data)  # before hours of features: a label may be none of the task's
        self.data, self.features = without_unreadable(data, extract_splits(encoder, data, "windows", extraction))
        if self.data is not data:
            self.read_targets(self.data)
        self.outputs = len(data.labels)
        missing = [label for label, count in zip(data.labels, self.label_counts(), strict=True) if not count]
        self.notes = (*([f"no training example of {', '.join(missing)}"] if missing else ()), STANDARDISED, EQUAL_SHARES)
        aggregation = data.task.aggregation
        if aggregation == "mean_features":
            self.features = {split: found.mean_by_example() for split, found in self.features.items()}
        self._scorers = {
            split: ClipScorer(self.data, split, self.features[split].owners if aggregation == "window" else None)
            for split in ("validation", "test")
        }
        self.scorer = self._scorers["test"]

    def read_targets(self, data: TaskData) -> None:
        """Make `targets` of the labels.

        Raises:
            InputError: a label does not fit the task, or nothing can be learnt.
        """
        self.targets = {split: np.array([data.target(one) for one in examples]) for split, examples in data.splits.items()}

    @abstractmethod
    def label_counts(self) -> NDArray:
        """(outputs,) training examples of every label."""

    @classmethod
    def readable(cls, encoder, data, extraction):
        return without_unreadable(data, extract_splits(encoder, data, "windows", extraction))[0]

    @classmethod
    def test_scorer(cls, data):
        """Windows are those that the lengths of the files give."""
        if data.task.aggregation != "window":
            return ClipScorer(data, "test")
        counts = [len(data.task.windows.spans(example.duration_s())) for example in data.splits["test"]]
        return ClipScorer(data, "test", np.repeat(np.arange(len(counts)), counts))

    @classmethod
    def baselines(cls, data):
        return {"majority": mean_label}

    def training_set(self, chosen=None):
        features = self.features["train"]
        owners = features.owners
        rows = np.arange(len(owners)) if chosen is None else np.flatnonzero(np.isin(owners, chosen))
        return TrainingSet(
            features, [rows[place : place + 1] for place in range(len(rows))], self.targets["train"][owners[rows]]
        )

    def validate(self, bank):
        logits = self._logits(bank, "validation")
        if self.data.task.protocol.choose_by == "loss":
            targets = self.targets["validation"][self.features["validation"].owners]
            return -self.losses(torch.from_numpy(logits), torch.from_numpy(targets)).numpy()
        found = np.empty(logits.shape[:2])
        for place in np.ndindex(*found.shape):
            found[place] = max(self._monitors(logits[place]).values())
        return found

    def answers(self, bank, rates):
        """See [`LayerProbes`]: of the ways to join windows, the one that is best on the validation split."""
        own = (rates, np.arange(len(rates)))
        found = []
        for validation, test in zip(*(self._logits(bank, split)[own] for split in ("validation", "test")), strict=True):
            monitors = self._monitors(validation)
            found.append(self._joined("test", test)[max(monitors, key=monitors.get)])
        return np.array(found)

    def _logits(self, bank: ProbeBank, split: str) -> NDArray:
        return read_probes(bank, self.features[split], np.arange(len(self.features[split].owners)))

    def _joined(self, split: str, logits: NDArray) -> dict[str, NDArray]:
        return join_windows(logits, self.features[split].owners, len(self.data.splits[split]), self.data.task.aggregation)

    def _monitors(self, logits: NDArray) -> dict[str, float]:
        """The task's measure of every way to join windows, on the validation split."""
        return {
            name: self._scorers["validation"](self.predictions(answers)).values[self.data.task.monitor]
            for name, answers in self._joined("validation", logits).items()
        }


class ClassProbe(ClipProbe):
    """One class an example: targets (examples,) int64."""

    @classmethod
    def baselines(cls, data):
        return {"majority": majority_class}

    @property
    def strata(self):
        return self.targets["train"]

    def label_counts(self):
        return np.bincount(self.targets["train"], minlength=len(self.data.labels))

    def losses(self, logits, targets):
        flat = logits.flatten(0, 1)
        repeated = targets.expand(len(flat), -1)
        losses = F.cross_entropy(flat.flatten(0, 1), repeated.flatten(), reduction="none").view(len(flat), -1)
        return losses.mean(dim=1).view(logits.shape[:2])

    def predictions(self, answers):
        """(answers, classes) -> (answers,) the likeliest."""
        return answers.argmax(axis=1)

    def details(self, answers):
        """`confusion`: (classes, classes) counts, the true class first."""
        confusion = np.zeros((self.outputs, self.outputs), dtype=np.int64)
        np.add.at(confusion, (self.scorer.references, self.predictions(answers)), 1)
        return {"confusion": confusion.tolist()}


class KeyProbe(ClassProbe):
    """One of the 24 keys an example."""

    @classmethod
    def baselines(cls, data):
        return super().baselines(data) | {"chroma + Krumhansl": krumhansl_keys}


class TagProbe(ClipProbe):
    """Several labels an example, or none: targets (examples, labels) float32 of 0 and 1."""

    slow_to_score = True

    def label_counts(self):
        return self.targets["train"].sum(axis=0)

    def losses(self, logits, targets):
        repeated = targets.expand(*logits.shape[:2], -1, -1)
        return F.binary_cross_entropy_with_logits(logits, repeated, reduction="none").mean(dim=(2, 3))


class NumberProbe(ClipProbe):
    """Numbers, such as arousal: targets (examples, outputs) float32, in deviations of the training split around its mean."""

    def read_targets(self, data):
        super().read_targets(data)
        self._numbers = self.targets["train"]
        self._mean, self._deviation = self._numbers.mean(axis=0), self._numbers.std(axis=0)
        if not (self._deviation > 0).all():
            raise InputError(f"{data.task.name}: an output is the same in all training examples; nothing can be learnt.")
        for split, values in self.targets.items():
            self.targets[split] = ((values - self._mean) / self._deviation).astype(np.float32)

    @classmethod
    def baselines(cls, data):
        tempo = {"onset autocorrelation": autocorrelation_tempo} if data.labels == ("tempo",) else {}
        return super().baselines(data) | tempo

    @property
    def strata(self):
        """See [`TaskProbe`]: thirds of the first output."""
        first = self._numbers[:, 0]
        return np.searchsorted(np.quantile(first, (1 / 3, 2 / 3)), first)

    def label_counts(self):
        return np.full(len(self.data.labels), len(self._numbers))

    def losses(self, logits, targets):
        return F.mse_loss(logits, targets.expand(*logits.shape[:2], -1, -1), reduction="none").mean(dim=(2, 3))

    def predictions(self, answers):
        """In the dataset's own unit."""
        return answers * self._deviation + self._mean


def join_windows(logits: NDArray, owners: NDArray, examples: int, aggregation: str) -> dict[str, NDArray]:
    """The answers of all windows of an example as one, of (windows, outputs) logits and the (windows,) examples they are of.

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
