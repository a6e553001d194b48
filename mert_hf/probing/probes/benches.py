"""A task on the features of one encoder, as a bank of probes meets it: what to learn from, and how good the answers are."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mert_hf.probing.features.cache import Features
from mert_hf.probing.features.encoders import Encoder
from mert_hf.probing.features.extraction import Extraction, extract_features
from mert_hf.probing.probes.bank import ProbeBank
from mert_hf.probing.probes.beat_tracking import BeatTracker
from mert_hf.probing.probes.probe_training import Feed, read_probes
from mert_hf.probing.probes.readout import PROBE_NOTES, Readout, Scorer, TaskScores, beat_targets, score_all
from mert_hf.tasks.base import SPLITS, TaskData

# frames of the validation split that are asked after every epoch, evenly spread
VALIDATION_FRAMES = 16_384
# Kinds of tasks that are answered frame by frame.
FRAME_KINDS = ("beats", "separation")

Predictions = NDArray | list[NDArray]


class Bench(Protocol):
    """What the runner asks of a task.

    Attributes:
        data: of the task, without the examples that cannot be read; its notes name them.
        hidden_size: of the features; a window's vector may be longer than a frame's.
        outputs: numbers a probe gives.
        examples: in the training split.
        test_groups: how many independent things the test split holds, such as files or pieces.
        layer_seeds: how many seeds are scored for every layer; None is all.
        notes: what a reader of the result should know.
    """

    data: TaskData
    hidden_size: int
    outputs: int
    examples: int
    test_groups: int
    layer_seeds: int | None
    notes: tuple[str, ...]

    def feed(self, chosen: NDArray[np.int64] | None = None) -> Feed:
        """What to learn from: all training examples, or those chosen."""

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `train_probes`."""

    def validate(self, bank: ProbeBank) -> NDArray:
        """(rates, heads), larger is better."""

    def answers(self, bank: ProbeBank, rates: NDArray[np.int64]) -> NDArray:
        """Of every head with the learning rate that `rates` (heads,) says, its answers on the test split."""

    def predictions(self, answers: NDArray) -> Predictions:
        """One head's answers as the measures take them."""

    def scores(self, predictions: Predictions, chosen: NDArray | None = None) -> TaskScores:
        """All measures on the test split, or on the chosen groups of it (which may repeat)."""


class LabelBench:
    """A task of one label an example; see [`Bench`].

    Attributes:
        test_references: (answers, ...) of the test split: one an example, or one a window.
    """

    layer_seeds = None

    def __init__(self, encoder: Encoder, data: TaskData, extraction: Extraction):
        self.readout = Readout(data)  # before hours of features: a label may be none of the task's
        self.data, self._features = _readable(data, _window_features(encoder, data, extraction))
        if self.data is not data:
            data, self.readout = self.data, Readout(self.data)
        self.outputs, self.notes = self.readout.outputs, self.readout.notes
        if data.task.aggregation == "mean_features":
            self._features = {split: _mean_features(features) for split, features in self._features.items()}
        self.hidden_size = self._features["train"].hidden_size
        by_window = data.task.aggregation == "window"
        self._scorers = {
            split: Scorer(self.readout, split, self._features[split].owners if by_window else None)
            for split in ("validation", "test")
        }
        self.examples, self.test_groups = len(data.splits["train"]), self._scorers["test"].groups
        self.test_references = self._scorers["test"].references

    def feed(self, chosen=None) -> Feed:
        """See [`Bench`]."""
        features = self._features["train"]
        owners = features.owners
        rows = np.arange(len(owners)) if chosen is None else np.flatnonzero(np.isin(owners, chosen))
        return Feed(
            features, [rows[place : place + 1] for place in range(len(rows))], self.readout.targets["train"][owners[rows]]
        )

    def losses(self, logits, targets):
        """See [`Bench`]."""
        return self.readout.losses(logits, targets)

    def validate(self, bank):
        """See [`Bench`]."""
        features = self._features["validation"]
        logits = read_probes(bank, features, np.arange(len(features.owners)))
        found = np.empty(logits.shape[:2])
        if self.data.task.protocol.choose_by == "loss":
            targets = torch.from_numpy(self.readout.targets["validation"][features.owners])
            return -self.readout.losses(torch.from_numpy(logits), targets).numpy()
        for place in np.ndindex(*found.shape):
            found[place] = max(self._monitors("validation", logits[place]).values())
        return found

    def answers(self, bank, rates):
        """See [`Bench`]."""
        logits = {}
        for split in ("validation", "test"):
            features = self._features[split]
            logits[split] = read_probes(bank, features, np.arange(len(features.owners)))[rates, np.arange(len(rates))]
        found = []
        for validation, test in zip(logits["validation"], logits["test"], strict=True):
            monitors = self._monitors("validation", validation)
            found.append(self._answers("test", test)[max(monitors, key=monitors.get)])
        return np.array(found)

    def predictions(self, answers):
        """See [`Bench`]."""
        return self.readout.predictions(answers)

    def scores(self, predictions, chosen=None):
        """See [`Bench`]."""
        return self._scorers["test"](predictions, chosen)

    def _answers(self, split: str, logits: NDArray) -> dict[str, NDArray]:
        return self.readout.answers(logits, self._features[split].owners, len(self.data.splits[split]))

    def _monitors(self, split: str, logits: NDArray) -> dict[str, float]:
        """The task's measure of every way to join windows."""
        joined = self._answers(split, logits)
        return {
            name: self._scorers[split](self.readout.predictions(answers)).values[self.data.task.monitor]
            for name, answers in joined.items()
        }


