"""How far the features of a piece are from those that they should be, layer by layer."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LayerDifference:
    """Features of one layer beside those that they are compared with.

    Attributes:
        layer: 0 is the input of the first layer.
        frames: norm of the difference of all frames, over the norm of the right frames about their mean.
        mean_cosine: cosine of the two means over time.
    """

    layer: int
    frames: float
    mean_cosine: float


def compare_layers(right: Iterable[np.ndarray], found: Iterable[np.ndarray], first: int = 0) -> list[LayerDifference]:
    """Compare (frames, hidden) of every layer; `first` is the number of the first one."""
    report = []
    for layer, (before, after) in enumerate(zip(right, found, strict=True), first):
        mean, other = before.mean(axis=0, dtype=np.float64), after.mean(axis=0, dtype=np.float64)
        frames = np.linalg.norm(after - before) / np.linalg.norm(before - mean)
        cosine = mean @ other / (np.linalg.norm(mean) * np.linalg.norm(other))
        report.append(LayerDifference(layer, float(frames), float(cosine)))
    return report
