"""Labels of tracks: read from a table, from sub-folders or from a dataset, and turned into classes or numbers."""

import logging
import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.common.suggestions import suggest
from mert_hf.data.corpus import Corpus
from mert_hf.data.names import Names
from mert_hf.tasks.labelled.layout import label_of_track, read_split_folders
from mert_hf.tasks.labelled.tables import FILE_NAME, TABLES, cell_text, find_table, read_table, shortened

logger = logging.getLogger(__name__)


@dataclass
class Labels:
    """What is known about the tracks of a corpus, in its order."""

    problem_type: str  # as in transformers' configurations
    names: list[str]  # the classes, or the columns of numbers
    targets: np.ndarray  # (tracks,) int64 classes, (tracks, classes) float32 of 0 and 1, or (tracks, columns) float32

    def of(self, track: int) -> str | tuple[str, ...] | tuple[float, ...]:
        """The label of a track, as an example of a task has it; see [`mert_hf.tasks.base.Kind`]."""
        target = self.targets[track]
        if self.problem_type == "single_label_classification":
            return self.names[target]
        if self.problem_type == "regression":
            return tuple(target.tolist())
        return tuple(name for name, has in zip(self.names, target, strict=True) if has)


def read_folder_rows(folder: Path, corpus: Corpus, label_column: str, split_column: str = "split") -> list[dict[str, Any]]:
    """The row of each track: from metadata.csv or metadata.jsonl, or the name of the one sub-folder it lies in.

    Names of files meet those on the disk in whatever Unicode spelling, with / or \\, but in the same case. Folders at the top
    that are named after splits (train, test) are no labels: they give the split, unless the table has a column for it, and each
    may hold a table of its own, whose names begin there, instead of one at the top. See [`mert_hf.tasks.labelled.layout`].

    Args:
        label_column, split_column: what label and split are called where folders give them.

    Raises:
        InputError: a track without a row, a row without a file, two rows for one file (equal ones too), two tables for one
            folder or one that cannot be read, or folders that do not say what the labels or splits are.
    """
    names = [track.name for track in corpus.tracks]
    every = [*names, *(track.name for track in corpus.skipped)]
    tables = _find_tables(folder, every)
    if tables:
        rows = _match_rows(folder, tables, names, every)
        if all(split_column in row for row in rows):
            return rows
        splits = read_split_folders(every)
    else:
        splits = read_split_folders(every)
        rows = [{label_column: label_of_track(folder, name, bool(splits))} for name in names]
    if not splits:
        return rows
    return [{**row, split_column: splits[name.partition("/")[0]]} for name, row in zip(names, rows, strict=True)]


def _find_tables(folder: Path, names: list[str]) -> dict[str, Path]:
    """The tables by the folders their names begin in: one at the top (""), or one in each split's folder ("train/")."""
    top = find_table(folder)
    parents = sorted({parent.as_posix() for name in names for parent in PurePosixPath(name).parents} - {"."})
    below = {f"{parent}/": file for parent in parents for name in TABLES if (file := folder / parent / name).is_file()}
    if top and below:
        raise InputError(f"{top} and {next(iter(below.values()))} both tell labels; keep one of them.")
    if top:
        return {"": top}
    if below:
        splits = {f"{name}/" for name in read_split_folders(names)}
        if below.keys() != splits:
            place = sorted(below.keys() ^ splits)[0]
            raise InputError(
                f"{folder} holds tables in its sub-folders ({next(iter(below.values())).name}), but {place} "
                + ("is not named after a split" if place in below else "has none")
                + "; write one table for all at the top."
            )
        below = {place: find_table(folder / place) for place in below}
    return below


def _match_rows(folder: Path, tables: dict[str, Path], names: list[str], every: list[str]) -> list[dict[str, Any]]:
    known, found, strangers = Names(every), {}, []
    for place, table in tables.items():
        for line, row in read_table(table):
            where = f"{table}, line {line}"
            name = _find_file(known, place, row[FILE_NAME], where)
            if name is None:
                strangers.append(str(row[FILE_NAME]))
            elif name in found:
                raise InputError(
                    f"{where}: {name} has a row already, in line {found[name][0]}; a file has one row, with all its labels."
                )
            else:
                found[name] = (line, row)
    titles = " and ".join(map(str, tables.values()))
    lacking = [name for name in names if name not in found]
    if lacking:
        raise InputError(f"{titles} has no row for {lacking[0]} ({len(lacking)} in all); table and files must agree.")
    if strangers:
        near = [name for name in every if name.casefold() == strangers[0].casefold()]
        raise InputError(
            f"{folder} has no audio file of the table's row {strangers[0][:200]} ({len(strangers)} in all); table and files"
            " must agree" + (f", in upper and lower case too: there is {near[0]}." if near else ".")
        )
    columns = list(dict.fromkeys(column for _, row in found.values() for column in row))
    return [{column: found[name][1].get(column) for column in columns} for name in names]


