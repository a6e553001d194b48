"""How much windows change features, layer by layer."""

from mert_hf.audio import AudioSource
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.layer_differences import LayerDifference, compare_layers
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S, DEFAULT_WINDOW_S


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
    return compare_layers(whole, windowed)
