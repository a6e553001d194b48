"""Tasks of one label an example: classes, keys, tags, numbers."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.probing.features.extraction import extract_splits, without_unreadable
from mert_hf.probing.probes.base import EQUAL_SHARES, STANDARDISED, Baseline
from mert_hf.probing.probes.baselines import autocorrelation_tempo, krumhansl_keys, majority_class, mean_label
from mert_hf.probing.probes.layer_probes import LayerProbes
from mert_hf.probing.probes.probe_training import TrainingSet, read_probes
from mert_hf.probing.probes.scoring import TaskScorer
from mert_hf.probing.probes.targets import ClassTargets, ClipTargets, NumberTargets, TagTargets, join_windows
from mert_hf.tasks.base import TaskData


class ClipScorer(TaskScorer):
    """Scores answers (answers, ...) on a split; see [`TaskScorer`]. Groups are those of the examples (`Example.group`).

    Args:
        data: of the task.
        split: that was asked.
        owners: (answers,) the example of every answer: all its windows where each is an example of its own. By default every
            example has one.

    Attributes:
        references: (answers, ...) what is right.
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
        """See [`TaskScorer`]."""
        references = self.references
        if chosen is not None:
            rows = np.concatenate([self._rows[group] for group in chosen])
            references, predictions = references[rows], predictions[rows]
        return self._score(references, predictions, self.data.labels)

    def by_answer(self, predictions):
        """See [`TaskScorer`]: a baseline counts as often as a probe."""
        return predictions[self._owners]


class ClipProbe(LayerProbes):
    """Probes of one label an example; see [`LayerProbes`].

    Class attributes:
        targets_type: of the kind's labels.
    """

    targets_type: type[ClipTargets]
    baseline_version = 2  # clips that cannot be read are left out

    def __init__(self, encoder, data, extraction, settings):
        super().__init__(encoder, data, extraction, settings)
        self.targets = self.targets_type(data)  # before hours of features: a label may be none of the task's
        features = extract_splits(encoder, data, "windows", extraction)
        self.data, self.features = without_unreadable(data, features)
        if self.data is not data:
            self.targets = self.targets_type(self.data)
        self.outputs = self.targets.outputs
        missing = (f"no training example of {', '.join(self.targets.missing)}",) if self.targets.missing else ()
        self.notes = (*missing, STANDARDISED, EQUAL_SHARES)
        aggregation = data.task.aggregation
        if aggregation == "mean_features":
            self.features = {split: found.mean_by_example() for split, found in self.features.items()}
        self._scorers = {
            split: ClipScorer(self.data, split, self.features[split].owners if aggregation == "window" else None)
            for split in ("validation", "test")
        }
        self.scorer = self._scorers["test"]

    @classmethod
    def readable(cls, encoder, data, extraction):
        """See [`TaskProbe`]."""
        return without_unreadable(data, extract_splits(encoder, data, "windows", extraction))[0]

    @classmethod
    def test_scorer(cls, data):
        """See [`TaskProbe`]; windows are those that the lengths of the files give."""
        if data.task.aggregation != "window":
            return ClipScorer(data, "test")
        counts = [len(data.task.windows.spans(example.duration_s())) for example in data.splits["test"]]
        return ClipScorer(data, "test", np.repeat(np.arange(len(counts)), counts))

    @classmethod
    def baselines(cls, data) -> dict[str, Baseline]:
        """See [`TaskProbe`]."""
        return {"majority": mean_label}

    @property
    def strata(self):
        """See [`TaskProbe`]."""
        return self.targets.strata

    def training_set(self, chosen=None):
        """See [`LayerProbes`]."""
        features = self.features["train"]
        owners = features.owners
        rows = np.arange(len(owners)) if chosen is None else np.flatnonzero(np.isin(owners, chosen))
        targets = self.targets.targets["train"][owners[rows]]
        return TrainingSet(features, [rows[place : place + 1] for place in range(len(rows))], targets)

    def losses(self, logits, targets):
        """See [`LayerProbes`]."""
        return self.targets.losses(logits, targets)

    def validate(self, bank):
        """See [`LayerProbes`]."""
        features = self.features["validation"]
        logits = read_probes(bank, features, np.arange(len(features.owners)))
        if self.data.task.protocol.choose_by == "loss":
            targets = torch.from_numpy(self.targets.targets["validation"][features.owners])
            return -self.losses(torch.from_numpy(logits), targets).numpy()
        found = np.empty(logits.shape[:2])
        for place in np.ndindex(*found.shape):
            found[place] = max(self._monitors(logits[place]).values())
        return found

    def answers(self, bank, rates):
        """See [`LayerProbes`]: of the ways to join windows, the one that is best on the validation split."""
        logits = {}
        for split in ("validation", "test"):
            features = self.features[split]
            logits[split] = read_probes(bank, features, np.arange(len(features.owners)))[rates, np.arange(len(rates))]
        found = []
        for validation, test in zip(logits["validation"], logits["test"], strict=True):
            monitors = self._monitors(validation)
            found.append(self._joined("test", test)[max(monitors, key=monitors.get)])
        return np.array(found)

    def predictions(self, answers):
        """See [`TaskProbe`]."""
        return self.targets.predictions(answers)

    def _joined(self, split: str, logits: NDArray) -> dict[str, NDArray]:
        return join_windows(logits, self.features[split].owners, len(self.data.splits[split]), self.data.task.aggregation)

    def _monitors(self, logits: NDArray) -> dict[str, float]:
        """The task's measure of every way to join windows, on the validation split."""
        return {
            name: self._scorers["validation"](self.predictions(answers)).values[self.data.task.monitor]
            for name, answers in self._joined("validation", logits).items()
        }


class ClassProbe(ClipProbe):
    """One class an example."""

    targets_type = ClassTargets

    @classmethod
    def baselines(cls, data):
        """See [`TaskProbe`]."""
        return {"majority": majority_class}

    def details(self, answers):
        """`confusion`: (classes, classes) counts, the true class first."""
        confusion = np.zeros((self.outputs, self.outputs), dtype=np.int64)
        np.add.at(confusion, (self.scorer.references, self.predictions(answers)), 1)
        return {"confusion": confusion.tolist()}


class KeyProbe(ClassProbe):
    """One of the 24 keys an example."""

    @classmethod
    def baselines(cls, data):
        """See [`TaskProbe`]."""
        return super().baselines(data) | {"chroma + Krumhansl": krumhansl_keys}


class TagProbe(ClipProbe):
    """Several labels an example, or none."""

    targets_type = TagTargets
    slow_to_score = True


class NumberProbe(ClipProbe):
    """Numbers, such as arousal and valence."""

    targets_type = NumberTargets

    @classmethod
    def baselines(cls, data):
        """See [`TaskProbe`]."""
        tempo = {"onset autocorrelation": autocorrelation_tempo} if data.labels == ("tempo",) else {}
        return super().baselines(data) | tempo
