"""The rows of a catalogue in the form that searching wants: one table of facts, one matrix of vectors, mapped into memory.

They are built of the shards when they are first asked for, into `index/`, in a folder named by the state of the shards: what
was built of others is not looked at again. Where the catalogue may not be written, they last as long as the process.
"""

import errno
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mert_hf.catalogue.projection import Projection
from mert_hf.catalogue.settings import CatalogueSettings
from mert_hf.catalogue.store import FACTS, find_kept, read_tables, row_files
from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, move_flushed, open_atomically
from mert_hf.common.reading import read_array

logger = logging.getLogger(__name__)

ROWS_FILE = "rows.parquet"
# Bytes at the end of a shard that are looked at.
END_BYTES = 65536


class Matrices:
    """What is built of the rows of a catalogue, as they are now.

    Args:
        folder: of the catalogue.
        settings: of its vectors.

    Attributes:
        folder: that holds it.
    """

    def __init__(self, folder: str | os.PathLike, settings: CatalogueSettings):
        self._catalogue, self._settings = Path(folder), settings
        self._temporary: tempfile.TemporaryDirectory | None = None
        self._state = self._find_state()
        self.folder = self._catalogue / "index" / self._state
        if not self.folder.is_dir():
            self._build_rows()

    def rows(self) -> pa.Table:
        """The facts of every track, in the order of the rows of all matrices."""
        return pq.read_table(self.folder / ROWS_FILE)

    def vectors(self, column: str) -> NDArray[np.float32]:
        """(tracks, dimensions) as they were embedded."""
        return self._array(f"{column}.npy", lambda: self._chunks(column), self._settings.dimensions)

    def projection(self, column: str, kind: str) -> Projection:
        """The projection of that kind, fitted on all vectors of a column."""
        if kind == "none":
            return Projection.fit(np.zeros((0, self._settings.dimensions), np.float32), kind)
        file = self.folder / f"{column}-{kind}.npz"
        if not file.exists():
            with open_atomically(file) as written:
                np.savez(written, **Projection.fit(self.vectors(column), kind).to_arrays())
        with np.load(file, allow_pickle=False) as arrays:
            return Projection.from_arrays(dict(arrays), str(file))

    def units(self, column: str, kind: str) -> NDArray[np.float32]:
        """(tracks, projected dimensions), projected to length 1: products of two rows are cosines."""
        projection = self.projection(column, kind)
        name = f"{column}-{kind}-units.npy"
        return self._array(name, lambda: map(projection, self._chunks(column)), projection.projected_size)

    def _find_state(self) -> str:
        """What tells the shards as they are now from what they were before and will be."""
        return digest_json([(file.name, *_tell_apart(file)) for file in row_files(self._catalogue)])[:16]

    def _require_unchanged(self) -> None:
        """Refuse to build of other shards than those that the rows were read from: they would be vectors of other tracks."""
        if not self.folder.is_dir() or self._find_state() != self._state:
            raise InputError(f"{self._catalogue} has changed since it was opened; open it again.")

    def _array(self, name: str, chunks, width: int) -> NDArray[np.float32]:
        file = self.folder / name
        if not file.exists():
            self._require_unchanged()
            count = pq.read_metadata(self.folder / ROWS_FILE).num_rows
            with open_atomically(file) as written:
                np.lib.format.write_array_header_1_0(written, {"descr": "<f4", "fortran_order": False, "shape": (count, width)})
                for chunk in chunks():
                    written.write(np.ascontiguousarray(chunk, "<f4").tobytes())
                self._require_unchanged()
        return read_array(file)

    def _chunks(self, column: str) -> Iterator[NDArray[np.float32]]:
        """Vectors shard by shard, without the rows that a later one of the same track supersedes."""
        kept = np.load(self.folder / "kept.npy", allow_pickle=False)
        start = 0
        for _, table in read_tables(self._catalogue, self._settings, [column]):
            chosen = kept[start : start + len(table)]
            start += len(table)
            if len(table):
                values = table[column].combine_chunks()
                yield values.flatten().to_numpy().reshape(len(table), -1)[chosen]
        if start != len(kept):
            raise InputError(f"{self._catalogue} changed while it was read; try again.")

    def _build_rows(self) -> None:
        place = self.folder.parent
        try:
            place.mkdir(exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=place, suffix=".partial"))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            logger.info("%s cannot be written, so that what is built for searching is not kept: %s", place, error.strerror)
            self._temporary = tempfile.TemporaryDirectory()
            made = self.folder = Path(self._temporary.name)
        try:
            self._write_rows(made)
            if self._temporary is None:
                try:
                    move_flushed(made, self.folder)
                except OSError:  # another process has built the same
                    if not self.folder.is_dir():
                        raise
                for other in place.iterdir():
                    if other != self.folder and not other.name.endswith(".partial"):
                        shutil.rmtree(other, ignore_errors=True)
        finally:
            if self._temporary is None:
                shutil.rmtree(made, ignore_errors=True)

    def _write_rows(self, folder: Path) -> None:
        kept = np.concatenate([np.zeros(0, bool), *find_kept(self._catalogue, self._settings).values()])
        tables = [table for _, table in read_tables(self._catalogue, self._settings, list(FACTS))]
        table = pa.concat_tables([pa.schema(FACTS.items()).empty_table(), *tables])
        if len(table) != len(kept):
            raise InputError(f"{self._catalogue} changed while it was read; try again.")
        np.save(folder / "kept.npy", kept, allow_pickle=False)
        pq.write_table(table.filter(pa.array(kept)), folder / ROWS_FILE, compression="zstd")


def _tell_apart(file: Path) -> tuple[int, int]:
    """What tells the content of a shard from others, wherever it was copied to: its size, and a checksum of its end, where
    Parquet keeps the places and the ranges of all columns.
    """
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(size - END_BYTES, 0))
        return size, zlib.crc32(opened.read())
