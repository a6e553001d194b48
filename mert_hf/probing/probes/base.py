"""What all kinds of tasks have in common for whoever probes them: one contract, one subclass a kind.

A probe is trained on the features of the training split; the validation split chooses learning rate, epoch and layer; its
answers on the test split become predictions, and a scorer scores those. Baselines are predictions without a probe, scored by
the same scorer. What is kept for a later run is the features (`features.cache`), or the probe itself where that takes hours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.features.encoders import Encoder
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.metrics import TaskScores, load_metrics
from mert_hf.probing.settings import ProbingSettings
from mert_hf.tasks.base import Task, TaskData

Predictions = NDArray | Sequence[NDArray] | Mapping[str, NDArray]
"""(examples, ...) answers, the beats of every example, or of a separation the SDR of every track (its audio is too large)."""

Baseline = Callable[[TaskData], Predictions]

# with fewer features a second, a beat of a fast track falls between them
LEAST_FRAME_RATE = 10.0
# what no paper does, or does otherwise
EQUAL_SHARES = "the weighted sum begins with equal shares of all layers (MARBLE draws them at random)"
STANDARDISED = "features are standardised layer by layer, by mean and deviation of the training split"


class TaskScorer(ABC):
    """Scores predictions on a split: all of them, or those of some groups.

    Attributes:
        data: of the task, without the examples that cannot be read.
        metrics: the task's measures by name.
        groups: how many things the split holds that are independent of each other, such as files or pieces; resampling takes
            all answers of one or none.
    """

    groups: int

    def __init__(self, data: TaskData):
        self.data, self.metrics = data, load_metrics(data.task.metrics)

    @abstractmethod
    def __call__(self, predictions: Predictions, chosen: Sequence[int] | None = None) -> TaskScores:
        """All measures of the task; `chosen` are the groups that count (which may repeat), all by default."""

    def by_answer(self, predictions: Predictions) -> Predictions:
        """Predictions of one answer an example, as a baseline makes them -> as they are scored."""
        return predictions


@dataclass(frozen=True)
class TrainedProbes:
    """What probes of all seeds came to."""

    heads: Sequence[str]  # names of the probes of a seed: layers, and the weighted sum of layers
    validation: NDArray  # (seeds, heads) how good they are on the validation split; larger is better
    answers: Sequence[Sequence[Any]]  # by seed and head, on the test split; `TaskProbe.predictions` makes predictions of one
    trials: dict[str, float]  # by head, the learning rate that was chosen, or the penalty of a head that was solved
    epochs: dict[str, int]  # by head that was trained, which one the first seed kept, counted from 1
    layer_shares: list[float] | None  # of the layers in the first seed's weighted sum; None without one
    kinds: dict[str, str] = field(default_factory=dict)  # by head, "linear" or "mlp" where several are tried
    solved: frozenset[str] = frozenset()  # heads that were not trained but solved
    plans: tuple[int, ...] = ()  # by head, which of the kinds that are tried was chosen

    @property
    def learning_rates(self) -> dict[str, float]:
        """By head, of those that were trained."""
        return {head: trial for head, trial in self.trials.items() if head not in self.solved}

    @property
    def penalties(self) -> dict[str, float]:
        """By head, of those that were solved."""
        return {head: trial for head, trial in self.trials.items() if head in self.solved}

    @property
    def best(self) -> int:
        """Place of the head that the validation split chooses."""
        return int(self.validation.mean(axis=0).argmax())


class TaskProbe(ABC):
    """One kind of task on the features of one encoder. Made by all processes together, which share the work on features.

    Args:
        encoder: whose features are probed.
        data: of the task.
        extraction: how features are made and kept.
        settings: of the probes.

    Attributes:
        data: without the examples that cannot be read; its notes name them.
        summed: places of the layers in the weighted sum.
        scorer: of the test split.
        notes: what a reader of the result should know.

    Class attributes:
        least_frame_rate: of features, a second, where answers are frames.
        hears_frames: features are kept frame by frame, not pooled over a window.
        slow_to_score: measures take long, and are resampled less often.
        probe_version, baseline_version: raised when probes, or baselines, of this kind alone are made or scored in another way
            than before; None as long as they were not.
        layer_seeds: how many seeds are scored for every layer; None is all.

    Raises:
        InputError: settings that do not go with the encoder or the task, data or features that cannot be used.
    """

    scorer: TaskScorer
    notes: tuple[str, ...]
    least_frame_rate = 0.0
    hears_frames = False
    slow_to_score = False
    probe_version: int | None = None
    baseline_version: int | None = None
    layer_seeds: int | None = None

    def __init__(self, encoder: Encoder, data: TaskData, extraction: Extraction, settings: ProbingSettings):
        self.require_suitable(settings, encoder, data.task)
        self.encoder, self.data, self.extraction, self.settings = encoder, data, extraction, settings
        self.summed = settings.summed_layers(encoder)

    @classmethod
    def require_suitable(cls, settings: ProbingSettings, encoder: Encoder, task: Task) -> None:
        """Refuse settings of which a part would have to be passed over.

        Raises:
            InputError: the weighted sum begins behind the last layer, or the kind has no such probe.
        """
        settings.summed_layers(encoder)

    @classmethod
    def suits(cls, encoder: Encoder) -> bool:
        """Whether an encoder can be probed by this kind: its features come often enough."""
        return encoder.frame_rate >= cls.least_frame_rate

    @classmethod
    def readable(cls, encoder: Encoder, data: TaskData, extraction: Extraction) -> TaskData:
        """The data that an encoder is probed with, without the few examples whose audio cannot be read; its notes name them.

        Raises:
            InputError: as in `extract_features`, which finds them.
        """
        return data

    @classmethod
    @abstractmethod
    def test_scorer(cls, data: TaskData) -> TaskScorer:
        """Scores predictions that need no features: `scorer` of readable data."""

    @classmethod
    @abstractmethod
    def baselines(cls, data: TaskData) -> dict[str, Baseline]:
        """The baselines without a probe that a task has, by their title."""

    @abstractmethod
    def train(self) -> TrainedProbes:
        """Probes of all seeds, trained on the whole training split."""

    def train_on(self, chosen: NDArray[np.int64], seed: int, trained: TrainedProbes) -> Sequence[Any]:
        """Answers by head of a probe that learns from some training examples alone, with the trials of `trained`."""
        raise InputError(f"{self.data.task.name} has no probe that learns from a share of its training split.")

    @property
    def strata(self) -> NDArray:
        """(training examples,) what a share of them holds in the same proportions; all one by default."""
        return np.zeros(len(self.data.splits["train"]), dtype=np.int64)

    def predictions(self, answers: Any) -> Predictions:
        """One head's answers as the scorer takes them."""
        return answers

    def details(self, answers: Any) -> dict[str, Any]:
        """What else is told of the chosen head's answers, as JSON can hold it."""
        return {}
