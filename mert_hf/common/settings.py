"""Settings of a script: a dataclass, filled from a recipe (YAML) and then from the command line, every key and value checked.

A recipe holds only what differs from its `base` (a recipe beside it, or by name), or from the defaults of the dataclass. On the
command line any key is `--section.key value`; an unknown key, wherever it stands, is an error that names near ones. Of free
dictionaries, such as `model`, recipes and `--model.key value` set single keys; `--model "{key: value}"` replaces the whole.

Values are what they say: nothing in them is looked up. `${...}`, as other programs fill in from the environment, is refused,
and so is a token or a password, which would end up in `recipe.yaml` and in what is made of it.
"""

import argparse
import copy
import dataclasses
import math
import os
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mert_hf.common.errors import InputError
from mert_hf.common.files import write_atomically
from mert_hf.common.reading import checker, parse_yaml, read_yaml, shown
from mert_hf.common.suggestions import asked_for_help, list_sections, suggest, suggest_key
from mert_hf.models.redaction_mert import hide_secrets

T = TypeVar("T")

# Longest text: the longest path of Linux.
MOST_CHARACTERS = 4096


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Numbers that a setting takes, each of them where it is a list; None is no bound.

    Attributes:
        above: it must be larger.
        least: the smallest.
        below: it must be smaller.
        most: the largest.
        endless: whether `.inf` is taken as well, which says that there is none.
    """

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    endless: bool = False

    def refusal(self, value: float) -> str | None:
        """What the number must be and is not; None where it is."""
        if self.above is not None and not value > self.above:
            return "positive" if self.above == 0 else f"more than {self.above:g}"
        if self.least is not None and not value >= self.least:
            return f"{self.least:g} or more"
        if self.below is not None and not value < self.below:
            return f"less than {self.below:g}"
        if self.most is not None and not value <= self.most:
            return f"{self.most:g} or less"
        return None


def setting(default: Any, help: str, **bounds: float | bool):
    """A field of a settings dataclass: its default, what `--help` says of it, and the numbers it takes, see [`Bounds`]."""
    metadata = {"help": help, "bounds": Bounds(**bounds)}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(schema: type, help: str):
    """A field of a settings dataclass that is a dataclass itself."""
    return dataclasses.field(default_factory=schema, metadata={"help": help})


def check_values(settings: Any, title: str) -> None:
    """Refuse values of another type or beyond their bounds; for `__post_init__` of a section, whose name is `title`.

    Raises:
        InputError: names the setting and what it takes.
    """
    annotations = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        if not dataclasses.is_dataclass(annotations[field.name]):
            name = f"{title}.{field.name}" if title else field.name
            setattr(settings, field.name, _take(annotations[field.name], getattr(settings, field.name), name, field))


def require(condition: bool, message: str) -> None:
    """Refuse settings with an `InputError` where the condition does not hold."""
    if not condition:
        raise InputError(message)


def parse_command_line(
    schema: type[T],
    recipes: str | os.PathLike,
    description: str,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
    common: Sequence[str] = (),
) -> T:
    """Read `--recipe NAME_OR_FILE --section.key value ...` into an instance of `schema`.

    Args:
        schema: dataclass of sections; fields made by [`setting`] and [`section`].
        recipes: folder of the recipes that can be given by name.
        description: first lines of `--help`.
        argv: arguments; those of the process by default.
        prog: what the command is called in `--help`; the name of the script by default.
        common: keys that `--help` shows; the others are shown by `--help SECTION` and `--help all`. () shows all.

    Raises:
        InputError: an unknown recipe, key or section, or a value of the wrong type.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    leaves = list(_leaves(schema))
    chosen = asked_for_help(arguments, [key for key, _, _ in leaves], common)
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [--recipe NAME] [--section.key value ...]",
        description=description,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=list_sections([key for key, _, _ in leaves]) if common else None,
    )
    parser.add_argument("-h", "--help", metavar="SECTION", help="these lines, or what a section holds; --help all: everything")
    names = ", ".join(recipe_names(recipes))
    parser.add_argument("--recipe", metavar="NAME", help=f"a recipe by name ({names}) or a YAML file")
    groups = {"": parser}
    for key, field, annotation in leaves:
        title = key.rpartition(".")[0]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        told = f"{field.metadata['help']} (default: {_default(field)})".replace("%", "%%")
        groups[title].add_argument(
            f"--{key}",
            metavar=_type_name(annotation).replace("%", "%%"),
            default=argparse.SUPPRESS,
            # a switch may stand alone: --training.resume
            **({"nargs": "?", "const": "true"} if annotation is bool else {}),
            help=told if chosen is None or key in chosen else argparse.SUPPRESS,
        )
    if chosen is not None:
        parser.print_help()
        parser.exit()
    given, unknown = parser.parse_known_args(arguments)
    overrides = {key: value for key, value in vars(given).items() if key not in ("recipe", "help")}
    overrides |= _open_overrides(schema, unknown)
    return read_settings(schema, given.recipe, recipes, overrides)


