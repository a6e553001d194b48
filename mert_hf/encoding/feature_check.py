"""Whether features that somebody kept are those of a model: some code that published models come with computes others."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mert_hf.audio import AudioSource
from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder

# Largest relative difference of right features: of other hardware in float32 (1e-5 measured), and of 16 bit (0.7 % with the
# weights of MERT-v2, 4.5 % with tiny random ones). Those of an uninitialised table of rotary positions differ by about
# 100 %, by 16 % in a tiny random model that hardly attends; their means over time by a tenth of that.
FLOAT32, HALF = 0.002, 0.06


@dataclass(frozen=True)
class FeatureCheck:
    """What kept features come closest to.

    Attributes:
        layer: that is nearest; 0 is the input of the first.
        difference: norm of the difference over the norm of the model's features about their mean (of means: over their norm).
        of_means: whether means were compared, which differ less than frames do, whatever is wrong.
    """

    layer: int
    difference: float
    of_means: bool

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.difference <= FLOAT32:
            return "right"
        if self.difference > HALF:
            return "wrong"
        return "undecided, keep frames to tell" if self.of_means else "right, computed in 16 bit"


def read_features(file: str | os.PathLike) -> NDArray[np.float32]:
    """(frames, hidden) or (hidden,) from a `.npy`; further axes must be of length 1.

    Raises:
        InputError: it is no such file, holds objects, or another shape.
    """
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} cannot be read as .npy: {' '.join(str(error).split())[:200]}") from None
    kept = found.squeeze() if isinstance(found, np.ndarray) else np.empty(0)
    if kept.ndim not in (1, 2) or kept.dtype.kind != "f" or kept.size == 0:
        raise InputError(f"{file} must hold floats of shape (frames, hidden) of one layer, or (hidden,), their mean.")
    if not np.isfinite(kept).all():
        raise InputError(f"{file} holds NaN or infinity.")
    return kept.astype(np.float32)


def check_features(
    encoder: MusicEncoder, kept: NDArray[np.float32], source: AudioSource | dict, window_s: float | None = None
) -> FeatureCheck:
    """Compute the features of a piece anew, of all layers, and compare.

    Args:
        encoder: the model that they are said to be of.
        kept: (frames, hidden) of one layer, or (hidden,), the mean over the frames.
        source: the audio that they are of.
        window_s: as they were computed: of the piece as a whole, or in windows.

    Raises:
        InputError: another number of frames or another hidden size, or audio that cannot be read.
    """
    layers = encoder.encode(source, "all", None, normalize=False, window_s=window_s, progress=False)
    _, frames, hidden = layers.shape
    if kept.shape not in ((frames, hidden), (hidden,)):
        raise InputError(f"the features have the shape {kept.shape}; the model gives ({frames}, {hidden}) of this audio.")
    differences = []
    for states in layers:
        if kept.ndim == 1:
            mean = states.mean(0)
            differences.append(np.linalg.norm(kept - mean) / np.linalg.norm(mean))
        else:
            differences.append(np.linalg.norm(kept - states) / np.linalg.norm(states - states.mean(0)))
    nearest = int(np.argmin(differences))
    return FeatureCheck(nearest, float(differences[nearest]), kept.ndim == 1)
