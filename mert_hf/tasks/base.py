"""What a task is: a frozen description of a dataset, its labels, its windows, its protocol and its measures.

    data = TASKS["gtzan_genre"].load()           # nothing is decoded yet
    for example in data.splits["train"]:
        waveform = example.read(24000)           # (samples,) float32, mono
        target = data.target(example)            # int, array or times; see `Kind`

Audio is cut into windows by whoever embeds it, with `task.windows.spans(duration_s)`.
"""

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.tasks.examples import Example
from mert_hf.tasks.published import published_values

SPLITS = ("train", "validation", "test")

Kind = Literal["multiclass", "multilabel", "regression", "beats", "key", "separation"]
"""What a label is and what `TaskData.target` makes of it.

    multiclass   one of the labels                            -> int, its index
    key          one of the 24 names in `KEYS`                -> int, its index
    multilabel   a tuple of labels, which may be empty        -> (labels,) float32 of 0 and 1
    regression   a tuple of numbers in the order of `labels`  -> (labels,) float32, in the dataset's own unit
    beats        times in seconds, ascending                  -> (beats,) float64, seconds from the start of the audio
    separation   a tuple of audio, one a label                -> the same; `read_source` reads one
"""

CLIP_KINDS: tuple[Kind, ...] = ("multiclass", "key", "multilabel", "regression")
"""Kinds of one answer an example."""

MEASURES: Mapping[Kind, tuple[tuple[str, ...], str]] = {
    "multiclass": (("accuracy",), "accuracy"),
    "multilabel": (("roc_auc", "mean_average_precision"), "roc_auc"),
    "regression": (("r2",), "r2"),
    "beats": (("beat_f1",), "beat_f1"),
    "key": (("refined_key_accuracy",), "refined_accuracy"),
    "separation": (("sdr",), "sdr"),
}
"""`Task.metrics` and `Task.monitor` of the papers, by kind."""

Aggregation = Literal["mean_logits", "mean_features", "window", "best_ensemble"]
"""How the windows of an example become one answer.

    mean_logits    a probe learns from every window; at validation and test the mean of the logits counts (MARBLE)
    mean_features  the mean of all windows' features is one example, in training too (Deezer's comparison)
    window         every window is an example of its own
    best_ensemble  of majority vote, and maximum, geometric mean and mean of the probabilities, the one that is best on the
                   validation split (MARBLE's key task)
"""

KEYS = tuple(
    f"{tonic} {mode}"
    for mode in ("major", "minor")
    for tonic in ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
)
"""The 24 keys: majors from C upwards, then minors; tonics with flats (MARBLE)."""