def read_settings(
    schema: type[T], recipe: str | None, recipes: str | os.PathLike, overrides: dict[str, str] | None = None
) -> T:
    """Merge defaults, a recipe with its bases, and overrides (dotted key to text) into an instance of `schema`.

    Raises:
        InputError: as in [`parse_command_line`].
    """
    values: dict[str, Any] = {}
    for file, content in _recipe_chain(recipe, Path(recipes)) if recipe is not None else []:
        _merge(schema, values, {key: value for key, value in content.items() if key != "base"}, str(file))
    types = {key: annotation for key, _, annotation in _leaves(schema)}
    for key, text in (overrides or {}).items():
        # a name is taken as it stands: YAML would read "no" as false
        plain = types.get(key) in (str, str | None) or typing.get_origin(types.get(key)) is typing.Literal
        value = (None if text == "null" else text) if plain else _parse_value(text)
        if typing.get_origin(types.get(key)) is dict:
            values.pop(key, None)
        _merge(schema, values, _nest(key, value), f"--{key} {shown(text, quoted=False)}")
    return _build(schema, values)


def write_settings(settings: Any, file: str | os.PathLike) -> None:
    """Write resolved settings as YAML, readable as a recipe again."""
    write_atomically(file, yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False, allow_unicode=True))


def flatten(settings: Any) -> dict[str, Any]:
    """Settings as one dictionary of dotted keys, to compare two of them."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else key, item)
        else:
            yield prefix, value

    content = settings if isinstance(settings, dict) else dataclasses.asdict(settings)
    return dict(walk("", content))


def recipe_names(recipes: str | os.PathLike) -> list[str]:
    """Names of the recipes in a folder."""
    return sorted(file.stem for file in Path(recipes).glob("*.yaml"))


def _leaves(schema: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field, Any]]:
    annotations = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        annotation = annotations[field.name]
        if dataclasses.is_dataclass(annotation):
            yield from _leaves(annotation, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field, annotation


def _open_overrides(schema: type, arguments: list[str]) -> dict[str, str]:
    """Arguments that argparse does not know: keys inside a free dictionary (`--model.hidden_size 256`), or mistakes."""
    known = [key for key, _, _ in _leaves(schema)]
    free = [key for key, _, annotation in _leaves(schema) if typing.get_origin(annotation) is dict]
    overrides, waiting = {}, list(arguments)
    while waiting:
        key, separator, value = waiting.pop(0).partition("=")
        if not key.startswith("--"):
            raise InputError(f"unexpected argument {key!r}; give settings as --section.key value.")
        key = key[2:]
        if not any(key.startswith(name + ".") for name in free):
            raise InputError(f"unknown setting --{key}" + suggest_key(key, known, "--"))
        if not separator:
            if not waiting:
                raise InputError(f"--{key} needs a value.")
            value = waiting.pop(0)
        overrides[key] = value
    return overrides


def _recipe_chain(recipe: str, recipes: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Files and what they hold, from the outermost base to the recipe itself."""
    file = Path(recipe)
    if file.suffix not in (".yaml", ".yml"):
        file = recipes / f"{recipe}.yaml"
    chain: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if not os.path.isfile(file):  # noqa: PTH113 (Path would raise at a name that is too long)
            raise InputError(
                f"there is no recipe {shown(recipe)} ({shown(str(file), quoted=False)})"
                + suggest(recipe, recipe_names(recipes))
            )
        if any(file.samefile(known) for known, _ in chain):
            raise InputError(f"recipe {file} is its own base.")
        content = read_yaml(file)
        chain.insert(0, (file, content))
        base = content.get("base")
        if base is None:
            return chain
        if not isinstance(base, str):
            raise InputError(f"{file}: base must be the name of a recipe, or a YAML file; got {shown(base)}.")
        name = base if base.endswith((".yaml", ".yml")) else f"{base}.yaml"
        # a recipe of one's own may lie anywhere and begin with one of ours
        beside = file.parent / name
        recipe, file = base, beside if os.path.isfile(beside) else recipes / name  # noqa: PTH113


