"""What makes vectors of clips: a model, its architecture with random weights, and two spectra that learnt nothing."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.common.redaction import name_only
from mert_hf.encoding.chosen_layers import ChosenLayers
from mert_hf.encoding.encoder import DEFAULT_DEPTH
from mert_hf.models.spectra_mert import Chromagram
from mert_hf.probing.features.encoders import FrozenModel, load_encoder
from mert_hf.probing.features.spectra import LogMel
from mert_hf.probing.probes.baselines import CHROMA_FFT_SAMPLES

POOLINGS = ("mean", "mean_std")


class System:
    """Clips to vectors of every layer, and of both poolings.

    Attributes:
        title: in tables.
        layers: names of those that are looked at, in order.
        fixed_layer: the one whose numbers are told first, named before anything is measured: where MusicEncoder looks by
            default, at seven twelfths of the depth, or the first of those that were asked for.
        pooling: the one that is told first.
    """

    title: str
    layers: tuple[str, ...]
    fixed_layer: str
    pooling: str

    def __call__(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        """A clip (samples,) -> (layers, 2 * size): the mean over time, and behind it the standard deviation."""
        raise NotImplementedError


class Model(System):
    """A frozen model; `layers` as [`mert_hf.encoding.chosen_layers.ChosenLayers`] takes them."""

    pooling = "mean"

    def __init__(self, encoder: FrozenModel, layers: str | Sequence[int]):
        deepest = len(encoder.layers) - 1
        self._encoder, self._chosen = encoder, ChosenLayers(layers, deepest, False).layers
        # a folder may have any name, but rows are told apart by it
        self.title = f"model {encoder.title}" if encoder.title in (MelSystem.title, ChromaSystem.title) else encoder.title
        self.layers = tuple(encoder.layers[layer] for layer in self._chosen)
        default = round(deepest * DEFAULT_DEPTH)
        self.fixed_layer = str(default if default in self._chosen else self._chosen[0])

    def __call__(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        frames = self._encoder(torch.from_numpy(clip)[None])[0, self._chosen]
        return _mean_and_std(frames)


class MelSystem(System):
    """The log-mel spectrum of probing's baseline."""

    title, layers, fixed_layer, pooling = "log-mel", LogMel.layers, LogMel.layers[0], "mean_std"

    def __init__(self, sampling_rate: int):
        self._encoder = LogMel(sampling_rate)

    def __call__(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._encoder.pool(self._encoder(torch.from_numpy(clip)[None]))[0].numpy()


class ChromaSystem(System):
    """Which pitch classes sound: the chroma in which probing's textbook answer looks for the key."""

    title, layers, fixed_layer, pooling = "chroma", ("chroma",), "chroma", "mean_std"

    def __init__(self, sampling_rate: int):
        self._chroma = Chromagram(sampling_rate, CHROMA_FFT_SAMPLES // 4, 12, CHROMA_FFT_SAMPLES)

    def __call__(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        return _mean_and_std(self._chroma(torch.from_numpy(clip)[None]))


def load_systems(
    name: str, layers: str | Sequence[int], seed: int, device: torch.device, revision: str | None = None
) -> tuple[FrozenModel, list[System]]:
    """A model and what it stands beside: first the model, then its random weights, log-mel and chroma.

    Raises:
        InputError: the model cannot be loaded or hears no audio, or has no such layer.
    """
    model = load_encoder(name, revision, device)
    model.title = name_only(name)
    untrained = load_encoder(name, revision, device, random_seed=seed)
    rate = model.sampling_rate
    return model, [Model(model, layers), Model(untrained, layers), MelSystem(rate), ChromaSystem(rate)]


def pooled(vectors: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """(..., 2 * size) as a [`System`] gives them -> (..., size) of "mean", all of "mean_std"."""
    return vectors if pooling == "mean_std" else vectors[..., : vectors.shape[-1] // 2]


def _mean_and_std(frames: torch.Tensor) -> NDArray[np.float32]:
    """(layers, frames, size) -> (layers, 2 * size), as `MusicEncoder` pools by "mean_std"."""
    return torch.cat([frames.mean(dim=1), frames.std(dim=1, correction=0)], dim=-1).cpu().numpy()
