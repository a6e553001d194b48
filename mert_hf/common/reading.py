"""Files that a crash, a bad disk or a stranger may have changed: what they hold, or one line that says what is wrong."""

import dataclasses
import json
import math
import os
import re
import types
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, TypeVar

from mert_hf.common.errors import InputError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

# A YAML file of ours holds some hundred values; a few bytes of aliases of aliases may stand for billions.
MOST_YAML_VALUES = 100_000


def read_text(path: str | os.PathLike) -> str:
    """The text of a UTF-8 file.

    Raises:
        InputError: it cannot be read, or is no such text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is damaged: it is no text in UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a UTF-8 file, which end with a line feed or, as Windows writes them, with a carriage return before it.

    Nothing else ends a line: `str.splitlines` would also cut at a form feed or U+2028, which names of tracks may hold.

    Raises:
        InputError: as in [`read_text`].
    """
    lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def read_json(path: str | os.PathLike, kind: type = dict) -> Any:
    """What a JSON file holds.

    Args:
        kind: what it must hold, `dict` or `list`.

    Raises:
        InputError: it cannot be read, is no JSON, or holds something else.
    """
    return parse_json(read_text(path), str(path), kind)


def parse_json(text: str, where: str, kind: type = dict) -> Any:
    """What a JSON text holds; see [`read_json`].

    Args:
        where: it stands, for the message, such as a file's name and line.

    Raises:
        InputError: it is no JSON, gives a key twice, or holds something else.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:  # ValueError also of a number of too many digits
        raise InputError(f"{where} is damaged: it is no JSON ({_one_line(error)}).") from None
    if not isinstance(content, kind):
        raise InputError(f"{where} is damaged: it holds {type(content).__name__}, not {kind.__name__}.")
    return content


def read_array(path: str | os.PathLike) -> "np.ndarray":
    """The array in a `.npy` file, mapped into memory; one of objects, which would be unpickled, is refused.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    # its header is read as a literal of Python, which stumbles in as many ways as there are
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, KeyError, OverflowError, TokenError) as error:
        raise InputError(f"{path} cannot be read as an array: {_one_line(error)}") from None


