"""The folder of a catalogue: rows in Parquet shards, a journal of those that no shard holds yet, and a list of failures.

catalogue.json       what the vectors are (settings.py)
data/*.parquet       rows, written once, each file wholly or not at all
journal-00000        rows of the process of that number since its last shard; each is on the disk before the next track
failures.jsonl       tracks of the last run without a row: path, name, reason (failures-00001.jsonl of the second process)
frames/*.npy         with `pool` None: all frames of a track, named by the SHA-256 of its content
index/               what searches have built of the rows; may be deleted
"""

import io
import json
import logging
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mert_hf.catalogue.settings import CatalogueSettings
from mert_hf.catalogue.sources import Item
from mert_hf.common.errors import InputError
from mert_hf.common.files import open_atomically

logger = logging.getLogger(__name__)

# Rows of a shard: 6 MB with one vector of 768.
ROWS_PER_SHARD = 2048
# What a row tells beside its vectors.
FACTS = {
    "path": pa.string(),
    "name": pa.string(),
    "sha256": pa.string(),
    "size": pa.int64(),
    "modified_ns": pa.int64(),
    "duration_s": pa.float64(),
    "sampling_rate": pa.int32(),
    "model": pa.string(),
    "revision": pa.string(),
    "layers": pa.string(),
    "pool": pa.string(),
    "window_s": pa.float64(),
    "version": pa.string(),
}

# Of these, what the settings tell.
DESCRIBED = ("model", "revision", "layers", "pool", "window_s", "version")


def schema_of(settings: CatalogueSettings) -> pa.Schema:
    """Names and types of a catalogue's columns."""
    vector = pa.list_(pa.float32(), settings.dimensions)
    kind = pa.string() if settings.pool is None else pa.list_(vector) if settings.pool == "second" else vector
    return pa.schema([*FACTS.items(), *((name, kind) for name in settings.columns)])


@dataclass(frozen=True)
class Known:
    """What tells a track that has a row, and the shard (or journal) and number of that row."""

    size: int
    modified_ns: int
    sha256: str
    file: Path
    row: int


class Store:
    """Writes the rows of one process; others write into the same folder beside it, with other numbers.

    Args:
        folder: of the catalogue.
        settings: of its vectors.
        number: of this process, from 0.
    """

    def __init__(self, folder: str | os.PathLike, settings: CatalogueSettings, number: int = 0):
        self.folder, self.number = Path(folder), number
        self.schema = schema_of(settings)
        self._described = {name: getattr(settings, name) for name in DESCRIBED}
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self._shard = 1 + max((_shard_number(file) for file in self._own_shards()), default=-1)
        self._journal = Journal(self.folder / f"journal-{number:05d}")
        self._rows: list[pa.RecordBatch] = []
        self._read: tuple[Path, pa.Table] | None = None
        self._take_up(self._journal.read(self.schema))

    def add(self, item: Item, facts: dict[str, Any]) -> None:
        """Keep a row; it is on the disk when this returns.

        Args:
            facts: `sha256`, `duration_s`, `sampling_rate` and the vectors, by their columns' names.
        """
        described = dict(path=item.path, name=item.name, size=item.size, modified_ns=item.modified_ns)
        row = {**self._described, **described, **facts}
        self._keep(pa.RecordBatch.from_pylist([{name: row[name] for name in self.schema.names}], schema=self.schema))

    def vectors_of(self, known: "Known") -> dict[str, Any]:
        """The columns of vectors of a track that has a row in a shard."""
        if self._read is None or self._read[0] != known.file:
            self._read = known.file, read_shard(known.file, self.schema, self.schema.names[len(FACTS) :])
        return self._read[1].slice(known.row, 1).to_pylist()[0]

    def adopt(self, journal: Path) -> None:
        """Take over the rows of another process, which is not there any more."""
        other = Journal(journal)
        for row in other.read(self.schema):
            self._keep(row)
        other.remove()

    def close(self) -> None:
        """Write what the journal holds into a shard, together with the last one where that is small."""
        if self._rows:
            last = max(self._own_shards(), key=_shard_number, default=None)
            table = pa.Table.from_batches(self._rows, self.schema)
            if last is not None and pq.read_metadata(last).num_rows + len(self._rows) <= ROWS_PER_SHARD:
                table = pa.concat_tables([read_shard(last, self.schema), table])
                self._shard = _shard_number(last)
            self._write_shard(table)
        self._journal.remove()

    def _take_up(self, rows: list[pa.RecordBatch]) -> None:
        """Go on with the rows of a journal; who was killed between writing a shard and clearing it had them in both."""
        last = max(self._own_shards(), key=_shard_number, default=None)
        in_shard = [] if last is None or not rows else read_shard(last, self.schema, ["path", "sha256"]).to_pylist()
        self._rows = [row for row in rows if row.select(["path", "sha256"]).to_pylist()[0] not in in_shard]
        if rows and not self._rows:
            self._journal.clear()

    def _keep(self, row: pa.RecordBatch) -> None:
        self._journal.add(row)
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_SHARD:
            self._write_shard(pa.Table.from_batches(self._rows, self.schema))

    def _write_shard(self, table: pa.Table) -> None:
        with open_atomically(self.folder / "data" / f"part-{self.number:05d}-{self._shard:06d}.parquet") as file:
            pq.write_table(table, file, compression="zstd")
        self._shard += 1
        self._rows = []
        self._journal.clear()

    def _own_shards(self) -> list[Path]:
        return list((self.folder / "data").glob(f"part-{self.number:05d}-*.parquet"))


