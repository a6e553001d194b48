"""Tables beside audio, as people write them and as the audiofolder of `datasets` reads them: metadata.csv, metadata.jsonl."""

import csv
import io
import math
import unicodedata
from pathlib import Path
from typing import Any

from mert_hf.common.errors import InputError
from mert_hf.common.reading import parse_json
from mert_hf.data.names import one_spelling

TABLES = ("metadata.csv", "metadata.jsonl")
# Kinds that a table may be of which is meant to be read; `datasets` reads the first beside the two above.
OTHER_KINDS = (".parquet", ".csv", ".jsonl", ".tsv", ".json", ".ndjson", ".xlsx", ".xls", ".ods")
FILE_NAME = "file_name"
# Between the cells of what is called csv where the comma is a decimal mark, and by programs that mean tsv.
OTHER_SEPARATORS = (";", "\t", "|")


def find_table(folder: Path) -> Path | None:
    """The table of a folder, where there is one.

    Raises:
        InputError: there are two, or one of a kind or a name that is not read.
    """
    names = [file.name for file in folder.iterdir() if file.stem.lower() == "metadata" and file.suffix.lower() in OTHER_KINDS]
    found = [name for name in (*TABLES, "metadata.parquet") if name in names]
    if len(found) > 1:
        raise InputError(f"{folder} holds {' and '.join(found)}; keep the one that is meant.")
    unread = [name for name in sorted(names) if name not in TABLES]
    if found and found[0] in TABLES:
        return folder / found[0]
    if unread:
        raise InputError(f"{folder / unread[0]} is not read; write it as {' or '.join(TABLES)} (these letters, UTF-8).")
    return None


def read_table(table: Path) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a table, each with the line it begins in; all have the same columns.

    Raises:
        InputError: it cannot be read, is not in UTF-8, is no such table, has no column file_name, a column twice, no row, or a
            row with too many or too few cells.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{table} is not in UTF-8; save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{table} cannot be read: {error.strerror or error}.") from None
    if table.suffix == ".jsonl":
        lines = enumerate(text.split("\n"), start=1)
        rows = [(number, parse_json(line, f"{table}, line {number}")) for number, line in lines if line.strip()]
        columns = list(dict.fromkeys(column for _, row in rows for column in row))
    else:
        columns, rows = _read_csv(table, text)
    if FILE_NAME not in columns:
        separator = next((mark for mark in OTHER_SEPARATORS if any(mark in column for column in columns)), None)
        hint = f" Are they separated by {separator!r}? Separate them by commas." if separator else ""
        raise InputError(f"{table} has no column {FILE_NAME!r}; its columns: {shortened(columns)}.{hint}")
    if not rows:
        raise InputError(f"{table} holds no rows.")
    return [(line, {column: row.get(column) for column in columns}) for line, row in rows]


def _read_csv(table: Path, text: str) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    reader = csv.reader(io.StringIO(text), strict=True)  # a quote that is never closed would swallow what follows
    rows, begins = [], 1
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = [name for name in header if name]
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise InputError(f"{table} has the column {twice[0][:80]!r} twice; rename or remove one.")
        begins = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) != len(header):
                    raise InputError(
                        f"{table}, line {begins}: {len(cells)} cells under {len(header)} columns; put a cell that holds a comma"
                        " into quotes."
                    )
                rows.append((begins, {name: cell for name, cell in zip(header, cells, strict=True) if name}))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{table}, line {begins}: {error}.") from None
    return columns, rows


def cell_text(cell: Any, where: str) -> str:
    """What a cell says: in one Unicode spelling, with single spaces and none around; "" where it is empty, None or NaN.

    Args:
        cell: text or a number; 1 and 1.0 are the same.
        where: it stands, for the message.

    Raises:
        InputError: it is anything else, or holds control characters.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if not isinstance(cell, (str, bool, int, float)):
        raise InputError(f"{where} holds {type(cell).__name__} where text or a number is expected.")
    text = one_spelling(" ".join(str(cell).split()))
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise InputError(f"{where} holds {text[:80]!r}: control characters, or halves of some, are no text.")
    return text


def shortened(names: list[str]) -> str:
    """Names for a message, 200 characters of them at most."""
    text = ", ".join(names)
    return text if len(text) <= 200 else f"{text[:200]} ..."
