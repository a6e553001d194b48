"""Frames to what is asked of them: one vector a clip, one a second, or all of them; window by window, in constant memory."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from mert_hf.common.files import PartialFile
from mert_hf.models.windows_mert import FrameGrid

Normalise = Callable[[np.ndarray], np.ndarray]
# of the grid of the frames and their number: an object with `add` and `result`, as those below have
PoolMaker = Callable[[FrameGrid, int], Any]


class MeanPool:
    """The mean over all frames of a clip: (layers, hidden)."""

    def __init__(self, grid: FrameGrid, num_frames: int):
        self._sum, self._count = 0.0, 0

    def add(self, frames: np.ndarray) -> None:
        """The next frames, (layers, frames, hidden)."""
        self._sum = self._sum + frames.sum(axis=1, dtype=np.float64)
        self._count += frames.shape[1]

    def result(self) -> np.ndarray:
        """What all frames came to."""
        return (self._sum / self._count).astype(np.float32)


class MeanStdPool:
    """Mean and standard deviation over all frames of a clip, one behind the other: (layers, 2 * hidden)."""

    def __init__(self, grid: FrameGrid, num_frames: int):
        self._mean, self._squares, self._count = 0.0, 0.0, 0

    def add(self, frames: np.ndarray) -> None:
        """The next frames, (layers, frames, hidden)."""
        count = frames.shape[1]
        mean = frames.mean(axis=1, dtype=np.float64)
        squares = np.square(frames - mean[:, None]).sum(axis=1, dtype=np.float64)
        # two groups as one (Chan, Golub, LeVeque 1979): sums of squares alone would lose digits over an hour
        step, total = mean - self._mean, self._count + count
        self._squares = self._squares + squares + np.square(step) * (self._count * count / total)
        self._mean, self._count = self._mean + step * (count / total), total

    def result(self) -> np.ndarray:
        """What all frames came to; the deviation is that of the population."""
        return np.concatenate([self._mean, np.sqrt(self._squares / self._count)], axis=-1).astype(np.float32)


class SecondPool:
    """The mean over the frames that begin in each second, or in each of other steps: (layers, steps, hidden).

    Args:
        step_samples: length of a step, at least the hop of the frames; a second by default.
    """

    def __init__(self, grid: FrameGrid, num_frames: int, step_samples: int | None = None):
        self._grid, self._num_frames, self._next = grid, num_frames, 0
        self._step_samples = step_samples or grid.sampling_rate
        self._sum: np.ndarray | None = None

    def add(self, frames: np.ndarray) -> None:
        """The next frames, (layers, frames, hidden)."""
        if self._sum is None:
            layers, _, hidden = frames.shape
            self._sum = np.zeros((layers, int(self._steps(self._num_frames - 1)) + 1, hidden))
        steps = self._steps(np.arange(self._next, self._next + frames.shape[1]))
        for step in np.unique(steps):
            self._sum[:, step] += frames[:, steps == step].sum(axis=1, dtype=np.float64)
        self._next += frames.shape[1]

    def result(self) -> np.ndarray:
        """What all frames came to."""
        counts = np.bincount(self._steps(np.arange(self._num_frames)))
        return (self._sum / counts[:, None]).astype(np.float32)

    def _steps(self, frame):
        return frame * self._grid.hop_samples // self._step_samples


class AllFrames:
    """No pooling: (layers, frames, hidden), in memory or in a file.

    Args:
        file: a `.npy` file to write as the frames come, so that they need no memory; in memory without one.
        finish: applied to the frames before they are kept (weights, normalisation).
    """

    def __init__(self, grid: FrameGrid, num_frames: int, file: os.PathLike | None = None, finish: Normalise | None = None):
        self._num_frames, self._next = num_frames, 0
        self._file, self._finish = file, finish
        self._frames: np.ndarray | None = None
        self._partial: PartialFile | None = None
        self._header_bytes = 0

    def add(self, frames: np.ndarray) -> None:
        """The next frames, (layers, frames, hidden)."""
        frames = self._finish(frames) if self._finish is not None else frames
        shape = (*frames.shape[:-2], self._num_frames, frames.shape[-1])
        if self._file is None:
            if self._frames is None:
                self._frames = np.empty(shape, np.float32)
            self._frames[..., self._next : self._next + frames.shape[-2], :] = frames
        else:
            self._write(frames.astype("<f4", copy=False), shape)
        self._next += frames.shape[-2]

    def result(self) -> np.ndarray:
        """All frames; from a file they are mapped into memory, read where they are looked at."""
        if self._partial is None:
            return self._frames
        self._partial.flush()
        # mapped before it gets its name: whatever is written there later, this stays what was computed
        frames = np.load(self._partial.path, mmap_mode="r")
        self._partial.move()
        return frames

    def discard(self) -> None:
        """Remove a file that was not finished."""
        if self._partial is not None:
            self._partial.discard()

    def _write(self, frames: np.ndarray, shape: tuple[int, ...]) -> None:
        # written rather than mapped: a full disk is an error then, not the end of the process
        if self._partial is None:
            self._partial = PartialFile(self._file)
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._partial.file, header)
            self._header_bytes = self._partial.file.tell()
        frame_bytes = 4 * shape[-1]
        for layer, rows in enumerate(frames.reshape(-1, *frames.shape[-2:])):
            self._partial.file.seek(self._header_bytes + (layer * self._num_frames + self._next) * frame_bytes)
            self._partial.file.write(rows.tobytes())


POOLS = {"mean": MeanPool, "mean_std": MeanStdPool, "second": SecondPool}
