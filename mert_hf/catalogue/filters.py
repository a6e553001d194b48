"""Conditions on the columns of a catalogue, such as "duration_s > 60"."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mert_hf.common.errors import InputError

CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
COMPARISONS = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def fulfil(table: pa.Table, conditions: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows fulfil all conditions, each COLUMN OPERATOR VALUE; a value that is missing fulfils none.

    Operators are =, !=, <, <=, >, >= and, of texts, ~ (holds the value, whatever the case of its letters).

    Raises:
        InputError: a condition that is none, of a column that there is not, or of a value of another type.
    """
    found = np.ones(len(table), bool)
    for condition in conditions:
        found &= _fulfil(table, condition)
    return found


def _fulfil(table: pa.Table, condition: str) -> NDArray[np.bool_]:
    parts = CONDITION.fullmatch(condition)
    if parts is None:
        raise InputError(f'the condition {condition!r} is none; give such as "duration_s > 60" or "name ~ live".')
    name, operator, value = parts.groups()
    if name not in table.column_names:
        raise InputError(f"there is no column {name!r} to compare; columns: {', '.join(table.column_names)}.")
    column = table[name]
    if operator == "~":
        if not pa.types.is_string(column.type):
            raise InputError(f"~ is for texts, and {name!r} holds numbers; compare it by =, !=, <, <=, > or >=.")
        matches = pc.match_substring(column, value, ignore_case=True)
    else:
        matches = COMPARISONS[operator](column, pa.scalar(_value(name, column.type, value), column.type))
    return matches.fill_null(False).combine_chunks().to_numpy(zero_copy_only=False)


def _value(name: str, kind: pa.DataType, value: str) -> str | int | float:
    if pa.types.is_string(kind):
        return value
    try:
        return int(value) if pa.types.is_integer(kind) else float(value)
    except ValueError:
        raise InputError(f"{name!r} holds numbers, and {value!r} is none.") from None
