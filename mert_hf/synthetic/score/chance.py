"""Small random choices shared by the composing modules."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")


def pick(rng: np.random.Generator, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
    """Draw one of `options`, uniformly or in proportion to `weights`.

    `Generator.choice` would turn the options into an array and costs tens of microseconds a call; composing draws
    thousands of times.
    """
    if weights is None:
        return options[int(rng.random() * len(options))]
    threshold = rng.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        threshold -= weight
        if threshold < 0:
            return option
    return options[-1]


def happens(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(rng.random() < probability)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a plain float uniformly from [low, high)."""
    return low + (high - low) * float(rng.random())
