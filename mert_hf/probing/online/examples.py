"""Some examples of a task whose audio is kept in memory, and what a linear probe makes of features of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import generator
from mert_hf.models.spectra_mert import LogMelSpectrum
from mert_hf.probing.features.extraction import cut_windows, equal_batches
from mert_hf.probing.online.ridge import ridge_answers
from mert_hf.probing.probes.clips import ClipScorer
from mert_hf.tasks.base import SPLITS, TaskData

# Most audio that one process keeps of one task: 9 minutes at 24 kHz are 52 MB, three hours 1 GiB.
MOST_BYTES = 2**30
# Seconds of audio that go through a model at once.
BATCH_S = 60.0
# Of the spectrum that models are compared with: the finest bands that its transform holds at 24 kHz and at 16 kHz.
LOG_MEL_BANDS, LOG_MEL_FFT_SAMPLES, LOG_MEL_RATE = 128, 2048, 75
# The same examples for all runs, whatever their seed: curves of two runs can be compared.
SEED = 0

Embed = Callable[[torch.Tensor], torch.Tensor]
"""Clips (batch, samples) -> one vector each a layer, (batch, layers, hidden)."""


@dataclass(frozen=True)
class RidgeScore:
    """What ridge probes came to, one a layer."""

    value: float  # the task's measure on the test examples, of the layer that the validation examples choose; NaN of none
    layer: int | None  # that layer
    layers: list[float]  # of every layer; NaN where its features are not finite


def log_mel_statistics(sampling_rate: int) -> Embed:
    """What a model must beat: mean and deviation over time of a log-mel spectrum with fine bands."""
    spectrum = LogMelSpectrum(sampling_rate, round(sampling_rate / LOG_MEL_RATE), LOG_MEL_BANDS, LOG_MEL_FFT_SAMPLES)

    def embed(clips: torch.Tensor) -> torch.Tensor:
        frames = spectrum(clips)
        return torch.cat([frames.mean(dim=1), frames.std(dim=1, correction=0)], dim=1)[:, None]

    return embed


class TaskExamples:
    """Examples of every split of a task, drawn once; their audio is read now and kept.

    Args:
        data: of the task, one of the `CLIP_KINDS`.
        sampling_rate: of the audio, in Hz.
        most: examples of a split.
        rank, world_size: which share of the audio this process reads and embeds; targets are known to all.

    Attributes:
        data: with the examples that were drawn.
        audio_bytes: of what this process keeps.

    Raises:
        InputError: its labels are not those of the task, or there is more audio than is kept.
        AudioError: an example cannot be read.
    """

    def __init__(self, data: TaskData, sampling_rate: int, most: int, rank: int = 0, world_size: int = 1):
        self.sampling_rate, self._rank, self._world_size = sampling_rate, rank, world_size
        self.data = replace(data, splits={split: _draw(data, split, most) for split in SPLITS})
        # a class is told by its number, everything else by a vector
        self._classes = np.ndim(self.data.target(self.data.splits["train"][0])) == 0
        self._targets = self._make_targets(self.data.splits["train"])
        self._scorers = {split: ClipScorer(self.data, split) for split in ("validation", "test")}
        self.audio_bytes = 0
        self._windows = {split: self._read(split) for split in SPLITS}

    @property
    def count(self) -> int:
        """Examples of all splits and processes."""
        return sum(len(examples) for examples in self.data.splits.values())

    def embed(self, embed: Embed) -> dict[str, NDArray[np.float32]]:
        """Features of this process's share of every split, (examples, layers, hidden): means over the windows of each."""
        return {split: _embed(windows, embed, self.sampling_rate) for split, windows in self._windows.items()}

    def join(self, shares: list[dict[str, NDArray]]) -> dict[str, NDArray]:
        """The shares of all processes, in their order, as one."""
        joined = {}
        for split, examples in self.data.splits.items():
            filled = next(share[split] for share in shares if len(share[split]))
            joined[split] = np.empty((len(examples), *filled.shape[1:]), dtype=filled.dtype)
            for rank, share in enumerate(shares):
                if len(share[split]):
                    joined[split][rank :: len(shares)] = share[split]
        return joined

    def score(self, features: dict[str, NDArray]) -> RidgeScore:
        """Fit a probe a layer on the training examples; the validation examples choose its penalty, and the layer.

        Args:
            features: (examples, layers, hidden) of every split.
        """
        chosen = []
        for layer in range(features["train"].shape[1]):
            train, validation, test = (features[split][:, layer] for split in SPLITS)
            if not all(np.isfinite(values).all() for values in (train, validation, test)):
                chosen.append((-np.inf, np.nan))
                continue
            answers, others = ridge_answers(train, self._targets, [validation, test])
            monitors = [self._measure("validation", found) for found in answers]
            best = int(np.argmax(monitors))
            chosen.append((monitors[best], self._measure("test", others[best])))
        monitors, values = zip(*chosen, strict=True)
        layer = int(np.argmax(monitors))
        return RidgeScore(values[layer], layer if np.isfinite(values[layer]) else None, list(values))

    def _measure(self, split: str, answers: NDArray) -> float:
        """The task's measure of (examples, outputs) answers."""
        if self._classes:
            answers = answers.argmax(axis=1)
        return self._scorers[split](answers).values[self.data.task.monitor]

    def _make_targets(self, examples) -> NDArray[np.float64]:
        targets = np.array([self.data.target(example) for example in examples])
        return np.eye(len(self.data.labels))[targets] if self._classes else targets.astype(np.float64)

    def _read(self, split: str) -> list[list[NDArray[np.float32]]]:
        """The windows of this process's examples."""
        task, kept = self.data.task, []
        for example in self.data.splits[split][self._rank :: self._world_size]:
            pairs = cut_windows(example.read(self.sampling_rate), task.windows, self.sampling_rate)
            # copied: a window of a track must not keep the whole track
            kept.append([np.array(samples, dtype=np.float32) for _, samples in pairs])
            self.audio_bytes += sum(samples.nbytes for samples in kept[-1])
            if self.audio_bytes > MOST_BYTES:
                raise InputError(
                    f"{len(kept)} examples of {task.name} fill {MOST_BYTES / 2**30:g} GiB, the most that is kept of a task;"
                    " take fewer, or a task of shorter ones."
                )
        return kept


def _draw(data: TaskData, split: str, most: int) -> list:
    examples = data.splits[split]
    places = generator(SEED, f"examples of {split}").permutation(len(examples))[:most]
    return [examples[place] for place in sorted(places.tolist())]


@torch.no_grad()
def _embed(windows: list[list[NDArray]], embed: Embed, sampling_rate: int) -> NDArray[np.float32]:
    if not windows:
        return np.zeros((0, 1, 1), dtype=np.float32)
    flat = [samples for found in windows for samples in found]
    owners = np.repeat(np.arange(len(windows)), [len(found) for found in windows])
    parts: dict[int, NDArray] = {}
    for batch in equal_batches(flat, BATCH_S * sampling_rate):
        features = embed(torch.from_numpy(np.stack([flat[place] for place in batch])))
        parts |= dict(zip(batch, features.float().cpu().numpy(), strict=True))
    ordered = np.stack([parts[place] for place in range(len(flat))])
    summed = np.zeros((len(windows), *ordered.shape[1:]), dtype=np.float32)
    np.add.at(summed, owners, ordered)
    return summed / np.bincount(owners, minlength=len(windows))[:, None, None].astype(np.float32)
