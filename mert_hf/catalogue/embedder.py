"""Music in, rows of a catalogue out: by itself, and in the hands of engines that deal out work (Ray, Spark, datasets)."""

import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mert_hf import __version__
from mert_hf.audio import AudioSource, read_audio, read_info
from mert_hf.catalogue.settings import CatalogueSettings, claim, parse_layers, write_layers
from mert_hf.catalogue.store import DESCRIBED, schema_of
from mert_hf.common.errors import FULL_DISK, InputError
from mert_hf.common.files import digest_bytes, digest_file
from mert_hf.common.threads import map_ahead
from mert_hf.encoding.chosen_layers import Layers
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.released import DEFAULT_MODEL
from mert_hf.models.audio_inputs_mert import items_of
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S

# Longer tracks are read window by window, which the model waits for; half an hour at 24 kHz is 173 MB.
LONGEST_WHOLE_S = 30 * 60
# Tracks that are read while one is computed.
READERS = 2

_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_note_fork)


@dataclass(frozen=True)
class Heard:
    """A track as it was read.

    Attributes:
        sha256: of the file's content.
        duration_s, sampling_rate: of the file.
        audio: the waveform (samples,) at the model's rate, or the file where it is long.
    """

    sha256: str
    duration_s: float
    sampling_rate: int
    audio: np.ndarray | AudioSource


