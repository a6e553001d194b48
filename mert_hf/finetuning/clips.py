"""Clips of labelled tracks: random ones of every track and epoch to train on, all or some of a track to measure on."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from mert_hf.common.seeding import generator
from mert_hf.data.corpus import Corpus
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor


class _Clips(Dataset):
    """Clips of some tracks of a corpus, with their targets.

    Args:
        corpus: where they are read.
        targets: of all tracks of the corpus.
        tracks: indices of those that are heard.
        clip_samples: length of a clip; shorter tracks are taken whole.
        sampling_rate: samples per second of the clips.
    """

    def __init__(self, corpus: Corpus, targets: np.ndarray, tracks: Sequence[int], clip_samples: int, sampling_rate: int):
        self.corpus, self.targets, self.tracks = corpus, targets, list(tracks)
        self.clip_samples, self.sampling_rate = clip_samples, sampling_rate

    def _read(self, track: int, start: int, length: int) -> dict:
        return {"waveform": self.corpus.read(track, self.sampling_rate, start, length), "labels": self.targets[track]}


class RandomChoice:
    """Which clips of a track are heard in an epoch: a function of seed, epoch and track, whatever was drawn before.

    The places where a clip may lie are cut into as many equal parts as clips are wanted, and one place is drawn in each, so
    that clips of one epoch lie apart. Where there are fewer places than clips, some are drawn again.

    Args:
        per_track: clips of a track and epoch.
    """

    def __init__(self, seed: int, per_track: int):
        self.seed, self.per_track, self.epoch = seed, per_track, 0

    def place(self, track: int, number: int, places: int) -> int:
        """One of the `places` 0, 1, 2 ... of a track, for clip `number` of the epoch."""
        draws = generator(self.seed, "clip", self.epoch, track)
        for part in range(number + 1):
            low, high = places * part // self.per_track, places * (part + 1) // self.per_track
            drawn = int(draws.integers(low, max(high, low + 1)))
        return drawn


class TrainingClips(_Clips):
    """Random clips of every track, which may begin at any sample; other ones in every epoch, see [`RandomChoice`]."""

    def __init__(self, *clips, seed: int, per_track: int = 1):
        super().__init__(*clips)
        self.choice = RandomChoice(seed, per_track)

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before every epoch."""
        self.choice.epoch = epoch

    def __len__(self) -> int:
        return len(self.tracks) * self.choice.per_track

    def __getitem__(self, number: int) -> dict:
        place, clip = divmod(number, self.choice.per_track)
        track = self.tracks[place]
        available = self.corpus.length(track, self.sampling_rate)
        length = min(self.clip_samples, available)
        return self._read(track, self.choice.place(track, clip, available - length + 1), length)


class EvaluationClips(_Clips):
    """All clips of tracks, one behind the other; what is left at the end counts from half a clip on.

    Args:
        most: clips of a track, evenly over it; None is all.
        alone: every clip is measured by itself, not the mean over its track.
    """

    def __init__(self, *clips, most: int | None = None, alone: bool = False):
        super().__init__(*clips)
        self._alone = alone
        self._clips: list[tuple[int, int, int]] = []
        for place, track in enumerate(self.tracks):
            length = self.corpus.length(track, self.sampling_rate)
            starts = range(0, max(length - self.clip_samples // 2, 1), self.clip_samples)
            if most is not None and len(starts) > most:
                starts = [starts[number * len(starts) // most] for number in range(most)]
            self._clips += [(place, start, min(self.clip_samples, length - start)) for start in starts]
        # place of each clip's track among `tracks`
        self.track_of_clip = np.array([place for place, _, _ in self._clips])

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, number: int) -> dict:
        place, start, length = self._clips[number]
        return self._read(self.tracks[place], start, length)

    def span(self, number: int) -> tuple[int, int, int]:
        """The track of a clip, the sample it begins with and how many it has."""
        place, start, length = self._clips[number]
        return self.tracks[place], start, length

    def target(self, number: int) -> np.ndarray:
        """What is right of a clip."""
        return self.targets[self.tracks[self.track_of_clip[number]]]

    @property
    def references(self) -> np.ndarray:
        """What is right, of each track or of each clip; beside what [`EvaluationClips.answers`] gives."""
        targets = self.targets[self.tracks]
        return targets[self.track_of_clip] if self._alone else targets

    @property
    def answered_for(self) -> list[tuple[int, int]]:
        """Track and number of clips of each row of [`EvaluationClips.answers`]."""
        if self._alone:
            return [(self.tracks[place], 1) for place in self.track_of_clip]
        return list(zip(self.tracks, np.bincount(self.track_of_clip).tolist(), strict=True))

    def answers(self, values: np.ndarray) -> np.ndarray:
        """(clips, classes) -> (tracks, classes), or as they are where every clip is measured by itself."""
        return values if self._alone else self.mean_by_track(values)

    def mean_by_track(self, values: np.ndarray) -> np.ndarray:
        """(clips, classes) -> (tracks, classes), the mean over each track's clips."""
        sums = np.zeros((len(self.tracks), values.shape[1]))
        np.add.at(sums, self.track_of_clip, values)
        return sums / np.bincount(self.track_of_clip)[:, None]


class Collator:
    """Pads clips into a batch."""

    def __init__(self, feature_extractor: MERTFeatureExtractor):
        self.feature_extractor = feature_extractor

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Clips and targets -> `input_values`, `attention_mask`, `labels`."""
        rate = self.feature_extractor.sampling_rate
        batch = self.feature_extractor([item["waveform"] for item in items], sampling_rate=rate, return_tensors="pt")
        return {**batch, "labels": torch.as_tensor(np.stack([item["labels"] for item in items]))}
