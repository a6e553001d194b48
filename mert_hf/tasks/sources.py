"""Where examples come from: a table on the Hub, or a folder in the layout in which a dataset is distributed."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.tasks.base import SPLITS, Check, Loaded, Source
from mert_hf.tasks.examples import Cell, Example

# Missing audio files that a check names before it only counts them.
NAMED_FILES = 3


@dataclass(frozen=True)
class HubTable(Source):
    """A dataset of the Hub with an audio column, read row by row; its files are parquet, nothing in it is run.

    A folder that holds a copy of the repository (or of its sub-folder `config`) is used in place of the Hub where it exists.

    Attributes:
        repo_id, config, revision: on the Hub; revision None is the newest commit, and the commit found is stored with results.
        audio, label: columns.
        splits: the repository's names of our splits.
        others: further columns that whoever reads the table needs.
        unverified: columns and split names that nobody here has seen yet; errors about them say so.
    """

    repo_id: str
    audio: str = "audio"
    label: str = "label"
    config: str | None = None
    revision: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: dict(zip(SPLITS, SPLITS, strict=True)))
    others: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    @property
    def _columns(self) -> list[str]:
        return [column for column in (self.audio, self.label, *self.others) if column]

    def describe(self) -> str:
        config = f" ({self.config})" if self.config else ""
        return f"dataset {self.repo_id}{config} on the Hub, columns {', '.join(self._columns)}"

    def needs_download(self, folder: Path | None) -> bool:
        return self._local(folder) is None

    def check(self, folder: Path | None) -> Check:
        """Whether the repository can be reached and has the columns and splits; none of its data is downloaded."""
        try:
            info = self._builder(folder).info
            if info.splits is not None:
                self._require_splits(list(info.splits))
            if info.features is not None:
                self._require_columns(list(info.features))
        except InputError as error:
            return Check((str(error),))
        unseen = [what for what, known in (("splits", info.splits), ("columns", info.features)) if known is None]
        # a copy in a folder is loaded by the check itself
        if not unseen or self._local(folder):
            return Check()
        return Check(
            notes=(f"{' and '.join(unseen)} of {self.repo_id} are checked at loading: the Hub does not tell them before",)
        )

    def load(self, folder: Path | None) -> Loaded:
        tables, revisions, fingerprint = self.open(folder)
        rows = {split: _Rows(tables[split], self) for split in SPLITS}
        return Loaded(rows, (), self.origin(folder), revisions, fingerprint)

    def open(self, folder: Path | None) -> tuple[Mapping[str, Any], Mapping[str, str], str]:
        """The `datasets.Dataset` of every split, audio not decoded; the commit by repository id; a fingerprint of both.

        Raises:
            InputError: it cannot be reached or read, or lacks a column or a split.
        """
        require_packages("train", "datasets")
        from datasets import Audio
        from datasets.exceptions import DatasetsError

        builder = self._builder(folder)
        try:
            builder.download_and_prepare()
            tables = builder.as_dataset()
        except (OSError, ValueError, DatasetsError) as error:
            raise InputError(f"{self.origin(folder)} cannot be read: {' '.join(str(error).split())}") from None
        self._require_splits(list(tables))
        opened = {}
        for split, name in self.splits.items():
            self._require_columns(tables[name].column_names)
            opened[split] = tables[name].cast_column(self.audio, Audio(decode=False)) if self.audio else tables[name]
        revisions = {} if self._local(folder) else {self.repo_id: builder.hash}
        prints = [opened[split]._fingerprint for split in self.splits]
        return opened, revisions, digest([self.repo_id, self.config, revisions, prints])

    def pinned(self, revisions: Mapping[str, str]) -> Self:
        return replace(self, revision=revisions.get(self.repo_id, self.revision))

    def _require_columns(self, found: Sequence[str]) -> None:
        for column in self._columns:
            if column not in found:
                raise InputError(self._lacks("column", column, found))

    def _require_splits(self, found: Sequence[str]) -> None:
        for name in self.splits.values():
            if name not in found:
                raise InputError(self._lacks("split", name, found))

    def _lacks(self, what: str, name: str, found: Sequence[str]) -> str:
        guess = " (its name was never verified)" if name in self.unverified else ""
        return (
            f"{self.repo_id} has no {what} {name!r}{guess}; {what}s found: {', '.join(found)}. Correct the task's file, or pin"
            " a revision that has it."
        )

    def _local(self, folder: Path | None) -> Path | None:
        if folder is None or not folder.is_dir():
            return None
        inner = folder / self.config if self.config else folder
        return inner if inner.is_dir() else folder

    def origin(self, folder: Path | None) -> str:
        """The folder where it exists, the repository elsewhere."""
        return str(self._local(folder) or self.repo_id)

    def _builder(self, folder: Path | None):
        require_packages("train", "datasets")
        from datasets import get_dataset_config_names, load_dataset_builder
        from datasets.exceptions import DatasetsError

        local = self._local(folder)
        try:
            # a copy with its card is read as the card says, wherever that keeps the files of a configuration
            card = local and self.config and (folder / "README.md").is_file()
            if card and self.config in get_dataset_config_names(str(folder)):
                return load_dataset_builder(str(folder), self.config)
            if local:
                return load_dataset_builder(str(local))
            return load_dataset_builder(self.repo_id, self.config, revision=self.revision)
        except (OSError, ValueError, DatasetsError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            where = f"{local}, a copy of {self.repo_id}," if local else f"dataset {self.repo_id}"
            there = f" in {folder}" if folder else " in a folder"
            raise InputError(
                f"{where} cannot be opened: {reason}. Check the network, or put a copy of the repository{there}."
            ) from None


class _Rows(Sequence):
    """The rows of a table as examples, read when asked for."""

    def __init__(self, table: Any, source: HubTable):
        require_packages("train", "datasets")
        from datasets import ClassLabel

        self.table = table
        self._audio, self._label = source.audio, source.label
        feature = table.features.get(source.label)
        self._names = feature.names if isinstance(feature, ClassLabel) else None
        # a row holds the audio's bytes as well: labels are read without them
        self._labels = table.select_columns([source.label])

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Example:
        label = self._labels[row][self._label]
        # int2str is not used: it refuses the -1 of a row without label, which is to be named as an unknown label
        label = self._names[label] if self._names and 0 <= label < len(self._names) else label
        return Example(f"row {row}", Cell(self.table, row, self._audio), label)


@dataclass(frozen=True)
class LocalFolder(Source):
    """A dataset as it is distributed, unpacked into one folder."""

    layout: str  # files below the folder, for people
    needs: tuple[str, ...]  # paths below the folder without which nothing works
    # folder -> examples of every split, and the labels found (empty where the task has its own)
    read: Callable[[Path], tuple[Mapping[str, Sequence[Example]], tuple[str, ...]]]

    def describe(self) -> str:
        return self.layout

    def check(self, folder: Path | None) -> Check:
        """Whether the folder, the files of the layout and the audio files are there."""
        problems = self._missing(folder)
        if problems:
            return Check(tuple(problems))
        try:
            splits, _ = self.read(folder)
        except InputError as error:
            return Check((str(error),))
        for split, examples in splits.items():
            absent = [example.name for example in examples if not _exists(example)]
            if absent:
                named = ", ".join(absent[:NAMED_FILES])
                problems.append(
                    f"{len(absent)} of {len(examples)} audio files of the {split} split are missing in {folder}: {named}"
                    f"{' ...' if len(absent) > NAMED_FILES else ''}"
                )
        return Check(tuple(problems))

    def load(self, folder: Path | None) -> Loaded:
        """The examples of every split. The fingerprint holds the size and the time of change of every audio file."""
        problems = self._missing(folder)
        if problems:
            raise InputError(problems[0])
        splits, labels = self.read(folder)
        content = [
            [(example.name, _state(example.audio, folder), _state(example.label, folder)) for example in splits.get(split, ())]
            for split in SPLITS
        ]
        return Loaded(splits, labels, str(folder), {}, digest(content))

    def _missing(self, folder: Path | None) -> list[str]:
        if folder is None:
            return [f"this dataset is read from a folder, and none was given; expected {self.layout}"]
        if not folder.is_dir():
            return [f"{folder} is not there; expected {self.layout}"]
        return [f"{folder / name} is missing; expected {self.layout}" for name in self.needs if not (folder / name).exists()]


def read_csv(path: Path, delimiter: str = ",", errors: str = "strict") -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows of a table, each row with its line; lines without any cell are left out.

    Args:
        path: in UTF-8, with or without a mark at the beginning.
        delimiter: between the cells.
        errors: "replace" where bytes that are no UTF-8 do not matter.

    Raises:
        InputError: it cannot be read, is not in UTF-8, or has a column twice.
    """
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig", errors=errors) as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError:
        raise InputError(f"{path} is damaged: it is no text in UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
    twice = next((name for name, count in Counter(header).items() if count > 1 and name), None)
    if twice is not None:
        raise InputError(f"{path} has the column {twice[:80]!r} twice.")
    return header, rows


def keyed_rows(path: Path, key: str, columns: Sequence[str], delimiter: str = ",") -> dict[int, dict[str, str]]:
    """Rows of a table with a header, by the number in one column.

    Args:
        path: of the table.
        key: the column with the number.
        columns: those that are used.
        delimiter: between the cells.

    Raises:
        InputError: the table cannot be read, a column is missing (those found are named), a key is no number, or two rows have
            the same key and something else in what is used.
    """
    # names of artists are in several encodings; nothing but their plain letters counts
    header, lines = read_csv(path, delimiter, errors="replace")
    for column in (key, *columns):
        if column not in header:
            raise InputError(f"{path} has no column {column!r}; columns found: {', '.join(header)[:400]}.")
    rows: dict[int, dict[str, str]] = {}
    for line, cells in lines:
        values = {name: cell.strip() for name, cell in zip_longest(header, cells[: len(header)], fillvalue="") if name}
        # no dataset counts beyond 18 digits, and Python refuses to read some thousand
        if not values[key].isdecimal() or len(values[key]) > 18:
            raise InputError(f"{path}, line {line}: {values[key][:80]!r} in column {key!r} is no number.")
        before = rows.setdefault(int(values[key]), values)
        if any(before[column] != values[column] for column in columns):
            raise InputError(f"{path}, line {line}: {key} {values[key]} has another row already, which says something else.")
    return rows


def _state(value: Any, folder: Path) -> Any:
    """What tells a file from another one that took its place, wherever the folder lies; anything else as it is."""
    if isinstance(value, tuple):
        return [_state(part, folder) for part in value]
    if not isinstance(value, Path):
        return repr(value)
    try:
        found = value.stat()
    except OSError:
        return [value.relative_to(folder).as_posix()]
    return [value.relative_to(folder).as_posix(), found.st_size, found.st_mtime_ns]


def _exists(example: Example) -> bool:
    sources = example.label if isinstance(example.label, tuple) else ()
    paths = [example.audio, *(part for part in sources if isinstance(part, Path))]
    return all(not isinstance(path, Path) or path.is_file() for path in paths)


def digest(content: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