def hear(source: AudioSource, sampling_rate: int) -> Heard:
    """Read a track, resampled to `sampling_rate`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        digest = digest_bytes(source) if isinstance(source, bytes) else digest_file(source)
        info = read_info(source)
        whole = info.duration_s <= LONGEST_WHOLE_S
        return Heard(digest, info.duration_s, info.sampling_rate, read_audio(source, sampling_rate) if whole else source)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise InputError(f"cannot be read: {error.strerror or error}") from None


class Embedder:
    """The vectors of a catalogue, track by track: a track's do not depend on which others pass before or beside it.

    It pickles without the model, which is loaded where and when it is first needed: `map_batches` of Ray Data takes the class,
    `mapInPandas` of Spark its `in_pandas`, and `map` of datasets, with `batched=True`, the object, whose rows it
    finds again in its cache, by the settings: what lies in the model's folder is not looked at.

    Args:
        model: folder, released model or repository.
        layers, pool, window_s, overlap_s: as of [`MusicEncoder.encode`]; vectors are not scaled to length 1.
        device: the fastest there is by default.
        dtype: of the computation, such as "float32" or "bfloat16".
        batch_size: windows of a track at a time.
        revision: commit, branch or tag of a repository.

    Example:
        ```python
        Embedder().begin("catalogue")
        songs = ray.data.read_parquet("songs")  # a column "path"
        how = dict(fn_constructor_args=["mert-small"], batch_format="pyarrow", concurrency=4)
        songs.map_batches(Embedder, **how).write_parquet("catalogue/data")
        ```
    """

    def __init__(
        self,
        model: str | os.PathLike = DEFAULT_MODEL,
        layers: Layers | None = None,
        pool: str | None = "mean",
        *,
        window_s: float | str | None = "context",
        overlap_s: float = DEFAULT_OVERLAP_S,
        device: str | None = None,
        dtype: str = "float32",
        batch_size: int = 8,
        revision: str | None = None,
    ):
        self.model, self.revision = os.fspath(model), revision
        self.layers, self.pool = layers, pool
        self.window_s, self.overlap_s = window_s, overlap_s
        self.device, self.dtype, self.batch_size = device, dtype, batch_size
        self._encoder: MusicEncoder | None = None
        self._settings: CatalogueSettings | None = None

    @classmethod
    def of(cls, settings: CatalogueSettings, device: str | None = None, batch_size: int = 8) -> "Embedder":
        """One that makes the vectors of a catalogue.

        Raises:
            InputError: the model is not the one that the catalogue was made with.
        """
        how = dict(window_s=settings.window_s, overlap_s=settings.overlap_s, dtype=settings.dtype, revision=settings.revision)
        made = cls(settings.model, parse_layers(settings.layers), settings.pool, device=device, batch_size=batch_size, **how)
        if made.settings.weights != settings.weights:
            raise InputError(f"{settings.model} holds other weights now than when the catalogue was made of it; make it anew.")
        return made

    def __getstate__(self) -> dict[str, Any]:
        # what is found out by loading is left out too: one that was used is the same function to the cache of datasets
        return {**vars(self), "_encoder": None, "_settings": None}

    @property
    def encoder(self) -> MusicEncoder:
        """The model, loaded."""
        if self._encoder is None:
            self._encoder = MusicEncoder(self.model, device=self.device, dtype=self.dtype, revision=self.revision)
        return self._encoder

    @property
    def settings(self) -> CatalogueSettings:
        """All that the vectors depend on."""
        if self._settings is None:
            encoder = self.encoder
            layers = encoder.default_layer if self.layers is None else self.layers
            # checked as the first track will be
            window_s = encoder.resolve_window_s(self.window_s)
            encoder.check(layers, self.pool, self.batch_size, window_s, self.overlap_s)
            self._settings = CatalogueSettings(
                model=self.model,
                revision=encoder.commit,
                weights=encoder.fingerprint(),
                layers=write_layers(layers, encoder.num_layers),
                pool=self.pool,
                window_s=None if window_s is None else float(window_s),
                overlap_s=float(self.overlap_s),
                dtype=str(encoder.dtype).removeprefix("torch."),
                sampling_rate=encoder.sampling_rate,
                dimensions=encoder.hidden_size * (2 if self.pool == "mean_std" else 1),
                version=__version__,
            )
        return self._settings

    def vectors(self, heard: Heard, frames_file: str | os.PathLike | None = None) -> dict[str, Any]:
        """The columns of a track that hold its vectors, by their names.

        Args:
            frames_file: where to write all frames, with `pool` None; its name is the column's value.

        Raises:
            InputError: it is too short for a frame, or its features are not finite.
        """
        settings, audio = self.settings, heard.audio
        if isinstance(audio, np.ndarray):
            audio = {"array": audio, "sampling_rate": settings.sampling_rate}
        how = dict(window_s=settings.window_s, overlap_s=settings.overlap_s, batch_size=self.batch_size)
        how |= dict(layers=parse_layers(settings.layers), pool=settings.pool, normalize=False, progress=False)
        if settings.pool is None:
            return {"frames": self._write_frames(audio, how, Path(frames_file))}
        found = self.encoder.encode(audio, **how)
        if settings.pool == "second":  # a list of vectors, not an array of two axes, is what a column can hold
            found = list(found) if found.ndim == 2 else [list(layer) for layer in found]
        return {"vector": found} if settings.columns == ("vector",) else dict(zip(settings.columns, found, strict=True))

    def _write_frames(self, audio, how: dict[str, Any], file: Path) -> str:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix="track.", suffix=".partial") as folder:
            self.encoder.encode(audio, output_dir=folder, **how)
            (written,) = Path(folder).iterdir()
            written.replace(file)
        return file.name

    def __call__(self, batch: pa.Table | Mapping[str, Any]) -> pa.Table | dict[str, Any]:
        """Rows in, the same rows with vectors out; see [`Embedder`].

        Args:
            batch: a column "path" of files, or "audio" of encoded audio as datasets hold it (`{"bytes": ..., "path": ...}`),
                and others, which are kept. As a table of pyarrow, or as lists by name.

        Returns:
            As it came. A table has all columns of a catalogue (`store.py`), lists those of the vectors, `sha256`, `duration_s`
            and `sampling_rate`. What cannot be embedded has nulls there, and in `failure` its reason, which is null elsewhere;
            in lists, whose types `datasets` takes from the first batch, NaN, 0 and "" stand for null.

        Raises:
            InputError: it holds neither column, or all frames are asked for, which belong into files.
        """
        if self.pool is None:
            raise InputError("rows hold vectors, not all frames (pool None); mert-hf embed writes them into files.")
        names = batch.column_names if isinstance(batch, pa.Table) else list(batch)
        given = next((name for name in ("audio", "path") if name in names), None)
        if given is None:
            raise InputError(f'a batch needs the column "path" or "audio"; this one has: {", ".join(names)}.')
        values = batch[given].to_pylist() if isinstance(batch, pa.Table) else batch[given]
        if items_of(values) is None:
            raise InputError(f"{given!r} holds one {type(values).__name__}; give several rows: dataset.map(..., batched=True).")
        if _forked:  # the threads that torch had are not there any more, and it would wait for them
            torch.set_num_threads(1)
        rate = self.settings.sampling_rate  # the model is loaded here, and not by each of the threads that read
        read = map_ahead(lambda source: _hear_or_tell(source, rate), map(_source_of, values), READERS)
        rows = [self._row(found) for found in read]
        if isinstance(batch, pa.Table):
            return self._join(batch, rows)
        nothing = np.full(self.settings.dimensions, np.nan, np.float32)
        absent = dict(sha256="", duration_s=np.nan, sampling_rate=0, failure="")
        absent |= {name: [nothing] if self.pool == "second" else nothing for name in self.settings.columns}
        return {**batch, **{name: [row.get(name, value) for row in rows] for name, value in absent.items()}}

    def in_pandas(self, frames: Iterable) -> Iterator:
        """Data frames in and out, as `mapInPandas` of Spark asks for; see [`Embedder.__call__`]."""
        for frame in frames:
            yield self(pa.Table.from_pandas(frame, preserve_index=False)).to_pandas()

    def begin(self, folder: str | os.PathLike) -> None:
        """Note in a folder what the vectors are, before an engine writes Parquet files of them into `folder/data`.

        Raises:
            InputError: it was begun with other settings, or holds something else.
        """
        claim(folder, self.settings)
        (Path(folder) / "data").mkdir(exist_ok=True)

    def schema(self) -> pa.Schema:
        """Names and types of the columns that a table of paths alone comes back with."""
        return schema_of(self.settings).append(pa.field("failure", pa.string()))

    def _join(self, batch: pa.Table, rows: list[dict[str, Any]]) -> pa.Table:
        """The columns of a batch and those of a catalogue; what stands in both is the batch's, but for what was found now."""
        described = {name: getattr(self.settings, name) for name in DESCRIBED}
        made = pa.Table.from_pylist([{**described, **row} for row in rows], schema=self.schema())
        found = {name: made[name] for name in made.column_names}
        kept = {name: batch[name] for name in batch.column_names if name not in found or name in ("path", "name")}
        if "name" not in kept and "path" in kept:
            paths = kept["path"].to_pylist()
            kept["name"] = pa.array([path and os.path.basename(path) for path in paths], pa.string())  # noqa: PTH119
        return pa.table({**kept, **{name: column for name, column in found.items() if name not in kept}})

    def _row(self, found: Heard | InputError) -> dict[str, Any]:
        if isinstance(found, InputError):
            return {"failure": str(found)}
        try:
            vectors = self.vectors(found)
        except InputError as error:
            return {"failure": str(error)}
        return dict(sha256=found.sha256, duration_s=found.duration_s, sampling_rate=found.sampling_rate, **vectors)


def _hear_or_tell(source: AudioSource, sampling_rate: int) -> Heard | InputError:
    try:
        return hear(source, sampling_rate)
    except InputError as error:
        return error


def _source_of(value: Any) -> AudioSource:
    if value is None or isinstance(value, Mapping):
        value = (value or {}).get("bytes") or (value or {}).get("path") or b""
    return value.getvalue() if isinstance(value, io.BytesIO) else value
