"""Long audio in windows: where they lie, and which frames of each are kept, so that memory does not grow with the length.

Attention compares all frames of a clip with one another, so a whole song is out of reach on most machines, and further from
the 5 s that MERT was trained on than a window is. Windows start on the grid of the frames: frame i of the joined features
stands at i * hop / rate seconds, as it does in the features of the whole clip.
"""

import math
import reprlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from transformers import PreTrainedConfig

DEFAULT_WINDOW_S = 30.0
# Half of it is thrown away on each side: further than the positional convolution reaches, 64 frames (0.85 s at 75 frames a
# second, 1.28 s at 50), which sees zeros beyond the ends of a clip.
DEFAULT_OVERLAP_S = 3.0


@dataclass(frozen=True)
class FrameGrid:
    """How samples become frames: frame i sees `receptive_samples` samples from i * `hop_samples` on.

    Attributes:
        sampling_rate: samples per second.
        hop_samples: samples between two frames (320 in MERT).
        receptive_samples: samples one frame sees (400 in MERT).
        least_samples: a clip must have to have a frame at all, where one frame sees less.
        centre_samples: the middle of what the first frame sees; of `receptive_samples` by default.
    """

    sampling_rate: int
    hop_samples: int
    receptive_samples: int
    least_samples: int = 0
    centre_samples: float | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig, sampling_rate: int) -> "FrameGrid | None":
        """The grid of a model: the one its configuration tells, or that of its convolutions; None where it has neither."""
        told = getattr(config, "frame_grid", None)
        kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
        return told or (cls.of_convolutions(kernels, strides, sampling_rate) if kernels and strides else None)

    @classmethod
    def of_convolutions(cls, kernels: Iterable[int], strides: Iterable[int], sampling_rate: int) -> "FrameGrid":
        """The grid of convolutions without padding (`config.conv_kernel`, `config.conv_stride`)."""
        hop, receptive = 1, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            receptive += (kernel - 1) * hop
            hop *= stride
        return cls(sampling_rate, hop, receptive)

    @property
    def first_frame_s(self) -> float:
        """Time that the first frame is centred on."""
        centre = self.receptive_samples / 2 if self.centre_samples is None else self.centre_samples
        return centre / self.sampling_rate

    @property
    def shortest_samples(self) -> int:
        """Of a clip that has a frame."""
        return max(self.receptive_samples, self.least_samples)

    def count_frames(self, num_samples: int) -> int:
        """Frames of a clip (120000 samples -> 374 frames)."""
        if num_samples < self.shortest_samples:
            return 0
        return (num_samples - self.receptive_samples) // self.hop_samples + 1


@dataclass(frozen=True)
class Window:
    """A stretch of a clip and what is kept of its frames.

    Attributes:
        start, stop: samples start to stop - 1 of the clip; `start` is a multiple of the hop.
        first_frame, end_frame: the frames of the clip that come from this window, first_frame to end_frame - 1.
        skipped_frames: frames of the window before the first that is kept.
    """

    start: int
    stop: int
    first_frame: int
    end_frame: int
    skipped_frames: int

    def keep(self, frames: torch.Tensor) -> torch.Tensor:
        """(..., frames of the window, hidden) -> (..., end_frame - first_frame, hidden)."""
        return frames[..., self.skipped_frames : self.skipped_frames + self.end_frame - self.first_frame, :]


def resolve_window_s(window_s: float | str | None, config: PreTrainedConfig) -> float | None:
    """Length of a window in seconds; "context" is that of the clips a model was trained on, where its configuration tells."""
    return getattr(config, "context_seconds", None) or DEFAULT_WINDOW_S if window_s == "context" else window_s


def check_window(window_s: float | None, overlap_s: float, grid: FrameGrid) -> None:
    """Refuse windows that cannot be.

    Raises:
        ValueError: a window without room for a frame, or an overlap that is negative or leaves no hop.
    """
    if window_s is None:
        return
    shortest_s = grid.shortest_samples / grid.sampling_rate
    if not (_is_finite(window_s) and window_s >= shortest_s):
        raise ValueError(
            f"window_s={reprlib.repr(window_s)} must be a number of seconds, at least {shortest_s:.4f} (one frame), None for no"
            ' windows, or "context".'
        )
    hop_s = grid.hop_samples / grid.sampling_rate
    if not (_is_finite(overlap_s) and 0 <= overlap_s <= window_s - hop_s):
        raise ValueError(
            f"overlap_s={reprlib.repr(overlap_s)} must lie between 0 and window_s less one frame ({window_s - hop_s:.4f} s);"
            " half of it is thrown away on each side of a seam."
        )


def _is_finite(value) -> bool:
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def plan_windows(
    num_samples: int,
    grid: FrameGrid,
    window_s: float | None = DEFAULT_WINDOW_S,
    overlap_s: float = DEFAULT_OVERLAP_S,
) -> list[Window]:
    """Cut a clip into windows of equal length; of every overlap each neighbour gives half.

    The last window ends with the clip and is as long as the others (to one hop), so it overlaps more. A clip that is no longer
    than a window is one window: it passes as it is.

    Args:
        num_samples: length of the clip.
        grid: how samples become frames.
        window_s: length of a window; None makes one window of any clip, the official behaviour.
        overlap_s: least that neighbouring windows share; windows begin on whole hops.

    Returns:
        Windows whose kept frames are those of the whole clip, each once, in order.

    Raises:
        ValueError: as [`check_window`].
    """
    check_window(window_s, overlap_s, grid)
    num_frames = grid.count_frames(num_samples)
    if window_s is None or num_samples <= window_s * grid.sampling_rate:
        return [Window(0, num_samples, 0, num_frames, 0)]
    length = int(window_s * grid.sampling_rate)
    # a frame sees more than a hop, so without any overlap the frames on the seams would be in no window
    overlap = max(round(overlap_s * grid.sampling_rate), grid.receptive_samples - grid.hop_samples)
    hop = max((length - overlap) // grid.hop_samples, 1) * grid.hop_samples
    last_start = math.ceil((num_samples - length) / grid.hop_samples) * grid.hop_samples
    starts = [*range(0, last_start, hop), last_start]
    stops = [min(start + length, num_samples) for start in starts]
    # frames of the clip at which one window hands over to the next: the middle of those that both have
    seams = [0]
    for start, previous_stop, previous_start in zip(starts[1:], stops, starts, strict=False):
        end = previous_start // grid.hop_samples + grid.count_frames(previous_stop - previous_start)
        seams.append((start // grid.hop_samples + end) // 2)
    seams.append(num_frames)
    return [
        Window(start, stop, first, end, first - start // grid.hop_samples)
        for start, stop, (first, end) in zip(starts, stops, pairwise(seams), strict=True)
    ]


def join_windows(kept: list[torch.Tensor]) -> torch.Tensor:
    """Join what was kept of the windows, each (..., frames, hidden), along the frames; empties the list as it goes."""
    if len(kept) == 1:
        return kept.pop()
    num_frames = sum(part.shape[-2] for part in kept)
    joined = kept[0].new_empty((*kept[0].shape[:-2], num_frames, kept[0].shape[-1]))
    begin = 0
    while kept:
        part = kept.pop(0)
        joined[..., begin : begin + part.shape[-2], :] = part
        begin += part.shape[-2]
    return joined


__all__ = [
    "DEFAULT_OVERLAP_S",
    "DEFAULT_WINDOW_S",
    "FrameGrid",
    "Window",
    "check_window",
    "join_windows",
    "resolve_window_s",
    "plan_windows",
]
