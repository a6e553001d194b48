"""Random crops of a corpus and the batches made of them, each a function of its number alone."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import parent_process
from multiprocessing.connection import wait

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mert_hf.audio import AudioError
from mert_hf.common.seeding import generator
from mert_hf.data.corpus import Corpus
from mert_hf.data.tracks import WHILE_TRAINING


@dataclass(frozen=True)
class UnreadableCrop:
    """A crop that could not be read although its track passed the check: file and reason."""

    track: str
    reason: str

    def line(self) -> str:
        """In the list of skipped tracks."""
        return json.dumps({"file": self.track, "reason": WHILE_TRAINING + self.reason}) + "\n"


@dataclass(frozen=True)
class LabelledCrop:
    """A crop, (samples,) float32, and its codes, (codebooks, frames) int64."""

    waveform: torch.Tensor
    labels: torch.Tensor


@dataclass
class AudioBatch:
    """Clips of equal length."""

    waveforms: torch.Tensor  # (batch, samples) float32, mono; (batch, 2, samples) of pairs
    unreadable: list[UnreadableCrop]  # crops that are missing from the batch
    # (batch, codebooks, frames) int64 codes of the clips, where they are stored; None where the teacher is asked
    labels: torch.Tensor | None = None
    tracks: list[str] = field(default_factory=list)  # names of the tracks that the clips are of; [] where nobody knows them

    def peaks(self) -> list[tuple[float, str]]:
        """Largest magnitude of each clip, infinite where a sample is not a number, and the name of its track."""
        peaks = self.waveforms.abs().nan_to_num(nan=torch.inf).flatten(1).amax(1).tolist()
        return list(zip(peaks, self.tracks, strict=False))


class RandomCrops(Dataset):
    """An endless row of random crops: in every epoch each track gives one, in a new order (as in the official training).

    Args:
        corpus: where the crops are read; tracks shorter than a crop are taken whole.
        crop_samples: length of a crop at `sampling_rate` (MERT-95M: 120000, 5 s).
        sampling_rate: samples per second of the crops.
    """

    def __init__(self, corpus: Corpus, crop_samples: int, sampling_rate: int = 24000, seed: int = 0):
        self.corpus = corpus
        self.crop_samples = crop_samples
        self.sampling_rate = sampling_rate
        self.seed = seed

    def track(self, number: int) -> int:
        """Track of crop `number` (0, 1, 2 ...)."""
        epoch, place = divmod(number, len(self.corpus.tracks))
        return int(_draw_order(self.seed, epoch, len(self.corpus.tracks))[place])

    def locate(self, number: int) -> tuple[int, int, int]:
        """Track, first sample and length of crop `number` (0, 1, 2 ...)."""
        track = self.track(number)
        available = self.available(track)
        length = min(self.crop_samples, available)
        start = int(generator(self.seed, "crop", number).integers(0, available - length + 1))
        return track, start, length

    def available(self, track: int) -> int:
        """Samples of a track that crops may be cut from, counted at `sampling_rate` from its beginning."""
        return self.corpus.length(track, self.sampling_rate)

    def circumstances(self) -> dict[str, str]:
        """What every crop depends on, as fingerprints by name."""
        return {"usable tracks": self.corpus.fingerprint()}

    def __getitem__(self, number: int) -> torch.Tensor | UnreadableCrop:
        """Crop `number` as (samples,) float32, or why it cannot be read."""
        track, start, length = self.locate(number)
        try:
            return torch.from_numpy(self.corpus.read(track, self.sampling_rate, start, length))
        except AudioError as error:
            return UnreadableCrop(self.corpus.tracks[track].name, str(error))


@lru_cache(maxsize=4)  # of the corpora of training and validation, an epoch that ends and one that begins
def _draw_order(seed: int, epoch: int, tracks: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(tracks)


@dataclass(frozen=True)
class BatchRange:
    """Which batches to read: numbers of the crops of each; consecutive batches are dealt out to the processes in turn.

    Attributes:
        size: clips a batch.
        start, stop: first batch and the one behind the last, counted per process.
        rank, world_size: this process and how many there are.
        workers: processes that read in the background; 0 reads in this one.
    """

    size: int
    start: int
    stop: int
    rank: int = 0
    world_size: int = 1
    workers: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.start, self.stop):
            first = (batch * self.world_size + self.rank) * self.size
            yield list(range(first, first + self.size))


def collate(crops: Sequence[torch.Tensor | LabelledCrop | UnreadableCrop], tracks: Sequence[str] = ()) -> AudioBatch:
    """Stack crops, cut to the shortest of them (as in the official training, which never pads), and their labels likewise."""
    unreadable = [crop for crop in crops if isinstance(crop, UnreadableCrop)]
    readable = [crop for crop in crops if not isinstance(crop, UnreadableCrop)]
    waveforms = [crop.waveform if isinstance(crop, LabelledCrop) else crop for crop in readable]
    labels = [crop.labels for crop in readable if isinstance(crop, LabelledCrop)]
    return AudioBatch(
        _stack_shortest(waveforms) if waveforms else torch.zeros(0, 0),
        unreadable,
        _stack_shortest(labels) if labels else None,
        [name for crop, name in zip(crops, tracks, strict=False) if not isinstance(crop, UnreadableCrop)],
    )


def _stack_shortest(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    shortest = min(tensor.shape[-1] for tensor in tensors)
    return torch.stack([tensor[..., :shortest] for tensor in tensors])


def load_batches(crops: RandomCrops, place: BatchRange) -> DataLoader:
    """Read batches, which are the same for any number of background processes."""
    readers = dict(num_workers=place.workers, worker_init_fn=begin_reader)
    return DataLoader(_NamedCrops(crops), batch_sampler=place, collate_fn=_collate_named, **readers)


class _NamedCrops(Dataset):
    def __init__(self, crops: RandomCrops):
        self._crops = crops

    def __getitem__(self, number: int) -> tuple[torch.Tensor | LabelledCrop | UnreadableCrop, str]:
        return self._crops[number], self._crops.corpus.tracks[self._crops.track(number)].name


def _collate_named(named: Sequence[tuple[torch.Tensor | LabelledCrop | UnreadableCrop, str]]) -> AudioBatch:
    return collate(*zip(*named, strict=True))


def begin_reader(_worker: int) -> None:
    """Begin a process that reads in the background (a `worker_init_fn`)."""
    # A scheduler, and Ctrl-C, signal the whole process group. Readers that died of it would take the checkpoint with them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, name="parent", daemon=True).start()


def _die_with_parent() -> None:
    # torch's own readers look after a trainer that was killed every five seconds, and hold its memory and its files until then
    wait([parent_process().sentinel])
    os._exit(1)
