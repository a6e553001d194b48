"""Vectors for a dataset of `datasets`, by its `map`."""

import os
import reprlib
from collections.abc import Mapping
from typing import Any, Literal

from mert_hf.common.errors import InputError, NoUsableInputError
from mert_hf.encoding.chosen_layers import Layers
from mert_hf.integrations.lazy_encoder import LazyEncoder


class EmbedColumn:
    """A function for `dataset.map`, of rows with audio to the vectors of [`MusicEncoder.encode`].

    It is pickled without weights, so `datasets` finds what it has once computed in its cache, in other processes as well: by
    the settings. What lies in the model's folder or repository is not looked at: after it has changed, give
    `load_from_cache_file=False`. Every process of `num_proc` loads a model of its own.

    Args:
        model: a folder or a repository of the Hub.
        column: that holds the audio: paths, bytes, or `Audio`. `Audio(decode=False)` spares `datasets` its decoder, which
            needs FFmpeg's libraries.
        to: name of the column that is added: float32 vectors; with `pool` "second" or None a list of them. With several layers
            each of these is a list of `layers`.
        on_error: of a row that cannot be used: "raise", or "skip", which leaves None there and says why in the log.
        device, dtype: as in [`MusicEncoder`].
        options: of [`MusicEncoder.encode`]: layers, pool, batch_size, normalize, sampling_rate, window_s, overlap_s.

    Raises:
        InputError: an option that there is not, or a loaded model.

    Example:
        ```python
        dataset = load_dataset("audiofolder", data_dir="music", split="train").cast_column("audio", Audio(decode=False))
        embed = EmbedColumn("m-a-p/MERT-v1-95M", on_error="skip")
        dataset = dataset.map(embed, batched=True, batch_size=8).filter(lambda row: row["vector"] is not None)
        dataset = dataset.with_format("numpy", columns=["vector"])
        ```
    """

    def __init__(
        self,
        model: str | os.PathLike,
        column: str = "audio",
        to: str = "vector",
        *,
        on_error: Literal["raise", "skip"] = "raise",
        device: str | None = None,
        dtype: str = "float32",
        **options: Layers | str | int | float | bool | None,
    ):
        known = ("layers", "pool", "batch_size", "normalize", "sampling_rate", "window_s", "overlap_s")
        for name in options:
            if name not in known:
                raise InputError(f"EmbedColumn has no option {name!r}; there are {', '.join(known)}.")
        self.column, self.to = column, to
        self._encoder = LazyEncoder(model, device, dtype)
        self._options = {**options, "on_error": on_error, "progress": False}

    def __call__(self, rows: Mapping[str, list]) -> dict[str, list[Any]]:
        """Rows as `map(batched=True)` gives them, to a column of vectors.

        Raises:
            InputError: there is no such column, rows came one by one, or as [`MusicEncoder.encode`].
        """
        if self.column not in rows:
            raise InputError(f"there is no column {self.column!r} to embed; there are {', '.join(map(repr, rows))}.")
        audio = rows[self.column]
        if not isinstance(audio, list):
            raise InputError(
                f"{reprlib.repr(self.column)} holds one {type(audio).__name__}; give dataset.map(..., batched=True)."
            )
        try:
            vectors = self._encoder.load().encode(audio, **self._options)
        except NoUsableInputError:  # all of a batch are bad, and of a dataset they need not be
            return {self.to: [None] * len(audio)}
        return {self.to: [None if _is_skipped(vector) else vector for vector in vectors]}


def _is_skipped(vector: Any) -> bool:
    return vector is None or bool((vector != vector).all())  # NaN alone differs from itself
