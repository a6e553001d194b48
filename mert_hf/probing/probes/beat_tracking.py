"""Beats of an activation: a hidden Markov model of tempo and position in the beat.

The model of Krebs, Boeck and Widmer (2015) with the numbers of madmom's `DBNBeatTrackingProcessor`, which MARBLE uses; written
from the formulas, in numpy.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mert_hf.common.errors import InputError


@dataclass(frozen=True)
class BeatTracker:
    """Activation to beat times.

    Every tempo is a number of frames a beat, every state a position within it; a frame later the position is one further, and
    at the end of a beat the tempo may change.

    Attributes:
        frame_rate: frames per second of the activation.
        min_bpm, max_bpm: slowest and fastest tempo (madmom: 55 to 215).
        transition_lambda: how steady the tempo is: it changes by a factor q with a probability in proportion to
            exp(-transition_lambda * |q - 1|) (madmom: 100).
        observation_lambda: the first 1 / observation_lambda of a beat is where the activation is expected (madmom: 16).

    Raises:
        InputError: numbers that are not positive or tempi that the frame rate cannot resolve.
    """

    frame_rate: float
    min_bpm: float = 55.0
    max_bpm: float = 215.0
    transition_lambda: float = 100.0
    observation_lambda: int = 16

    def __post_init__(self):
        if not 0 < self.min_bpm <= self.max_bpm or self.transition_lambda <= 0 or self.observation_lambda < 2:
            raise InputError(
                f"a beat tracker needs 0 < min_bpm <= max_bpm, transition_lambda > 0 and observation_lambda >= 2; got {self}."
            )
        if not self.frame_rate > 0 or round(60 * self.frame_rate / self.max_bpm) < 2:
            raise InputError(
                f"{self.frame_rate:g} frames a second cannot resolve {self.max_bpm:g} beats a minute; raise the frame rate or"
                " lower max_bpm."
            )

    def __call__(self, activation: ArrayLike) -> NDArray[np.float64]:
        """Track beats.

        Args:
            activation: (frames,) how likely a beat is in every frame, 0 to 1.

        Returns:
            (beats,) ascending times in seconds; each lies on the highest activation of its stretch. None where the activation
            is zero throughout.

        Raises:
            InputError: it is no (frames,) array of numbers from 0 to 1.
        """
        activation = np.asarray(activation, dtype=np.float64)
        if activation.ndim != 1 or not ((activation >= 0) & (activation <= 1)).all():  # NaN fails both
            raise InputError(f"an activation must be (frames,) numbers from 0 to 1; got shape {activation.shape}.")
        if not activation.any():
            return np.zeros(0)
        in_beat = self._decode(activation)
        edges = np.flatnonzero(np.diff(in_beat, prepend=False, append=False))
        peaks = [start + int(np.argmax(activation[start:stop])) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
        return np.unique(peaks) / self.frame_rate

    def _decode(self, activation: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(frames,) whether the likeliest path is in the first part of a beat (Viterbi)."""
        space = _states(*(round(60 * self.frame_rate / bpm) for bpm in (self.max_bpm, self.min_bpm)), self.transition_lambda)
        # where the position is 0, the tempo may have changed; elsewhere the path came from the state before
        in_beat = space.positions * self.observation_lambda < space.periods
        tiny = np.finfo(np.float64).tiny
        beat = np.log(np.maximum(activation, tiny))
        other = np.log(np.maximum((1 - activation) / (self.observation_lambda - 1), tiny))
        scores = np.full(len(in_beat), -np.log(len(in_beat)))
        came_from = np.empty((len(activation), len(space.firsts)), dtype=np.int32)
        everyone = np.arange(len(space.firsts))
        for frame in range(len(activation)):
            changes = scores[space.lasts][:, None] + space.log_transitions
            best = changes.argmax(axis=0)
            came_from[frame] = best
            scores[1:] = scores[:-1].copy()
            scores[space.firsts] = changes[best, everyone]
            scores += np.where(in_beat, beat[frame], other[frame])
        path = np.empty(len(activation), dtype=np.int64)
        state = int(scores.argmax())
        for frame in range(len(activation) - 1, -1, -1):
            path[frame] = state
            tempo = space.tempo_of_first.get(state)
            state = state - 1 if tempo is None else int(space.lasts[came_from[frame, tempo]])
        return in_beat[path]


@dataclass(frozen=True)
class _States:
    """States of all tempi in a row."""

    periods: NDArray[np.int64]  # (states,) frames a beat
    positions: NDArray[np.int64]  # (states,) within the beat
    firsts: NDArray[np.int64]  # (tempi,) first state of every tempo
    lasts: NDArray[np.int64]  # (tempi,) and the last
    log_transitions: NDArray[np.float64]  # (tempi, tempi) from a tempo to another
    tempo_of_first: dict[int, int]  # by its first state


@lru_cache(maxsize=8)
def _states(shortest: int, longest: int, transition_lambda: float) -> _States:
    intervals = np.arange(shortest, longest + 1)
    lasts = np.cumsum(intervals) - 1
    firsts = lasts - intervals + 1
    periods = np.repeat(intervals, intervals)
    log_transitions = -transition_lambda * np.abs(intervals[None, :] / intervals[:, None] - 1)
    log_transitions -= np.log(np.exp(log_transitions).sum(axis=1, keepdims=True))
    return _States(
        periods,
        np.arange(len(periods)) - np.repeat(firsts, intervals),
        firsts,
        lasts,
        log_transitions,
        {int(state): tempo for tempo, state in enumerate(firsts)},
    )