def _find_file(known: Names, place: str, cell: Any, where: str) -> str | None:
    if not isinstance(cell, str) or not cell.strip():
        raise InputError(f"{where}: {FILE_NAME} must name a file; it is {str(cell)[:80]!r}.")
    found = known.find(place + cell)
    if found is not None:
        return found
    written = cell.strip().replace("\\", "/")
    if written.startswith("/") or PureWindowsPath(cell.strip()).is_absolute():
        raise InputError(f"{where}: {cell[:200]!r} is an absolute path; write it from the table's folder on.")
    plain = posixpath.normpath(written)
    if plain.startswith("../") or plain == "..":
        raise InputError(f"{where}: {cell[:200]!r} leaves the table's folder; put the audio below it.")
    return known.find(place + plain)


def make_labels(rows: list[Mapping[str, Any]], problem_type: str, columns: Sequence[str], separator: str) -> Labels:
    """Turn rows into targets.

    Args:
        rows: one a track, all with the same columns.
        problem_type: "single_label_classification", "multi_label_classification" or "regression".
        columns: of the label; several for regression.
        separator: between the labels of one track; a list in a cell needs none.

    Labels that differ by their Unicode spelling or by spaces are one.

    Raises:
        InputError: a missing column, an empty label, several where there should be one, one class only, what is neither text
            nor a number, or what should be a number and is none.
    """
    for column in columns:
        if column not in rows[0]:
            known = [str(name)[:80] for name in rows[0]]
            raise InputError(f"there is no label column {column!r} (label_columns)" + suggest(column, known))
    if problem_type == "regression":
        try:
            targets = np.array([[float(row[column]) for column in columns] for row in rows])
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"columns {', '.join(columns)} must hold numbers for regression: {str(error)[:200]}.") from None
        if not (np.abs(targets) <= np.finfo(np.float32).max).all():  # NaN too
            raise InputError(f"columns {', '.join(columns)} hold NaN or infinity; leave out those tracks.")
        return Labels(problem_type, list(columns), targets.astype(np.float32))
    several = problem_type == "multi_label_classification"
    values = [_labels_of(row[columns[0]], separator if several else None, f"column {columns[0]!r}") for row in rows]
    empty = sum(not labels for labels in values)
    if empty and not several:
        raise InputError(f"{empty} of {len(rows)} tracks have no label in column {columns[0]!r}; fill it or leave them out.")
    if not several and any(len(labels) > 1 for labels in values):
        first = next(labels for labels in values if len(labels) > 1)
        raise InputError(
            f"column {columns[0]!r} holds several labels for one track ({shortened(first)}); leave one, or give"
            " problem_type multi_label_classification."
        )
    names = sorted({label for labels in values for label in labels})
    if len(names) < 2:
        raise InputError(
            f"column {columns[0]!r} holds one class only ({shortened(names) or 'none'}); two or more are needed to tell apart."
        )
    _warn_of_near_names(names)
    numbers = {name: number for number, name in enumerate(names)}
    if not several:
        return Labels(problem_type, names, np.array([numbers[labels[0]] for labels in values]))
    targets = np.zeros((len(rows), len(names)), dtype=np.float32)
    for target, labels in zip(targets, values, strict=True):
        target[[numbers[label] for label in labels]] = 1
    return Labels(problem_type, names, targets)


def _labels_of(cell: Any, separator: str | None, where: str) -> list[str]:
    if isinstance(cell, (list, tuple, np.ndarray)):
        parts = cell.tolist() if isinstance(cell, np.ndarray) else cell
    else:
        parts = cell.split(separator) if separator and isinstance(cell, str) else [cell]
    return [label for part in parts if (label := cell_text(part, where))]


def _warn_of_near_names(names: list[str]) -> None:
    """Names that a reader would take for one class stay two, since a table may mean it."""
    seen: dict[str, str] = {}
    for name in names:
        visible = "".join(letter for letter in name.casefold() if unicodedata.category(letter) != "Cf")
        other = seen.setdefault(visible, name)
        if other != name:
            logger.warning("Two classes differ by case or invisible characters only: %r and %r", other, name)
