"""The layers of a model that somebody asks for."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mert_hf.common.errors import InputError

Layers = int | str | Sequence[int] | Mapping[int, float]


class ChosenLayers:
    """Which layers are wanted, how they are weighed, and the form of a result.

    Args:
        layers: a number, several, "all", or weights by number, for their weighted sum.
        deepest: number of the last layer.
        normalize: scale results to length 1.

    Raises:
        InputError: a layer that does not exist, or none.
    """

    def __init__(self, layers: Layers, deepest: int, normalize: bool):
        self.one = isinstance(layers, (int, np.integer, Mapping))
        self.normalize = normalize
        self.weights = _weights(layers) if isinstance(layers, Mapping) else None
        if isinstance(layers, str) and layers == "all":
            layers = range(deepest + 1)
        if isinstance(layers, (int, np.integer)):
            layers = [layers]
        if isinstance(layers, (str, bytes)) or not isinstance(layers, Iterable):
            raise InputError(
                f'layers={reprlib.repr(layers)} is unknown; give a number, a list of them, "all", or a dict of weights.'
            )
        self.layers = list(layers)
        if not self.layers:
            raise InputError("layers is empty; give at least one.")
        for layer in self.layers:
            if not isinstance(layer, (int, np.integer)) or isinstance(layer, bool) or not 0 <= layer <= deepest:
                raise InputError(
                    f"layer {reprlib.repr(layer)} does not exist; this model has layers 0 (input of the first) to {deepest}"
                    " (the last)."
                )

    def weigh(self, states: np.ndarray) -> np.ndarray:
        """(layers, frames, hidden), or (1, frames, hidden) where they are added up."""
        return states if self.weights is None else np.tensordot(self.weights, states, axes=1)[None]

    def finish(self, vectors: np.ndarray, done: bool = False) -> np.ndarray:
        """Drop the axis of a single layer and scale to length 1; frames have been through this when they were kept."""
        if done:
            return vectors
        vectors = vectors[0] if self.one else vectors
        if not self.normalize:
            return vectors
        return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.finfo(np.float32).tiny)


def _weights(layers: Mapping) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # infinity is refused
            weights = np.array(list(layers.values()), dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        weights = np.array([np.nan])
    if weights.ndim != 1 or not np.isfinite(weights).all():
        raise InputError(f"the weights of layers={reprlib.repr(layers)} must be finite numbers.")
    return weights
