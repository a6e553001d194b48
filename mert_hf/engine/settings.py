"""Settings of a script: a dataclass, filled from a recipe (YAML) and then from the command line, every key checked.

A recipe holds only what differs from its `base` (a recipe beside it, or by name), or from the defaults of the dataclass. On the
command line any key is `--section.key value`; an unknown key, wherever it stands, is an error that names near ones. Of free
dictionaries, such as `model`, recipes and `--model.key value` set single keys; `--model "{key: value}"` replaces the whole.
"""

import argparse
import dataclasses
import difflib
import os
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mert_hf.errors import InputError
from mert_hf.files import write_atomically

T = TypeVar("T")


def setting(default: Any, help: str):
    """A field of a settings dataclass: its default and what `--help` says of it."""
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})


def section(schema: type, help: str):
    """A field of a settings dataclass that is a dataclass itself."""
    return dataclasses.field(default_factory=schema, metadata={"help": help})


def require(condition: bool, message: str) -> None:
    """Refuse settings.

    Raises:
        InputError: the condition does not hold.
    """
    if not condition:
        raise InputError(message)


def parse_command_line(schema: type[T], recipes: str | os.PathLike, description: str, argv: Sequence[str] | None = None) -> T:
    """Read `--recipe NAME_OR_FILE --section.key value ...` into an instance of `schema`.

    Args:
        schema: dataclass of sections; fields made by [`setting`] and [`section`].
        recipes: folder of the recipes that can be given by name.
        description: first lines of `--help`.
        argv: arguments; those of the process by default.

    Raises:
        InputError: an unknown recipe or key, or a value of the wrong type.
    """
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--recipe NAME] [--section.key value ...]",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(recipe_names(recipes))
    parser.add_argument("--recipe", metavar="NAME", help=f"a recipe by name ({names}) or a YAML file")
    groups = {"": parser}
    for key, field, annotation in _leaves(schema):
        title = key.rpartition(".")[0]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        groups[title].add_argument(
            f"--{key}",
            metavar=_type_name(annotation).replace("%", "%%"),
            default=argparse.SUPPRESS,
            # a switch may stand alone: --training.resume
            **({"nargs": "?", "const": "true"} if annotation is bool else {}),
            help=f"{field.metadata['help']} (default: {default})".replace("%", "%%"),
        )
    given, unknown = parser.parse_known_args(argv)
    overrides = {key: value for key, value in vars(given).items() if key != "recipe"}
    overrides |= _open_overrides(schema, unknown)
    return read_settings(schema, given.recipe, recipes, overrides)


def read_settings(
    schema: type[T], recipe: str | None, recipes: str | os.PathLike, overrides: dict[str, str] | None = None
) -> T:
    """Merge defaults, a recipe with its bases, and overrides (dotted key to text) into an instance of `schema`.

    Raises:
        InputError: as in [`parse_command_line`].
    """
    config = OmegaConf.structured(schema)
    for file in _recipe_chain(recipe, Path(recipes)) if recipe else []:
        config = _merge(config, {key: value for key, value in _read_yaml(file).items() if key != "base"}, str(file))
    types = {key: annotation for key, _, annotation in _leaves(schema)}
    for key, text in (overrides or {}).items():
        # a name is taken as it stands: YAML would read "no" as false
        plain = types.get(key) in (str, str | None) or typing.get_origin(types.get(key)) is typing.Literal
        value = (None if text == "null" else text) if plain else _parse_value(text)
        if typing.get_origin(types.get(key)) is dict:
            OmegaConf.update(config, key, {}, merge=False)
        config = _merge(config, _nest(key, value), f"--{key} {text}")
    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise InputError(_first_line(error)) from None


def write_settings(settings: Any, file: str | os.PathLike) -> None:
    """Write resolved settings as YAML, readable as a recipe again."""
    write_atomically(file, OmegaConf.to_yaml(OmegaConf.structured(settings)))


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


def suggest(name: str, known: Sequence[str]) -> str:
    """'; did you mean X?' where a known name is near, or the known names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}."


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
            raise InputError(f"unknown setting --{key}" + suggest(key, known))
        if not separator:
            if not waiting:
                raise InputError(f"--{key} needs a value.")
            value = waiting.pop(0)
        overrides[key] = value
    return overrides


def _recipe_chain(recipe: str, recipes: Path) -> list[Path]:
    """Files from the outermost base to the recipe itself."""
    file = Path(recipe)
    if file.suffix not in (".yaml", ".yml"):
        file = recipes / f"{recipe}.yaml"
    chain: list[Path] = []
    while True:
        if not file.is_file():
            raise InputError(f"there is no recipe {recipe!r} ({file})" + suggest(recipe, recipe_names(recipes)))
        if file in chain:
            raise InputError(f"recipe {file} is its own base.")
        chain.insert(0, file)
        base = _read_yaml(file).get("base")
        if base is None:
            return chain
        name = base if base.endswith((".yaml", ".yml")) else f"{base}.yaml"
        # a recipe of one's own may lie anywhere and begin with one of ours
        recipe, file = base, next((place for place in (file.parent / name, recipes / name) if place.is_file()), recipes / name)


def _read_yaml(file: Path) -> dict:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold sections and keys; it holds {type(content).__name__}.")
    return content


def _merge(config, content: dict, source: str):
    try:
        return OmegaConf.merge(config, content)
    except OmegaConfBaseException as error:
        key = f" ({error.full_key})" if error.full_key else ""
        raise InputError(f"{source}: {_first_line(error)}{key}") from None


def _parse_value(text: str) -> Any:
    try:
        return OmegaConf.create(f"value: {text}").value
    except (yaml.YAMLError, OmegaConfBaseException):
        return text


def _nest(key: str, value: Any) -> dict:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    return getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else str(annotation)
