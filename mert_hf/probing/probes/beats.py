"""Beat tracking: a probe says of every frame whether it is a beat, the tracker joins frames to beats."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.features.cache import Features
from mert_hf.probing.features.extraction import extract_splits
from mert_hf.probing.metrics import score_all
from mert_hf.probing.probes.bank import ProbeBank
from mert_hf.probing.probes.base import EQUAL_SHARES, LEAST_FRAME_RATE, STANDARDISED, TaskScorer
from mert_hf.probing.probes.baselines import median_tempo_beats, onset_beats
from mert_hf.probing.probes.beat_tracking import BeatTracker
from mert_hf.probing.probes.layer_probes import LayerProbes
from mert_hf.probing.probes.probe_training import TrainingSet, read_probes
from mert_hf.tasks.base import TaskData

# frames of the validation split that are asked after every epoch, evenly spread, and tracks on which heads are compared
VALIDATION_FRAMES, VALIDATION_TRACKS = 16_384, 100
# a frame this near to a beat is to be told as one: MARBLE's neighbours, at its 75 frames a second
BESIDE_S = 0.02
# Frames a second that the tracker is given at least. Of 25 a second it could place no beat better than to 20 ms, and a steady
# tempo would lie between two periods that it can tell.
TRACKED_RATE = 50.0


class BeatScorer(TaskScorer):
    """Scores the beats of every example of a split, the test split by default; see [`TaskScorer`]."""

    def __init__(self, data: TaskData, split: str = "test"):
        super().__init__(data)
        self._examples = data.splits[split]
        self.beats = [data.target(example) for example in self._examples]
        self.groups = len(self.beats)

    def __call__(self, predictions, chosen=None):
        places = range(self.groups) if chosen is None else chosen
        names = [f"{self._examples[place].name} ({number})" for number, place in enumerate(places)]
        return score_all(self.metrics, [self.beats[place] for place in places], [predictions[place] for place in places], names)


class BeatProbe(LayerProbes):
    """Probes of beats; see [`LayerProbes`].

    Epochs are chosen by the validation loss, as the tracker is too slow to be asked after each; all else by F1. Of a model with
    few frames a second, what the probe says is drawn through its frames before the tracker looks for beats.
    """

    outputs = 1
    layer_seeds = 1
    least_frame_rate = LEAST_FRAME_RATE
    hears_frames = True
    slow_to_score = True
    probe_version = 2  # heads chosen by F1, narrower targets, 50 frames a second for the tracker
    notes = (
        "epochs are chosen by the validation loss; learning rate, penalty, kind of probe and layer by F1 of at most 100 tracks",
        "frames within 20 ms of a beat are told as beats; the tracker has 50 frames a second or more, by interpolation",
        "training crops are cut from the features of whole windows; other layers than the chosen one are scored with one seed",
        "a head that is solved learns from as many frames, drawn at random, as 512 MiB hold",
        STANDARDISED,
        EQUAL_SHARES,
    )

    def __init__(self, encoder, data, extraction, settings):
        super().__init__(encoder, data, extraction, settings)
        found = extract_splits(encoder, data, "frames", extraction)
        context = round(data.task.protocol.context_s * encoder.frame_rate)
        self.features = {split: one.with_context(context) for split, one in found.items()}
        self._targets = {
            split: beat_targets(
                self.features[split],
                [data.target(example) for example in data.splits[split]],
                encoder.frame_rate,
                encoder.first_frame_s,
            )
            for split in ("train", "validation")
        }
        self._finer = math.ceil(TRACKED_RATE / encoder.frame_rate)  # frames to track, of one
        self._tracker = BeatTracker(self._finer * encoder.frame_rate)
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

    def judge(self, found):
        """See [`LayerProbes`]; F1 of some tracks of the validation split."""
        scorer, monitor = BeatScorer(self.data, "validation"), self.data.task.monitor
        chosen = range(scorer.groups)[:: -(-scorer.groups // VALIDATION_TRACKS)]
        logits = self._logits(found.bank, "validation")
        scores = np.zeros(logits.shape[:2])
        for trial, head in np.ndindex(*scores.shape):
            tracks = [self._track(*self._through(logits[trial, head], "validation", place)) for place in chosen]
            placed = dict(zip(chosen, tracks, strict=True))
            scores[trial, head] = scorer(placed, chosen).values[monitor]
        return scores

    def answers(self, bank, rates):
        """See [`LayerProbes`]; (heads, frames) log-odds of a beat."""
        return self._logits(bank, "test")[rates, np.arange(len(rates))]

    def predictions(self, answers):
        return [self._track(*self._through(answers, "test", place)) for place in range(self.scorer.groups)]

    def details(self, answers):
        """`activation`: the first test example with beats: its activation, the beats found, and the true ones, to be drawn."""
        for place in range(self.scorer.groups):
            if len(self.scorer.beats[place]):
                activation, times = self._through(answers, "test", place)
                found = {
                    "example": place,
                    "times_s": times.tolist(),
                    "activation": activation.tolist(),
                    "found_s": self._track(activation, times).tolist(),
                    "true_s": self.scorer.beats[place].tolist(),
                }
                return {"activation": found}
        raise InputError(f"{self.data.task.name}: no track of the test split has a beat.")

    def _logits(self, bank: ProbeBank, split: str) -> NDArray[np.float32]:
        """(rates, heads, rows) log-odds of a beat in every frame of a split."""
        return read_probes(bank, self.features[split], np.arange(int(self.features[split].rows.sum())))[..., 0]

    def _through(self, logits: NDArray, split: str, place: int) -> tuple[NDArray, NDArray]:
        """How likely a beat of one example is, and when in seconds, at the tracker's rate: a curve through log-odds (rows,)."""
        windows = self.features[split].windows[place]
        first = sum(window.rows for before in self.features[split].windows[:place] for window in before)
        own = logits[first : first + sum(window.rows for window in windows)]
        times = np.concatenate([window.start_s + np.arange(window.rows) / self.encoder.frame_rate for window in windows])
        if self._finer > 1:
            own = draw_through(own, self._finer)
            times = np.interp(np.arange(len(own)) / self._finer, np.arange(len(times)), times)
        return torch.from_numpy(own).sigmoid().numpy(), times + self.encoder.first_frame_s

    def _track(self, activation: NDArray, times: NDArray) -> NDArray:
        """Beats in seconds."""
        return times[np.round(self._tracker(activation) * self._tracker.frame_rate).astype(np.int64)]


