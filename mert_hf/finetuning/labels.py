"""Labels of tracks: read from a table, from sub-folders or from a dataset, and turned into what a model is trained on."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mert_hf.data.corpus import Corpus
from mert_hf.engine.settings import suggest
from mert_hf.errors import InputError

METADATA = "metadata.csv"


@dataclass
class Labels:
    """What is known about the tracks of a corpus, in its order.

    Attributes:
        problem_type: as in transformers' configurations.
        names: the classes, or the columns of numbers.
        targets: (tracks,) int64 classes, (tracks, classes) float32 of 0 and 1, or (tracks, columns) float32.
        rows: all columns of each track, as they were read.
    """

    problem_type: str
    names: list[str]
    targets: np.ndarray
    rows: list[Mapping[str, Any]]

    def counts(self, indices: Sequence[int]) -> dict[str, int]:
        """Tracks of each class among some tracks; nothing for regression."""
        if self.problem_type == "regression":
            return {}
        targets = self.targets[np.asarray(indices, dtype=int)]
        if self.problem_type == "single_label_classification":
            counted = Counter(targets.tolist())
            return {name: counted[number] for number, name in enumerate(self.names)}
        return {name: int(count) for name, count in zip(self.names, targets.sum(0), strict=True)}


def read_folder_rows(folder: Path, corpus: Corpus, label_column: str) -> list[Mapping[str, Any]]:
    """The row of each track: from metadata.csv, or the name of the sub-folder it lies in.

    Raises:
        InputError: a track without a row, a row without a file, a table in another encoding than UTF-8, or neither a table nor
            sub-folders.
    """
    names = [track.name for track in corpus.tracks]
    table = folder / METADATA
    if not table.is_file():
        loose = [name for name in names if "/" not in name]
        if loose:
            raise InputError(
                f"{folder} holds no {METADATA}, and {loose[0]} lies in no sub-folder: write the table (file_name,label), or put"
                " the files into one sub-folder a label."
            )
        return [{label_column: name.split("/")[0]} for name in names]
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, listed = list(reader.fieldnames or []), list(reader)
    except UnicodeDecodeError:
        raise InputError(f"{table} is not in UTF-8; save it as UTF-8.") from None
    if "file_name" not in columns:
        raise InputError(f"{table} has no column 'file_name'; its columns: {', '.join(columns)}.")
    rows = {row["file_name"]: row for row in listed}
    known = {*names, *(track.name for track in corpus.skipped)}
    for kind, missing in (("row", [n for n in names if n not in rows]), ("file", [n for n in rows if n not in known])):
        if missing:
            where = f"{table} has no row for" if kind == "row" else f"{folder} has no audio file of the table's row"
            raise InputError(f"{where} {missing[0]} ({len(missing)} in all); table and files must agree.")
    return [rows[name] for name in names]


def make_labels(rows: list[Mapping[str, Any]], problem_type: str, columns: Sequence[str], separator: str) -> Labels:
    """Turn rows into targets.

    Args:
        rows: one a track, all with the same columns.
        problem_type: "single_label_classification", "multi_label_classification" or "regression".
        columns: of the label; several for regression.
        separator: between the labels of one track; a list in a cell needs none.

    Raises:
        InputError: a missing column, an empty label, one class only, or what should be a number and is none.
    """
    for column in columns:
        if column not in rows[0]:
            raise InputError(f"there is no label column {column!r} (data.label_columns)" + suggest(column, list(rows[0])))
    if problem_type == "regression":
        try:
            targets = np.array([[float(row[column]) for column in columns] for row in rows], dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"columns {', '.join(columns)} must hold numbers for regression: {error}.") from None
        if not np.isfinite(targets).all():
            raise InputError(f"columns {', '.join(columns)} hold NaN or infinity; leave out those tracks.")
        return Labels(problem_type, list(columns), targets, rows)
    several = problem_type == "multi_label_classification"
    values = [_labels_of(row[columns[0]], separator if several else None) for row in rows]
    empty = sum(not labels for labels in values)
    if empty and not several:
        raise InputError(f"{empty} of {len(rows)} tracks have no label in column {columns[0]!r}; fill it or leave them out.")
    names = sorted({label for labels in values for label in labels})
    if len(names) < 2:
        raise InputError(
            f"column {columns[0]!r} holds one class only ({', '.join(names) or 'none'}); two or more are needed to tell apart."
        )
    numbers = {name: number for number, name in enumerate(names)}
    if not several:
        return Labels(problem_type, names, np.array([numbers[labels[0]] for labels in values]), rows)
    targets = np.zeros((len(rows), len(names)), dtype=np.float32)
    for target, labels in zip(targets, values, strict=True):
        target[[numbers[label] for label in labels]] = 1
    return Labels(problem_type, names, targets, rows)


def _labels_of(cell: Any, separator: str | None) -> list[str]:
    if isinstance(cell, (list, tuple, np.ndarray)):
        return [str(label) for label in cell]
    text = "" if cell is None else str(cell).strip()
    parts = text.split(separator) if separator else [text]
    return [part.strip() for part in parts if part.strip()]