class BeatBench:
    """Beat tracking: a probe says of every frame whether it is a beat, the tracker joins frames to beats; see [`Bench`].

    Epochs, learning rates and layers are chosen by the validation loss: the tracker is too slow to be asked after every epoch.
    """

    outputs = 1
    layer_seeds = 1
    notes = (
        "epoch, learning rate and layer are chosen by the validation loss, not by F1",
        "training crops are cut from the features of whole windows; other layers than the chosen one are scored with one seed",
        *PROBE_NOTES,
    )

    def __init__(self, encoder: Encoder, data: TaskData, extraction: Extraction):
        self.data, self.encoder = data, encoder
        self._features = {split: extract_features(encoder, data, split, "frames", extraction) for split in SPLITS}
        self.beats = {split: [data.target(example) for example in data.splits[split]] for split in SPLITS}
        self._targets = {
            split: beat_targets(self._features[split], self.beats[split], encoder.frame_rate, encoder.first_frame_s)
            for split in ("train", "validation")
        }
        self._tracker = BeatTracker(encoder.frame_rate)
        self.hidden_size = self._features["train"].hidden_size
        self.examples, self.test_groups = len(self.beats["train"]), len(self.beats["test"])

    def feed(self, chosen=None) -> Feed:
        """See [`Bench`]."""
        features = self._features["train"]
        kept = features.owners if chosen is None else np.where(np.isin(features.owners, chosen), features.owners, -1)
        rows = [rows for rows, owner in zip(_window_rows(features), kept, strict=True) if owner >= 0]
        windows = self.data.task.train_windows or self.data.task.windows
        crop = None if windows.duration_s is None else max(1, round(windows.duration_s * self.encoder.frame_rate))
        return Feed(features, rows, self._targets["train"], crop or max(map(len, rows)))

    def losses(self, logits, targets):
        """See [`Bench`]."""
        repeated = targets.expand(*logits.shape[:2], -1, -1)
        return F.binary_cross_entropy_with_logits(logits, repeated, reduction="none").mean(dim=(2, 3))

    def validate(self, bank):
        """See [`Bench`]."""
        rows = np.arange(len(self._targets["validation"]))
        rows = rows[:: max(1, len(rows) // VALIDATION_FRAMES)]
        logits = torch.from_numpy(read_probes(bank, self._features["validation"], rows))
        return -self.losses(logits, torch.from_numpy(self._targets["validation"][rows])).numpy()

    def answers(self, bank, rates):
        """See [`Bench`]; (heads, frames) how likely a beat is."""
        features = self._features["test"]
        logits = read_probes(bank, features, np.arange(int(features.rows.sum())))
        return 1 / (1 + np.exp(-logits[rates, np.arange(len(rates)), :, 0]))

    def predictions(self, answers):
        """See [`Bench`]."""
        return [self.track(activation, times) for activation, times in self.activations(answers)]

    def activations(self, answers: NDArray) -> list[tuple[NDArray, NDArray]]:
        """Of every test example, (frames,) activation and the frames' times in seconds."""
        features = self._features["test"]
        found, row = [], 0
        for windows in features.windows:
            rows = sum(window.rows for window in windows)
            times = [window.start_s + np.arange(window.rows) / self.encoder.frame_rate for window in windows]
            found.append((answers[row : row + rows], np.concatenate(times) + self.encoder.first_frame_s))
            row += rows
        return found

    def track(self, activation: NDArray, times: NDArray) -> NDArray:
        """Beats in seconds."""
        return times[np.round(self._tracker(activation) * self.encoder.frame_rate).astype(np.int64)]

    def scores(self, predictions, chosen=None):
        """See [`Bench`]."""
        return beat_scores(self.data, self.beats["test"], predictions, chosen)


def beat_scores(data: TaskData, beats: Sequence[NDArray], predictions: Sequence[NDArray], chosen: NDArray | None) -> TaskScores:
    """All measures of a beat task on the test split, or on chosen examples of it."""
    places = range(len(beats)) if chosen is None else chosen
    names = [f"{data.splits['test'][place].name} ({number})" for number, place in enumerate(places)]
    truths, guesses = [beats[place] for place in places], [predictions[place] for place in places]
    return score_all(data.task.metrics, truths, guesses, names)


def make_bench(encoder: Encoder, data: TaskData, extraction: Extraction) -> LabelBench | BeatBench:
    """The bench of a task; features are made where the cache lacks them."""
    return (BeatBench if data.task.kind == "beats" else LabelBench)(encoder, data, extraction)


def readable(encoder: Encoder, data: TaskData, extraction: Extraction) -> TaskData:
    """The data that an encoder is judged by, without the few examples whose audio cannot be read; its notes name them.

    Raises:
        InputError: as in `extract_features`, which finds them.
    """
    if data.task.kind in FRAME_KINDS:  # these need all
        return data
    return _readable(data, _window_features(encoder, data, extraction))[0]


def _window_features(encoder: Encoder, data: TaskData, extraction: Extraction) -> dict[str, Features]:
    return {split: extract_features(encoder, data, split, "windows", extraction) for split in SPLITS}


def _readable(data: TaskData, features: dict[str, Features]) -> tuple[TaskData, dict[str, Features]]:
    """Data and features without the examples that have no window."""
    splits, kept, notes = dict(data.splits), dict(features), list(data.notes)
    for split, found in features.items():
        places = [place for place, windows in enumerate(found.windows) if windows]
        if len(places) == len(found.windows):
            continue
        lost = [data.splits[split][place].name for place, windows in enumerate(found.windows) if not windows]
        notes.append(f"left out of the {split} split, as their audio cannot be read: {', '.join(lost)}")
        splits[split] = [data.splits[split][place] for place in places]
        kept[split] = Features(found.shards, [found.windows[place] for place in places])
    return (replace(data, splits=splits, notes=tuple(notes)), kept) if len(notes) > len(data.notes) else (data, kept)


def _window_rows(features: Features) -> list[NDArray[np.int64]]:
    stops = np.cumsum(features.rows)
    return [np.arange(stop - rows, stop) for stop, rows in zip(stops, features.rows, strict=True)]


def _mean_features(features: Features) -> Features:
    """One row an example: the mean of its windows."""
    rows, means, row = features.rows, [], 0
    for windows in features.windows:
        means.append(features.take(np.arange(row, row + len(windows))).mean(axis=0))
        row += len(windows)
    if not (rows == 1).all():
        raise ValueError("features of windows have one row each.")
    return Features([np.stack(means)], [windows[:1] for windows in features.windows])
