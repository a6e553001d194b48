"""How much windows change features, layer by layer."""

from dataclasses import dataclass

import numpy as np

from mert_hf.audio import AudioSource
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S, DEFAULT_WINDOW_S


@dataclass(frozen=True)
class LayerDifference:
    """Windowed beside unwindowed features of one layer.

    Attributes:
        layer: 0 is the input of the first layer.
        frames: norm of the difference of all frames, over the norm of the unwindowed frames about their mean.
        mean_cosine: cosine of the two means over time.
    """

    layer: int
    frames: float
    mean_cosine: float


def window_differences(
    encoder: MusicEncoder,
    source: AudioSource | dict,
    window_s: float = DEFAULT_WINDOW_S,
    overlap_s: float = DEFAULT_OVERLAP_S,
) -> list[LayerDifference]:
    """Encode one piece as a whole and in windows, and compare every layer.

    The whole piece passes through the model at once: choose one of a minute or two.

    Raises:
        InputError: as [`MusicEncoder.encode`].
    """
    options = {"layers": "all", "pool": None, "normalize": False, "progress": False}
    whole = encoder.encode(source, window_s=None, **options)
    windowed = encoder.encode(source, window_s=window_s, overlap_s=overlap_s, **options)
    report = []
    for layer, (before, after) in enumerate(zip(whole, windowed, strict=True)):
        mean, other = before.mean(axis=0, dtype=np.float64), after.mean(axis=0, dtype=np.float64)
        frames = np.linalg.norm(after - before) / np.linalg.norm(before - mean)
        cosine = mean @ other / (np.linalg.norm(mean) * np.linalg.norm(other))
        report.append(LayerDifference(layer, float(frames), float(cosine)))
    return report
