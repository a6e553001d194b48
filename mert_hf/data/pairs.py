"""Pairs of crops of one track: the two views of multi-view objectives."""

import torch

from mert_hf.audio import AudioError
from mert_hf.common.seeding import generator
from mert_hf.data.corpus import Corpus
from mert_hf.data.crops import RandomCrops, UnreadableCrop


class PairedCrops(RandomCrops):
    """An endless row of pairs, in the order of [`RandomCrops`]; equally often the first crop is the earlier and the later one.

    Args:
        corpus, crop_samples, sampling_rate, seed: as in [`RandomCrops`]; 4 s at 16 kHz in Deezer's comparison.
        min_distance_s, max_distance_s: from the beginning of one crop to that of the other, drawn evenly; 4 to 16 s there, so
            that crops of 4 s never overlap. In a track too short for the largest distance, what fits.

    Raises:
        ValueError: distances out of order.
    """

    def __init__(
        self,
        corpus: Corpus,
        crop_samples: int,
        sampling_rate: int = 16000,
        seed: int = 0,
        min_distance_s: float = 4.0,
        max_distance_s: float = 16.0,
    ):
        if not 0 <= min_distance_s <= max_distance_s:
            raise ValueError(f"min_distance_s={min_distance_s}, max_distance_s={max_distance_s} must be 0 or more and ordered.")
        super().__init__(corpus, crop_samples, sampling_rate, seed)
        self.min_distance_samples = round(min_distance_s * sampling_rate)
        self.max_distance_samples = round(max_distance_s * sampling_rate)

    def locate_pair(self, number: int) -> tuple[int, tuple[int, int]]:
        """Track, and the first samples of both crops of pair `number` (0, 1, 2 ...).

        Raises:
            ValueError: the track is too short for two crops at the least distance.
        """
        track = self.track(number)
        room = self.corpus.length(track, self.sampling_rate) - self.crop_samples
        if room < self.min_distance_samples:
            raise ValueError(
                f"{self.corpus.tracks[track].name} is too short for two crops {self.min_distance_samples} samples apart; leave"
                " such tracks out with data.min_track_s."
            )
        draws = generator(self.seed, "pair", number)
        distance = int(draws.integers(self.min_distance_samples, min(self.max_distance_samples, room) + 1))
        start = int(draws.integers(0, room - distance + 1))
        starts = (start, start + distance)
        return track, starts if draws.integers(2) else starts[::-1]

    def __getitem__(self, number: int) -> torch.Tensor | UnreadableCrop:
        """Pair `number` as (2, samples) float32, or why it cannot be read."""
        track, starts = self.locate_pair(number)
        try:
            crops = [self.corpus.read(track, self.sampling_rate, start, self.crop_samples) for start in starts]
        except AudioError as error:
            return UnreadableCrop(self.corpus.tracks[track].name, str(error))
        shortest = min(map(len, crops))
        return torch.stack([torch.from_numpy(crop[:shortest]) for crop in crops])