@dataclass(frozen=True)
class Windows:
    """How audio is cut before it is embedded.

    Attributes:
        duration_s: length of a window; None hears the whole audio at once.
        hop_s: from one start to the next; None is `duration_s`, no overlap.
        heard_s: only this much from the beginning is heard; None is all.
        least_s: a last window shorter than this is left out; None is `duration_s` (only whole windows). Audio shorter than one
            window is always one window, however short.
        most: at most so many windows, spread evenly; None is all.
        least_rms: windows whose RMS lies below this share of that of all that is heard are to be left out; 0 keeps all. `spans`
            sees no samples: whoever hears them holds this rule, and `most` where both are given.
        standardise: every window is brought to mean 0 and standard deviation 1 before the model.
    """

    duration_s: float | None = None
    hop_s: float | None = None
    heard_s: float | None = None
    least_s: float | None = None
    most: int | None = None
    least_rms: float = 0.0
    standardise: bool = False

    def spans(self, duration_s: float) -> list[tuple[float, float]]:
        """Start and end in seconds of every window of audio that lasts `duration_s`.

        Raises:
            InputError: the audio has no length.
        """
        if not duration_s > 0:
            raise InputError(f"audio of {duration_s!r} s cannot be cut into windows.")
        if self.heard_s is not None:
            duration_s = min(duration_s, self.heard_s)
        if self.duration_s is None or duration_s <= self.duration_s:
            return [(0.0, duration_s)]
        hop_s = self.hop_s or self.duration_s
        least_s = self.duration_s if self.least_s is None else self.least_s
        tolerance_s = 1e-6  # a length counted in samples may miss a whole number of windows by rounding
        spans = []
        for number in range(math.ceil(duration_s / hop_s)):
            start_s = number * hop_s
            end_s = min(start_s + self.duration_s, duration_s)
            if end_s - start_s >= least_s - tolerance_s:
                spans.append((start_s, end_s))
        if self.most is not None and not self.least_rms and len(spans) > self.most:
            spans = [spans[place * len(spans) // self.most] for place in range(self.most)]
        return spans


@dataclass(frozen=True)
class ProbeProtocol:
    """How a probe is trained on frozen features.

    Attributes:
        name: of the paper whose protocol it is.
        head: "mlp" (one hidden layer: linear, ReLU, dropout, linear), "linear", or "lstm" (separation).
        hidden_size, dropout, bias: of the head.
        batch_size: examples (windows) an update.
        learning_rate: of the task's single run; `learning_rates` are those to choose from on the validation split.
        max_epochs: at most; `steps_per_epoch` None is once through the training split.
        plateau_patience: epochs without progress after which the rate is halved; None never.
        stop_patience: epochs without progress after which training stops; None never.
        choose_by: "monitor" (the task's measure) or "loss": what picks the best epoch on the validation split.
        test_resamples: the test split is drawn so many times without replacement, `test_share` of it each; mean and standard
            deviation are reported. 0: the whole split once.
        limited_shares, limited_draws: shares of the training split for runs with little data, and draws of each.
        weight_decay: by which a trained head's weights shrink in every update, times the learning rate (AdamW, arXiv
            1711.05101).
        penalties: a linear head is not trained by batches but solved to its minimum, with each of these times half its squared
            weights added to the mean loss; validation chooses, as among learning rates. Empty: the head is trained.
        alternatives: other probes that are tried as well; of every layer, the one that is best on the validation split counts.
        pooling: how the frames of a window become one vector: their mean, or mean and standard deviation ("mean_std").
        context_s: seconds before and after its own frame of which a probe of frames sees the frames too.
    """

    name: str
    head: Literal["mlp", "linear", "lstm"]
    hidden_size: int = 512
    dropout: float = 0.0
    bias: bool = True
    batch_size: int = 64
    learning_rate: float = 1e-3
    learning_rates: tuple[float, ...] = ()
    max_epochs: int = 100
    steps_per_epoch: int | None = None
    plateau_patience: int | None = None
    stop_patience: int | None = None
    choose_by: Literal["monitor", "loss"] = "monitor"
    test_resamples: int = 0
    test_share: float = 1.0
    limited_shares: tuple[float, ...] = ()
    limited_draws: int = 0
    weight_decay: float = 0.0
    penalties: tuple[float, ...] = ()
    alternatives: tuple["ProbeProtocol", ...] = ()
    pooling: Literal["mean", "mean_std"] = "mean"
    context_s: float = 0.0

    @property
    def trials(self) -> tuple[float, ...]:
        """What is tried side by side: penalties of a head that is solved, learning rates of one that is trained."""
        return self.penalties or self.learning_rates or (self.learning_rate,)

    def described(self) -> dict[str, Any]:
        """What results and networks depend on, as their names spell it: what came later stands in it where it is used."""
        later = ("weight_decay", "penalties", "alternatives", "pooling", "context_s")
        default = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if name not in later or value != default[name]}


@dataclass(frozen=True)
class Loaded:
    """What a source gives: examples of every split, the labels it found, and where it all came from."""

    splits: Mapping[str, Sequence[Example]]  # "train", "validation" and "test", each a lazy sequence of [`Example`]
    labels: tuple[str, ...]  # names found in the data; empty where the source cannot know them
    origin: str  # folder or Hub id, for results and messages
    revisions: Mapping[str, str]  # commit of every Hub repository that was read; empty for a folder
    fingerprint: str  # changes with the content of the splits, for caches
    notes: tuple[str, ...] = ()  # what was left out
    split_by: str = "the dataset's own"  # how the splits came about


@dataclass(frozen=True)
class Check:
    """What was found about the data of a task before it is loaded, one sentence each."""

    problems: tuple[str, ...] = ()  # why the task cannot be run; empty where it can
    # what else is to be known: sizes of splits that are not the official ones, what is only seen at loading
    notes: tuple[str, ...] = ()


class Source(ABC):
    """Where the examples of a task come from."""

    @abstractmethod
    def describe(self) -> str:
        """Where the data is expected, and in which layout, for `--check` and the README."""

    def needs_download(self, folder: Path | None) -> bool:
        """Whether loading fetches data from the Hub, unless it is in the cache."""
        return False

    def check(self, folder: Path | None) -> Check:
        """What is missing, and what is not known before loading.

        Args:
            folder: the dataset's folder; None or a folder that does not exist asks the Hub where the source is there.
        """
        return Check()

    @abstractmethod
    def load(self, folder: Path | None) -> Loaded:
        """The examples; InputError where they cannot be had."""

    def pinned(self, revisions: Mapping[str, str]) -> Self:
        """The same source that reads these commits of its Hub repositories; ids of others are passed over."""
        return self


@dataclass(frozen=True)
class Task:
    """A task. Its numbers are those of the paper named in its file; what no paper says is called ours there.

    Attributes:
        name: key in `TASKS`, such as "gtzan_genre".
        title: as it stands in tables.
        dataset: name of the dataset's folder below a data folder; tasks of one dataset share it.
        kind: what its labels are.
        source: where its examples come from.
        protocol: how its probes are trained.
        metrics: keys in `mert_hf.probing.metrics.METRIC_NAMES`; those of `MEASURES` by default, as is the monitor.
        monitor: the value that chooses epoch and learning rate on the validation split; larger is better.
        labels: classes or outputs; empty where the data names them, then `num_labels` says how many there must be (0: any).
        windows: how audio is cut.
        train_windows: the same in training, where it differs.
        random_train_windows: a window of `train_windows` starts anywhere, another place every epoch.
        aggregation: how windows become one answer.
        split_sizes: examples of the official splits; another number is noted in the results.
        ours: choices that no paper states.
    """

    name: str
    title: str
    dataset: str
    kind: Kind
    source: Source
    protocol: ProbeProtocol
    metrics: tuple[str, ...] = ()
    monitor: str = ""
    labels: tuple[str, ...] = ()
    num_labels: int = 0
    windows: Windows = Windows()
    train_windows: Windows | None = None
    random_train_windows: bool = False
    aggregation: Aggregation = "mean_logits"
    split_sizes: Mapping[str, int] = field(default_factory=dict)
    ours: tuple[str, ...] = ()

    def __post_init__(self):
        metrics, monitor = MEASURES.get(self.kind, ((), ""))
        # a frozen dataclass has no other way to fill in what was not given
        object.__setattr__(self, "metrics", self.metrics or metrics)
        object.__setattr__(self, "monitor", self.monitor or monitor)

    def folder(self, data_folder: str | Path | None) -> Path | None:
        """The dataset's own folder below a data folder, whether or not it exists."""
        return None if data_folder is None else Path(data_folder).expanduser() / self.dataset

    @property
    def published(self) -> dict[str, dict[str, float]]:
        """Published values by model and value name, in the unit of the tables (points of 100; dB for separation)."""
        return published_values(self.name)

    def check(self, data_folder: str | Path | None = None) -> Check:
        """What is missing where, and what differs from the official dataset. Decodes and downloads no audio."""
        folder = self.folder(data_folder)
        found = self.source.check(folder)
        if found.problems or self.source.needs_download(folder):
            return found
        try:
            return Check(notes=found.notes + self.load(data_folder).notes)
        except InputError as error:
            return Check((str(error).removeprefix(f"{self.name}: "),))

    def pinned(self, revisions: Mapping[str, str]) -> Self:
        """The same task on these commits, by repository id, as an earlier result stored them (`TaskData.revisions`)."""
        return replace(self, source=self.source.pinned(revisions))

    def load(self, data_folder: str | Path | None = None) -> "TaskData":
        """Find the examples and check their labels. Audio is decoded only when an example is read.

        Args:
            data_folder: holds a folder `self.dataset`; sources on the Hub do without.

        Raises:
            InputError: data is missing, a column has another name, the labels are not those of the task, or a split is empty.
        """
        loaded = self.source.load(self.folder(data_folder))
        labels = self.labels or loaded.labels
        expected = len(self.labels) or self.num_labels
        if expected and len(labels) != expected:
            raise InputError(
                f"{self.name}: {len(labels)} labels were found in {loaded.origin}, the task has {expected}; is this the whole"
                f" dataset? Found: {', '.join(labels[:8])} ..."
            )
        for split in SPLITS:
            if not len(loaded.splits.get(split, ())):
                raise InputError(
                    f"{self.name}: the {split} split in {loaded.origin} is empty; expected {self.source.describe()}"
                )
        notes = loaded.notes + tuple(
            f"the {split} split has {len(loaded.splits[split])} examples, the official one {size}"
            for split, size in self.split_sizes.items()
            if len(loaded.splits[split]) != size
        )
        return TaskData(**{**vars(loaded), "labels": labels, "notes": notes}, task=self)


@dataclass(frozen=True, kw_only=True)
class TaskData(Loaded):
    """The examples of a task, ready to be read. Its notes also say what differs from the official dataset."""

    task: Task

    def target(self, example: Example) -> int | np.ndarray | tuple:
        """An example's label as numbers; see `Kind`.

        Raises:
            InputError: a label outside the list, a number that is not finite, or times that do not ascend.
        """
        label, kind = example.label, self.task.kind
        if kind in ("multiclass", "key"):
            return self._index(label, example)
        if kind == "multilabel":
            target = np.zeros(len(self.labels), dtype=np.float32)
            target[[self._index(name, example) for name in label]] = 1
            return target
        if kind == "separation":
            if len(label) != len(self.labels):
                raise InputError(f"{self.task.name}: {example.name} has {len(label)} sources, not {len(self.labels)}.")
            return tuple(label)
        values = np.asarray(label, dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"{self.task.name}: the label of {example.name} holds NaN or infinity: {label!r}.")
        if kind == "beats":
            if values.ndim != 1 or (np.diff(values) <= 0).any() or (values < 0).any():
                raise InputError(f"{self.task.name}: the beats of {example.name} must be ascending times of 0 s or later.")
            return values
        if values.shape != (len(self.labels),):
            raise InputError(f"{self.task.name}: {example.name} needs {len(self.labels)} numbers, its label is {label!r}.")
        return values.astype(np.float32)

    def _index(self, name: str | int, example: Example) -> int:
        name = str(name)  # pitches may be stored as numbers
        if name in self.labels:
            return self.labels.index(name)
        near = difflib.get_close_matches(name, self.labels, n=3) or self.labels[:5]
        raise InputError(
            f"{self.task.name}: {example.name} is labelled {name!r}, which is none of the task's {len(self.labels)} labels;"
            f" near ones: {', '.join(near)}."
        )
