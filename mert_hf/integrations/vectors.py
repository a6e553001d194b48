"""One vector a piece of music, which is what other libraries work with."""

import reprlib

from mert_hf.common.errors import InputError
from mert_hf.encoding.chosen_layers import ChosenLayers, Layers
from mert_hf.encoding.encoder import MusicEncoder

# The poolings of `MusicEncoder.encode` that make one vector of a clip, and what stands in it, one behind the other.
STATISTICS = {"mean": ("mean",), "mean_std": ("mean", "std")}


def require_vector_pool(pool: object) -> None:
    """Refuse a pooling that makes several vectors of a clip, or that there is not.

    Raises:
        InputError: it is none of [`STATISTICS`].
    """
    if not isinstance(pool, str) or pool not in STATISTICS:
        raise InputError(
            f"pool={reprlib.repr(pool)} makes no vector of a clip; take {' or '.join(map(repr, STATISTICS))} here, or"
            " MusicEncoder for what is finer."
        )


def vector_shape(encoder: MusicEncoder, layers: Layers | None, pool: str) -> tuple[int, ...]:
    """What `encoder.encode` makes of one clip: (hidden,), twice as long with deviations, or (layers, hidden).

    Raises:
        InputError: a layer that does not exist.
    """
    chosen = ChosenLayers(encoder.default_layer if layers is None else layers, encoder.num_layers, normalize=False)
    width = encoder.hidden_size * len(STATISTICS[pool])
    return (width,) if chosen.one else (len(chosen.layers), width)