def draw_through(values: NDArray, finer: int) -> NDArray[np.float32]:
    """(frames,) -> ((frames - 1) * finer + 1,), a cubic curve through the values (torch's "bicubic", in one direction)."""
    size = (1, (len(values) - 1) * finer + 1)
    line = torch.from_numpy(np.asarray(values, dtype=np.float32))[None, None, None]
    return F.interpolate(line, size, mode="bicubic", align_corners=True)[0, 0, 0].numpy()


def beat_targets(features: Features, times: Sequence[NDArray], frame_rate: float, first_frame_s: float) -> NDArray[np.float32]:
    """(rows, 1) 1 in the frame nearest to a beat and those up to `BESIDE_S` from that one (MARBLE v1), 0 elsewhere.

    Args:
        features: of a split, a row a frame.
        times: beats of every example in seconds; a track without any is all 0.
    """
    targets = np.zeros((int(features.rows.sum()), 1), dtype=np.float32)
    row, reach = 0, int(BESIDE_S * frame_rate + 1e-6)
    for windows, beats in zip(features.windows, times, strict=True):
        for window in windows:
            nearest = np.round((beats - window.start_s - first_frame_s) * frame_rate).astype(np.int64)
            for beside in range(-reach, reach + 1):
                frames = nearest + beside
                targets[row + frames[(frames >= 0) & (frames < window.rows)]] = 1
            row += window.rows
    return targets
