"""Vectors for a dataset of `datasets`, by its `map`."""

import os
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from mert_hf.common.errors import InputError, NoUsableInputError
from mert_hf.encoding.chosen_layers import Layers
from mert_hf.integrations.lazy_encoder import LazyEncoder
from mert_hf.integrations.vectors import require_vector_pool, vector_shape
from mert_hf.models.audio_inputs_mert import items_of

_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_note_fork)


class EmbedColumn:
    """A function for `dataset.map`, of rows with audio to the vectors of [`MusicEncoder.encode`].

    It is pickled without weights, so `datasets` finds what it has once computed in its cache, in other processes as well: by
    the settings. What lies in the model's folder or repository is not looked at: after it has changed, give
    `load_from_cache_file=False`. Every process of `num_proc` loads a model of its own, and computes with
    one thread.

    Args:
        model: a folder or a repository of the Hub.
        column: that holds the audio: paths, bytes, or `Audio`. `Audio(decode=False)` spares `datasets` its decoder, which
            needs FFmpeg's libraries.
        to: name of the column that is added: vectors in float32; with several layers a list of them.
        pool: "mean" or "mean_std".
        on_error: of a row that cannot be used: "raise", or "skip", whose vector is NaN; the log says why.
        device, dtype: as in [`MusicEncoder`].
        options: of [`MusicEncoder.encode`]: layers, batch_size, normalize, sampling_rate, window_s, overlap_s.

    Raises:
        InputError: an option that there is not, a pooling that makes several vectors of a row, or a loaded model.

    Example:
        ```python
        dataset = load_dataset("audiofolder", data_dir="music", split="train").cast_column("audio", Audio(decode=False))
        embed = EmbedColumn("m-a-p/MERT-v1-95M", on_error="skip")
        dataset = dataset.map(embed, batched=True, batch_size=8)
        dataset = dataset.filter(lambda row: np.isfinite(row["vector"]).all())  # without what was skipped
        ```
    """

    def __init__(
        self,
        model: str | os.PathLike,
        column: str = "audio",
        to: str = "vector",
        *,
        pool: str = "mean",
        on_error: Literal["raise", "skip"] = "raise",
        device: str | None = None,
        dtype: str = "float32",
        **options: Layers | str | int | float | bool | None,
    ):
        require_vector_pool(pool)
        known = ("layers", "batch_size", "normalize", "sampling_rate", "window_s", "overlap_s")
        for name in options:
            if name not in known:
                raise InputError(f"EmbedColumn has no option {name!r}; there are {', '.join(known)}.")
        self.column, self.to = column, to
        self._encoder = LazyEncoder(model, device, dtype)
        self._options = {**options, "pool": pool, "on_error": on_error, "progress": False}

    def __call__(self, rows: Mapping[str, list]) -> dict[str, list[np.ndarray]]:
        """Rows as `map(batched=True)` gives them, to a column of vectors.

        Raises:
            InputError: there is no such column, rows came one by one, or as [`MusicEncoder.encode`].
        """
        if self.column not in rows:
            raise InputError(f"there is no column {self.column!r} to embed; there are {', '.join(map(repr, rows))}.")
        audio = rows[self.column]
        if items_of(audio) is None:
            raise InputError(f"{self.column!r} holds one {type(audio).__name__}; give dataset.map(..., batched=True).")
        if _forked:  # as `num_proc` does it: the threads that torch had are not there any more, and it would wait for them
            torch.set_num_threads(1)
        encoder = self._encoder.load()
        try:
            vectors = encoder.encode(audio, **self._options)
        except NoUsableInputError:  # all of a batch are bad, and of a dataset they need not be
            shape = vector_shape(encoder, self._options.get("layers"), self._options["pool"])
            vectors = np.full((len(audio), *shape), np.nan, np.float32)
        return {self.to: list(vectors)}
