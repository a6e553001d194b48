"""Where a training run gets its clips from: what the training loop asks of a corpus or of a stream."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from mert_hf.data.crops import AudioBatch, BatchRange, RandomCrops, UnreadableCrop, load_batches


class ClipSource:
    """Batches of clips, each a function of the seed and its number alone.

    Attributes:
        title: where the clips come from, for messages.
        sampling_rate: samples per second of the clips.
    """

    title: str
    sampling_rate: int

    def batches(self, place: BatchRange) -> Iterable[AudioBatch]:
        """Read batches, from the state that was loaded on."""
        raise NotImplementedError

    def clips(self) -> Iterator[torch.Tensor]:
        """Clips (samples,) to fit a teacher on, as many as are worth while; unreadable ones are left out."""
        raise NotImplementedError

    def circumstances(self, workers: int) -> dict[str, Any]:
        """What must be the same when a run goes on, because every clip depends on it: JSON values by name."""
        raise NotImplementedError

    def num_known(self) -> tuple[int, int]:
        """Tracks known so far, and how many of them were left out before they were read."""
        raise NotImplementedError

    def remember(self, batch: AudioBatch) -> None:
        """Note that a batch was trained on."""

    def state_dict(self) -> Any:
        """This process's place among the clips behind the batches that were remembered, as a JSON value."""
        return None

    def load_state_dict(self, state: Any) -> None:
        """Go on from there; InputError where it is no such state."""


class CorpusClips(ClipSource):
    """Random crops of a corpus, whose tracks are all known and were checked; the number of a batch is all its state."""

    def __init__(self, crops: RandomCrops):
        self.crops = crops
        self.title = crops.corpus.title
        self.sampling_rate = crops.sampling_rate

    def batches(self, place: BatchRange) -> Iterable[AudioBatch]:
        return load_batches(self.crops, place)

    def clips(self) -> Iterator[torch.Tensor]:
        """At most ten crops a track: on a small corpus more would only be the same audio again."""
        for number in range(10 * len(self.crops.corpus.tracks)):
            crop = self.crops[number]
            if not isinstance(crop, UnreadableCrop):
                yield crop

    def circumstances(self, workers: int) -> dict[str, Any]:
        """The usable tracks and their labels; the number of readers does not matter."""
        return self.crops.circumstances()

    def num_known(self) -> tuple[int, int]:
        corpus = self.crops.corpus
        return len(corpus.skipped) + len(corpus.tracks), len(corpus.skipped)