class Journal:
    """A file that rows are added to, each with its length and a checksum: a torn end is told from a row.

    What a killed process left in it stays, up to a torn end.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.seek(sum(length for length, _ in _read_entries(path)))
        self._file.truncate()

    def read(self, schema: pa.Schema) -> list[pa.RecordBatch]:
        """The rows that are in it."""
        return read_journal(self._path, schema)

    def add(self, row: pa.RecordBatch) -> None:
        """Write a row and force it to the disk."""
        content = row.serialize().to_pybytes()
        self._file.write(b"".join(number.to_bytes(8, "little") for number in (len(content), zlib.crc32(content))) + content)
        self._file.flush()
        os.fsync(self._file.fileno())

    def clear(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()

    def remove(self) -> None:
        """Have no journal any more."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def read_journal(path: Path, schema: pa.Schema) -> list[pa.RecordBatch]:
    """The rows of a journal up to a torn end, which is what a killed process was writing, or a live one is."""
    return [pa.ipc.read_record_batch(pa.py_buffer(row), schema) for _, row in _read_entries(path)]


def _read_entries(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every whole entry of a journal: its length in the file, and the row."""
    content = io.BytesIO(path.read_bytes())
    while len(head := content.read(16)) == 16:
        length, checksum = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:], "little")
        row = content.read(length)
        if not row or len(row) < length or zlib.crc32(row) != checksum:
            return
        yield 16 + length, row


def read_shard(file: Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file of rows, also one that another engine wrote of [`Embedder`]'s rows; those that failed are left out.

    Raises:
        InputError: it is damaged, or lacks a column.
    """
    wanted = schema.names if columns is None else columns
    try:
        there = pq.read_schema(file).names
        failed = ["failure"] if "failure" in there else []
        needed = [name for name in wanted if name in there]
        table = pq.read_table(file, columns=[*needed, *failed])
        if failed:
            table = table.filter(pc.is_null(table["failure"]))
        lacking = [name for name in wanted if name not in there]
        for name in lacking:
            if name not in FACTS or name == "path":
                raise InputError(f"{file} has no column {name!r}; it is no shard of this catalogue.")
            table = table.append_column(name, pa.nulls(len(table), FACTS[name]))
        return table.select(wanted).cast(pa.schema([schema.field(name) for name in wanted]))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{file} is damaged ({' '.join(str(error).split())[:200]}); remove it, and embed again.") from None


def read_tables(
    folder: str | os.PathLike, settings: CatalogueSettings, columns: list[str] | None = None
) -> Iterator[tuple[Path, pa.Table]]:
    """The rows of a catalogue, file by file, in the order of writing; also those of the journals of a run that goes on."""
    schema = schema_of(settings)
    for file in row_files(folder):
        if file.suffix == ".parquet":
            yield file, read_shard(file, schema, columns)
        else:
            table = pa.Table.from_batches(read_journal(file, schema), schema)
            yield file, table if columns is None else table.select(columns)


def find_kept(folder: str | os.PathLike, settings: CatalogueSettings) -> dict[Path, NDArray[np.bool_]]:
    """Which rows of each file count: of a path that has several, the last."""
    last: dict[str, tuple[Path, int]] = {}
    kept: dict[Path, NDArray[np.bool_]] = {}
    for file, table in read_tables(folder, settings, ["path"]):
        kept[file] = np.zeros(len(table), bool)
        last |= {path: (file, row) for row, path in enumerate(table["path"].to_pylist())}
    for file, row in last.values():
        kept[file][row] = True
    return kept


def drop_superseded(folder: str | os.PathLike, settings: CatalogueSettings) -> None:
    """Rewrite the shards that hold rows that do not count; nobody else may write into the folder meanwhile."""
    for file, kept in find_kept(folder, settings).items():
        if kept.all() or file.suffix != ".parquet":
            continue
        if not kept.any():
            file.unlink()
            continue
        table = read_shard(file, schema_of(settings)).filter(pa.array(kept))
        with open_atomically(file) as rewritten:
            pq.write_table(table, rewritten, compression="zstd")


def row_files(folder: str | os.PathLike) -> list[Path]:
    """The files that hold rows: shards by their numbers, then journals."""
    shards = sorted(Path(folder).glob("data/*.parquet"), key=lambda file: (_shard_number(file), file.name))
    return [*shards, *sorted(Path(folder).glob("journal-?????"))]


def read_known(folder: str | os.PathLike, settings: CatalogueSettings) -> tuple[dict[str, Known], int]:
    """The tracks that have a row, by their paths, and how many rows there are: more where some are superseded."""
    columns = ["path", "size", "modified_ns", "sha256"]
    found, count = {}, 0
    for file, table in read_tables(folder, settings, columns):
        count += len(table)
        for row, (path, *facts) in enumerate(zip(*(table[name].to_pylist() for name in columns), strict=True)):
            found[path] = Known(*facts, file, row)
    return found, count


class Failures:
    """The tracks of a run that have no row, each with its reason, as lines of JSON.

    Args:
        folder, number: as of [`Store`].
        alone: whether no other process writes beside this one; what those of before have listed is then gone too.
    """

    def __init__(self, folder: str | os.PathLike, number: int = 0, alone: bool = True):
        self.file = Path(folder) / (f"failures-{number:05d}.jsonl" if number else "failures.jsonl")
        self.count = 0
        for file in Path(folder).glob("failures*.jsonl") if alone else [self.file]:
            file.unlink(missing_ok=True)

    def add(self, item: Item, reason: str) -> None:
        """Note one."""
        self.count += 1
        entry = json.dumps({"path": item.path, "name": item.name, "reason": reason})
        with self.file.open("a", encoding="utf-8") as file:
            file.write(entry + "\n")


def _shard_number(file: Path) -> int:
    """Number of a shard of ours; those of other engines come first."""
    parts = file.stem.split("-")
    return int(parts[2]) if len(parts) == 3 and parts[0] == "part" and parts[2].isdigit() else -1
