"""The structure of a track: which of its moments sound alike, and where a section ends and another begins.

Foote, "Automatic audio segmentation using a measure of audio novelty" (ICME 2000): along the diagonal of the self-similarity
matrix moves a kernel that adds up how alike the moments on either side of a border are among themselves, and takes off how
alike they are across it. Where the result, the novelty, is highest lie the borders of sections.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The following numbers are ours, chosen by eye on fifteen tracks of 5 s to 3.5 min in many styles, and one of two hours.
# Features are averaged over steps of so many seconds: about a beat.
STEP_S = 0.5
# Shorter steps in short tracks, so that there is something to see; longer ones in tracks beyond ten minutes, so that the matrix
# stays small.
LEAST_STEPS, MOST_STEPS = 64, 1200
# How far the kernel reaches to either side: 12 s, less than most sections of songs last; in short tracks an eighth of the
# track; in those beyond twelve minutes, which are concerts, mixes and records more than songs, a sixtieth; and no fewer steps
# than a mean needs.
REACH_S, SHORT_SHARE, LONG_SHARE, LEAST_REACH_STEPS = 12.0, 1 / 8, 1 / 60, 8
# The standard deviation of the kernel's taper, as a share of its reach.
TAPER = 0.5
# A border has at least this novelty (2 is the highest there is), and one that is so many standard deviations above its mean.
LEAST_NOVELTY, LEAST_DEVIATIONS = 0.2, 1.0
# A dimension that changes by less than this share of its size does not count: that is rounding.
ROUNDING = 1e-5


@dataclass(frozen=True)
class TimeScale:
    """How finely a track is looked at.

    Attributes:
        step_samples: features are averaged over steps of so many samples.
        reach_steps: the kernel's reach to either side of a border.
    """

    step_samples: int
    reach_steps: int

    @classmethod
    def of(cls, num_samples: int, sampling_rate: int, hop_samples: int) -> "TimeScale":
        """The scale for a track whose features have a frame every `hop_samples`."""
        wanted = min(STEP_S * sampling_rate, num_samples / LEAST_STEPS)
        step_samples = max(round(max(wanted, num_samples / MOST_STEPS)), hop_samples)
        reach_samples = min(num_samples * SHORT_SHARE, max(REACH_S * sampling_rate, num_samples * LONG_SHARE))
        return cls(step_samples, max(round(reach_samples / step_samples), LEAST_REACH_STEPS))


def self_similarity(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """How alike all moments of a track are: the cosine of their features, every dimension scaled to mean 0 and deviation 1.

    The mean of a track is taken off because all its frames share it: without that, cosines of a transformer's features lie
    closely below 1. Dimensions are scaled because few of them are far larger than all others.

    Args:
        features: (steps, hidden).

    Returns:
        (steps, steps) from -1 to 1; 0 where a moment does not differ from the mean of the track, as in silence throughout.
    """
    features = np.asarray(features, dtype=np.float64)
    centred = features - features.mean(axis=0)
    rounding = ROUNDING * np.sqrt(np.mean(features**2, axis=0))
    scaled = centred / np.maximum(np.maximum(centred.std(axis=0), rounding), np.finfo(np.float32).tiny)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    # a length of sqrt(hidden) is usual
    directions = scaled / np.maximum(lengths, 0.05 * np.sqrt(scaled.shape[1]))
    return (directions @ directions.T).clip(-1, 1).astype(np.float32)


def novelty_curve(similarity: NDArray[np.floating], reach_steps: int) -> NDArray[np.float32]:
    """How much a new section begins at every step, from what sounded before it.

    The kernel's weights fall off from the border as a Gaussian. Means are taken of both parts of it, over what the track holds
    of them near its ends. That a moment is like itself says nothing and does not count.

    Args:
        similarity: (steps, steps), as of [`self_similarity`].
        reach_steps: steps to either side of a border that are compared.

    Returns:
        (steps,) from -2 to 2: of the border before each step; 0 before the first.
    """
    steps = len(similarity)
    offsets = np.arange(-reach_steps, reach_steps) + 0.5
    taper = np.exp(-0.5 * (offsets / (TAPER * reach_steps)) ** 2)
    weights = np.outer(taper, taper)
    same_side = np.outer(offsets, offsets) > 0
    within, across = weights * same_side * (1 - np.eye(len(offsets))), weights * ~same_side
    novelty = np.zeros(steps, dtype=np.float32)
    for border in range(1, steps):
        first, end = max(border - reach_steps, 0), min(border + reach_steps, steps)
        seen = slice(first - border + reach_steps, end - border + reach_steps)
        block = similarity[first:end, first:end]
        parts = [(kernel[seen, seen] * block).sum() / max(kernel[seen, seen].sum(), 1e-12) for kernel in (within, across)]
        novelty[border] = parts[0] - parts[1]
    return novelty


def pick_borders(novelty: NDArray[np.floating], reach_steps: int) -> NDArray[np.int64]:
    """The steps that sections begin with, the first of the track left out.

    A border is where the novelty is the highest within half a reach to either side, is high enough
    (`LEAST_NOVELTY`, `LEAST_DEVIATIONS`), and lies that far from both ends of the track.

    Args:
        novelty: (steps,), as of [`novelty_curve`].

    Returns:
        (borders,) ascending; no section is shorter than half the reach.
    """
    apart = max(reach_steps // 2, 1)
    if len(novelty) <= 2 * apart:
        return np.zeros(0, dtype=np.int64)
    least = max(LEAST_NOVELTY, float(novelty.mean() + LEAST_DEVIATIONS * novelty.std()))
    borders: list[int] = []
    for step in range(apart, len(novelty) - apart + 1):
        highest = novelty[step - apart : step + apart + 1].max()
        if novelty[step] == highest >= least and (not borders or step - borders[-1] >= apart):
            borders.append(step)
    return np.array(borders, dtype=np.int64)


def layer_energy(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """How far every layer is from its mean over the track, over time, in dB of what that is on average.

    What a layer says at all times is most of its energy, and no picture; what is left is large where the track sounds
    unlike the rest of it.

    Args:
        features: (layers, steps, hidden).

    Returns:
        (layers, steps) dB, not below -40.
    """
    energy = np.stack([np.square(layer - layer.mean(axis=0)).sum(axis=1, dtype=np.float64) for layer in features])
    mean = np.maximum(energy.mean(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return (10 * np.log10(np.maximum(energy / mean, 1e-4))).astype(np.float32)