def read_json_lines(path: str | os.PathLike) -> list[dict[str, Any]]:
    """One object a line; a last line without its end was being written when its writer was killed, and is left out.

    Raises:
        InputError: as in [`read_json`]; names the line.
    """
    lines = read_text(path).split("\n")[:-1]
    return [parse_json(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """Keys and values of a YAML file.

    Raises:
        InputError: as in [`parse_yaml`], or it cannot be read, or holds no keys at all.
    """
    content = parse_yaml(read_text(path), str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold sections and keys; it holds {type(content).__name__}.")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text holds; a number such as 5e-4, without a point, is one. The message says `where` it stands.

    Raises:
        InputError: it is no YAML, gives a key twice, or holds more than anybody writes.
    """
    import yaml

    try:
        content = yaml.load(text, Loader=_strict_loader())
        if _count_values(content, {}) > MOST_YAML_VALUES:
            raise InputError(
                f"{where} holds more than {MOST_YAML_VALUES:,} values, written with aliases; write out what is meant."
            )
    except InputError:
        raise
    # ValueError of a date there is not, TypeError of a set of lists, RecursionError of an alias of itself
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InputError(f"{where} is not valid YAML: {_one_line(error)}") from None
    return content


def to_dataclass(schema: type[T], content: Any, where: str) -> T:
    """An instance of a dataclass from what JSON gave, every field checked for its type.

    Args:
        schema: fields of plain types: numbers, text, lists, tuples and dictionaries of them, and None.
        content: an object with these fields; those with a default may be missing.
        where: it was read, for the message.

    Raises:
        InputError: a field is missing, unknown or of another type.
    """
    if not isinstance(content, dict):
        raise InputError(f"{where} is damaged: it holds {type(content).__name__}, not the fields of {schema.__name__}.")
    fields = _fields(schema)
    for name in content:
        if name not in fields:
            raise InputError(f"{where} is damaged, or of another version of mert_hf: unknown field {str(name)[:80]!r}.")
    given = {}
    for name, (needed, check) in fields.items():
        if name not in content:
            if needed:
                raise InputError(f"{where} is damaged, or of another version of mert_hf: the field {name!r} is missing.")
            continue
        fits, given[name] = check(content[name])
        if not fits:
            raise InputError(f"{where} is damaged: {name} is {shown(content[name])}.")
    return schema(**given)


def shown(value: Any, quoted: bool = True) -> str:
    """A value in a message: as Python writes it, cut where it is long; a text without quotes where it is not `quoted`."""
    text = repr(value) if quoted or not isinstance(value, str) else value
    return text if len(text) <= 80 else f"{text[:80]}..."


@cache
def _fields(schema: type) -> dict[str, tuple[bool, Callable[[Any], tuple[bool, Any]]]]:
    annotations = typing.get_type_hints(schema)
    return {
        field.name: (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            checker(annotations[field.name]),
        )
        for field in dataclasses.fields(schema)
        if field.init
    }


def checker(annotation: Any) -> Callable[[Any], tuple[bool, Any]]:
    """Takes a value; whether it is of that type, and the value as that type (JSON has lists for tuples, 1 for 1.0)."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return lambda value: (True, value)
    if annotation is float:
        return _check_float
    if annotation is int:
        return lambda value: (isinstance(value, int) and not isinstance(value, bool), value)
    if origin is typing.Literal:
        return lambda value: (any(value == option and type(value) is type(option) for option in arguments), value)
    if origin in (typing.Union, types.UnionType):
        checks = [checker(argument) for argument in arguments]
        return lambda value: next((found for found in (one(value) for one in checks) if found[0]), (False, value))
    if origin is tuple and Ellipsis not in arguments:
        return _check_tuple([checker(argument) for argument in arguments])
    if origin is list:
        one = checker(arguments[0])
        return lambda value: (isinstance(value, list) and all(one(item)[0] for item in value), value)
    kind = origin or annotation
    return lambda value: (isinstance(value, kind), value)


def _check_float(value):
    try:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return fits, float(value) if fits else value
    except OverflowError:  # an integer beyond every float
        return False, value


def _check_tuple(checks):
    def check(value):
        if not isinstance(value, (list, tuple)) or len(value) != len(checks):
            return False, value
        found = [one(item) for one, item in zip(checks, value, strict=True)]
        return all(fits for fits, _ in found), tuple(item for _, item in found)

    return check


@cache
def _strict_loader():
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            if isinstance(node, yaml.MappingNode):
                seen = set()
                for key, _ in node.value:
                    if not isinstance(key, yaml.ScalarNode):
                        continue
                    if key.value in seen:
                        raise yaml.YAMLError(f"the key {key.value!r} is given twice (line {key.start_mark.line + 1})")
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

        def flatten_mapping(self, node):
            # merged keys of merged keys grow before anything can be counted
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise yaml.YAMLError(f"keys are merged with << (line {node.start_mark.line + 1}); write them out")
            super().flatten_mapping(node)

    # YAML 1.1, which the parser holds to, takes 5e-4 for a text
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return Loader


def _count_values(content: Any, counted: dict[int, int]) -> int:
    """Values with every alias written out; `counted` holds what each container came to."""
    if not isinstance(content, (dict, list)):
        return 1
    if id(content) not in counted:
        counted[id(content)] = MOST_YAML_VALUES + 1  # stands while it is counted: an alias of itself has no end
        items = content.values() if isinstance(content, dict) else content
        counted[id(content)] = 1 + sum(_count_values(item, counted) for item in items)
    return counted[id(content)]


def _refuse_constant(name: str):
    raise ValueError(f"{name} is no number of JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:80]!r} is given twice")
    return content


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
