"""What there is to choose from: `list`."""

import argparse
import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import starmap
from pathlib import Path

from mert_hf.commands.base import Command

Rows = Iterable[Sequence[str]]


def _models() -> tuple[Sequence[str], Rows]:
    from transformers import AutoConfig

    from mert_hf.architectures import architecture_of
    from mert_hf.common.places import CARDS
    from mert_hf.common.reading import read_yaml
    from mert_hf.encoding.layer_guide import LAYER_GUIDES
    from mert_hf.encoding.licences import weights_licence
    from mert_hf.encoding.loading import loading
    from mert_hf.encoding.released import released_models
    from mert_hf.models.configuration_mert import MERTConfig
    from mert_hf.models.configuration_mert2 import MERT2Config

    sizes = {
        "m-a-p/MERT-v1-95M": (MERTConfig.mert_95m(), "MERTConfig.mert_95m()"),
        "m-a-p/MERT-v1-330M": (MERTConfig.mert_330m(), "MERTConfig.mert_330m()"),
        "m-a-p/MERT-v2-30s": (MERT2Config.mert2_30s(), "MERT2Config.mert2_30s()"),
        "m-a-p/MERT-v2-FullSong": (MERT2Config.mert2_full_song(), "MERT2Config.mert2_full_song()"),
    }
    licences = {}
    for file in sorted(CARDS.glob("*/facts.yaml")):
        facts = read_yaml(file)
        licences[facts.get("base_model")] = facts.get("license")

    def numbers(config) -> Iterable[str]:
        rate = architecture_of(config).sampling_rate(config)
        hop, layers = (getattr(config, name, None) for name in ("hop_samples", "num_hidden_layers"))
        return (str(rate), f"{rate / hop:g}" if hop else "-", str(layers or "-"), str(config.hidden_size))

    def released(name: str, folder: Path) -> Sequence[str]:
        size = f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB, here"
        with loading(name, folder) as place:
            config = AutoConfig.from_pretrained(place)
        return (name, weights_licence(folder) or "-", *numbers(config), size, "-")

    def published(name: str) -> Sequence[str]:
        config, made_by = sizes[name]
        guide = ", ".join(f"{one.task} {one.layer}" for one in LAYER_GUIDES[name]) or "-"
        return (name, licences[name], *numbers(config), made_by, guide)

    titles = ("model", "licence", "Hz", "frames/s", "layers", "hidden", "sizes", "layer by task, as its authors read them")
    return titles, [*starmap(released, released_models().items()), *map(published, LAYER_GUIDES)]


def _objectives() -> tuple[Sequence[str], Rows]:
    from mert_hf.objectives import OBJECTIVES

    return ("objective", "what it does"), ((name, _in_a_line(objective)) for name, objective in OBJECTIVES.items())


def _teachers() -> tuple[Sequence[str], Rows]:
    from mert_hf.teachers import CODE_TEACHERS, CQTTeacher

    named = {**CODE_TEACHERS, "cqt": CQTTeacher}
    settings = {name: "teacher.kind" for name in CODE_TEACHERS} | {"cqt": "cqt.enabled"}
    rows = ((name, settings[name], _sentence(inspect.getdoc(teacher))) for name, teacher in named.items())
    return ("teacher", "setting", "what it gives"), rows


def _tasks() -> tuple[Sequence[str], Rows]:
    from mert_hf.tasks import SUITES, TASKS

    suite_of = {name: suite for suite, names in SUITES.items() for name in names}
    rows = ((task.name, suite_of[task.name], task.dataset, task.kind, task.monitor) for task in TASKS.values())
    return ("task", "suite", "dataset", "kind", "measure"), rows


def _recipes() -> tuple[Sequence[str], Rows]:
    from mert_hf.common.places import FINETUNE_RECIPES, RECIPES
    from mert_hf.common.reading import read_text
    from mert_hf.common.settings import recipe_names

    def first_sentence(file) -> str:
        lines = read_text(file).splitlines()
        comment = lines[: next(number for number, line in enumerate([*lines, ""]) if not line.startswith("#"))]
        return _sentence(" ".join(line.lstrip("# ") for line in comment))

    rows = (
        (name, command, first_sentence(folder / f"{name}.yaml"))
        for command, folder in (("pretrain", RECIPES), ("finetune", FINETUNE_RECIPES))
        for name in recipe_names(folder)
    )
    return ("recipe", "of", "what it trains"), rows


KINDS: dict[str, Callable[[], tuple[Sequence[str], Rows]]] = {
    "models": _models,
    "objectives": _objectives,
    "teachers": _teachers,
    "tasks": _tasks,
    "recipes": _recipes,
}


def _in_a_line(kind: type) -> str:
    """What the file of a class says in its first sentence, since that of the class is of how it is built."""
    return _sentence(inspect.getdoc(inspect.getmodule(kind)))


def _sentence(text: str | None) -> str:
    """The first sentence, up to a full stop or an empty line."""
    paragraph = " ".join((text or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].removesuffix(".")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS, help="what to list")


def _list(arguments: argparse.Namespace) -> None:
    titles, rows = KINDS[arguments.kind]()
    table = [tuple(titles), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


LIST = Command("list", "models, objectives, teachers, tasks or recipes, one a line", _arguments, _list)
