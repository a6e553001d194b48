"""Beat tracking: a probe says of every frame whether it is a beat, the tracker joins frames to beats."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.features.cache import Features
from mert_hf.probing.features.extraction import extract_splits
from mert_hf.probing.metrics import score_all
from mert_hf.probing.probes.base import EQUAL_SHARES, LEAST_FRAME_RATE, STANDARDISED, TaskScorer
from mert_hf.probing.probes.baselines import median_tempo_beats, onset_beats
from mert_hf.probing.probes.beat_tracking import BeatTracker
from mert_hf.probing.probes.layer_probes import LayerProbes
from mert_hf.probing.probes.probe_training import TrainingSet, read_probes
from mert_hf.tasks.base import TaskData

# frames of the validation split that are asked after every epoch, evenly spread
VALIDATION_FRAMES = 16_384


class BeatScorer(TaskScorer):
    """Scores the beats of every example of the test split; see [`TaskScorer`]."""

    def __init__(self, data: TaskData):
        super().__init__(data)
        self.beats = [data.target(example) for example in data.splits["test"]]
        self.groups = len(self.beats)

    def __call__(self, predictions, chosen=None):
        places = range(self.groups) if chosen is None else chosen
        names = [f"{self.data.splits['test'][place].name} ({number})" for number, place in enumerate(places)]
        return score_all(self.metrics, [self.beats[place] for place in places], [predictions[place] for place in places], names)


class BeatProbe(LayerProbes):
    """Probes of beats; see [`LayerProbes`].

    Epochs, learning rates and layers are chosen by the validation loss: the tracker is too slow to be asked after every epoch.
    """

    outputs = 1
    layer_seeds = 1
    least_frame_rate = LEAST_FRAME_RATE
    hears_frames = True
    slow_to_score = True
    notes = (
        "epoch, learning rate and layer are chosen by the validation loss, not by F1",
        "training crops are cut from the features of whole windows; other layers than the chosen one are scored with one seed",
        STANDARDISED,
        EQUAL_SHARES,
    )

    def __init__(self, encoder, data, extraction, settings):
        super().__init__(encoder, data, extraction, settings)
        found = extract_splits(encoder, data, "frames", extraction)
        self.features = {split: one.with_context(data.task.protocol.context_frames) for split, one in found.items()}
        self._targets = {
            split: beat_targets(
                self.features[split],
                [data.target(example) for example in data.splits[split]],
                encoder.frame_rate,
                encoder.first_frame_s,
            )
            for split in ("train", "validation")
        }
        self._tracker = BeatTracker(encoder.frame_rate)
        self.scorer = BeatScorer(data)

    @classmethod
    def test_scorer(cls, data):
        return BeatScorer(data)

    @classmethod
    def baselines(cls, data):
        return {"majority": median_tempo_beats, "onset activation + HMM": onset_beats}

    def training_set(self, chosen=None):
        features = self.features["train"]
        kept = np.ones(len(features.owners), dtype=bool) if chosen is None else np.isin(features.owners, chosen)
        rows = [rows for rows, keep in zip(features.rows_by_window, kept, strict=True) if keep]
        windows = self.data.task.train_windows or self.data.task.windows
        crop = None if windows.duration_s is None else max(1, round(windows.duration_s * self.encoder.frame_rate))
        return TrainingSet(features, rows, self._targets["train"], crop or max(map(len, rows)))

    def losses(self, logits, targets):
        repeated = targets.expand(*logits.shape[:2], -1, -1)
        return F.binary_cross_entropy_with_logits(logits, repeated, reduction="none").mean(dim=(2, 3))

    def validate(self, bank):
        rows = np.arange(len(self._targets["validation"]))
        rows = rows[:: max(1, len(rows) // VALIDATION_FRAMES)]
        logits = torch.from_numpy(read_probes(bank, self.features["validation"], rows))
        return -self.losses(logits, torch.from_numpy(self._targets["validation"][rows])).numpy()

    def answers(self, bank, rates):
        """See [`LayerProbes`]; (heads, frames) how likely a beat is."""
        features = self.features["test"]
        logits = read_probes(bank, features, np.arange(int(features.rows.sum())))
        return 1 / (1 + np.exp(-logits[rates, np.arange(len(rates)), :, 0]))

    def predictions(self, answers):
        return [self._track(activation, times) for activation, times in self._activations(answers)]

    def details(self, answers):
        """`activation`: the first test example with beats: its activation, the beats found, and the true ones, to be drawn."""
        for place, (activation, times) in enumerate(self._activations(answers)):
            if len(self.scorer.beats[place]):
                found = {
                    "example": place,
                    "times_s": times.tolist(),
                    "activation": activation.tolist(),
                    "found_s": self._track(activation, times).tolist(),
                    "true_s": self.scorer.beats[place].tolist(),
                }
                return {"activation": found}
        raise InputError(f"{self.data.task.name}: no track of the test split has a beat.")

    def _activations(self, answers: NDArray) -> list[tuple[NDArray, NDArray]]:
        """Of every test example, (frames,) activation and the frames' times in seconds."""
        found, row = [], 0
        for windows in self.features["test"].windows:
            rows = sum(window.rows for window in windows)
            times = [window.start_s + np.arange(window.rows) / self.encoder.frame_rate for window in windows]
            found.append((answers[row : row + rows], np.concatenate(times) + self.encoder.first_frame_s))
            row += rows
        return found

    def _track(self, activation: NDArray, times: NDArray) -> NDArray:
        """Beats in seconds."""
        return times[np.round(self._tracker(activation) * self.encoder.frame_rate).astype(np.int64)]


def beat_targets(features: Features, times: Sequence[NDArray], frame_rate: float, first_frame_s: float) -> NDArray[np.float32]:
    """(rows, 1) 1 in the frames nearest to a beat and beside them (MARBLE v1), 0 elsewhere.

    Args:
        features: of a split, a row a frame.
        times: beats of every example in seconds; a track without any is all 0.
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