def _merge(schema: type, values: dict[str, Any], content: dict, source: str, prefix: str = "") -> None:
    """Put what a recipe says, its sections as dictionaries, into `values` by dotted key."""
    annotations = typing.get_type_hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema)}
    for name, value in content.items():
        key = f"{prefix}{name}"
        if name not in fields:
            near = suggest_key(str(name), list(fields))
            raise InputError(f"{source}: Key {shown(name)} not in {schema.__name__!r}{near} ({shown(key, quoted=False)})")
        annotation = annotations[name]
        if dataclasses.is_dataclass(annotation):
            if not isinstance(value, dict):
                raise InputError(f"{source}: {key} is a section of settings and must hold keys; got {shown(value)}.")
            _merge(annotation, values, value, source, f"{key}.")
            continue
        taken = _take(annotation, value, f"{source}: {key}", fields[name], bounded=False)
        _require_plain(taken, f"{source}: {key}")
        values[key] = _overlay(values.get(key, _default(fields[name])), taken) if isinstance(taken, dict) else taken


def _overlay(below: Any, above: Any) -> Any:
    """A dictionary over another, key by key; anything else in place of the other."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: _overlay(below.get(key), value) for key, value in above.items()}}


def _build(schema: type[T], values: dict[str, Any], prefix: str = "") -> T:
    annotations = typing.get_type_hints(schema)
    given = {}
    for field in dataclasses.fields(schema):
        key = prefix + field.name
        if dataclasses.is_dataclass(annotations[field.name]):
            given[field.name] = _build(annotations[field.name], values, f"{key}.")
        else:
            given[field.name] = _take(annotations[field.name], values.get(key, _default(field)), key, field)
    return schema(**given)


def _take(annotation: Any, value: Any, name: str, field: dataclasses.Field, bounded: bool = True) -> Any:
    """A value as the type of its setting, checked."""
    bounds = field.metadata.get("bounds", Bounds())
    if bounds.endless and value == math.inf:
        return value
    fits, taken = checker(annotation)(value)
    if not fits:
        raise InputError(f"{name} must be {_accepted(annotation)}; got {shown(value)}.")
    _require_sane(taken, name)
    for number in (taken if isinstance(taken, list) else [taken]) if bounded else []:
        if isinstance(number, (int, float)) and not isinstance(number, bool) and (refusal := bounds.refusal(number)):
            raise InputError(
                f"{name}={taken} must be {refusal}." if taken is number else f"{name}: {number} must be {refusal}."
            )
    return taken


def _require_sane(value: Any, name: str) -> None:
    """Refuse what no setting is: numbers that are none or that no machine counts to, texts that no file can hold, objects."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{name}: the key {shown(key)} must be a name.")
            _require_sane(key, name)
            _require_sane(item, f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            _require_sane(item, name)
    elif isinstance(value, str):
        if len(value) > MOST_CHARACTERS:
            raise InputError(f"{name} is a text of {len(value)} characters; at most {MOST_CHARACTERS} are taken.")
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
            raise InputError(f"{name}={shown(value)} holds a character that no file can hold.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{name}={value} must be a finite number.")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InputError(f"{name}={shown(value)} is beyond the whole numbers of 64 bits.")
    elif value is not None:
        raise InputError(f"{name} must be a number, a text, a list or keys; got {type(value).__name__}.")


def _require_plain(value: Any, name: str) -> None:
    """Refuse what would have to be looked up, and what must not be written down."""
    if isinstance(value, (dict, list)):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _require_plain(item, name)
    elif isinstance(value, str):
        if "${" in value:
            raise InputError(f"{name} holds {shown(value)}: nothing is filled in for ${{...}}; write the value itself.")
        if hide_secrets(value) != value:
            raise InputError(
                f"{name} holds a token or a password, which would be written into recipe.yaml; leave it out, and log in with"
                " `hf auth login`, or set HF_TOKEN."
            )


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def _parse_value(text: str) -> Any:
    """A value of the command line, as YAML has it; what is no YAML is a text."""
    try:
        return parse_yaml(text, "the value")
    except InputError:
        return text


def _nest(key: str, value: Any) -> dict:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    return getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else str(annotation)


def _accepted(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return f"one of {list(typing.get_args(annotation))}"
    options = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    return " or ".join(
        _WORDS.get(option, "keys and values" if typing.get_origin(option) is dict else str(option)) for option in options
    )


_WORDS = {
    bool: "true or false",
    int: "an Integer",
    float: "a number",
    str: "a text (in quotes where YAML would take it for something else)",
    type(None): "null",
    list[int]: "a list of Integers",
    list[str]: "a list of texts",
}
