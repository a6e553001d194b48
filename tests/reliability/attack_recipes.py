"""Recipes and command lines: damaged bytes and values, absurd overrides, bases that lead nowhere, files that are none."""

import os
from pathlib import Path

import yaml
from fuzzing import HOSTILE, damage_bytes, damage_values

from mert_hf.common.errors import InputError
from mert_hf.common.settings import flatten, parse_command_line, read_settings, write_settings
from mert_hf.comparison.cells import Music, read_cells
from mert_hf.finetuning.settings import FinetuneSettings
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.probing.suite import load_suite

DOCUMENTED = (InputError,)

TRAINING = Path(__file__).parents[2] / "training"
SCHEMAS = ((PretrainSettings, TRAINING / "recipes"), (FinetuneSettings, TRAINING / "recipes" / "finetune"))

# Recipes that are no recipes, whole.
ABSURD = (
    *("base: odd\n", "base: [odd]\n", "base: {a: b}\n", "base: 7\n", 'base: "a\\0b"\n', "base: ..\n", "base: ''\n"),
    *(
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ),
    *(
        "model: &m {x: *m}\n",
        "model: {x: 1, x: 2}\n",
        "model: " + "[" * 2000 + "]" * 2000 + "\n",
        "model: {x: " + "9" * 5000 + "}\n",
    ),
    *(
        "output_dir: ${oc.env:HOME}\n",
        "output_dir: ${model}\n",
        "model: {x: ${}\n",
        "output_dir: '???'\n",
        "data: null\n",
        "7: 8\n",
    ),
    *("model: !!set {a, b}\n", "model: {x: !!binary aGk=}\n", "model: {x: 2020-01-01}\n", "x: !!python/object:os.system {}\n"),
    *(
        "? [1, 2]\n: 3\n",
        "training: {seed: 0x7fffffffffffffffffff}\n",
        "training: {seed: .inf}\n",
        "teacher: {codebook_sizes: [1.5]}\n",
    ),
)


def prepare(folder):
    """Strike at recipes, at single keys, at whole files, at cells and at what lies beside them."""
    recipes = [(schema, place, flatten_recipe(schema, place, folder)) for schema, place in SCHEMAS]

    def strike(rng):
        schema, place, content = recipes[int(rng.integers(2))]
        file, kind = folder / "odd.yaml", int(rng.integers(6))
        if kind == 0:
            file.write_bytes(damage_bytes(rng, yaml.safe_dump(content).encode()))
        elif kind in (1, 2):
            file.write_text(yaml.dump(damage_values(rng, content)), encoding="utf-8")
        elif kind == 3:
            file.write_text(ABSURD[int(rng.integers(len(ABSURD)))], encoding="utf-8")
        elif kind == 4:
            override(rng, schema, place)
        else:
            beside(rng, folder)
        if kind > 3:
            return
        settings = read_settings(schema, str(file), place)
        use(settings, folder)
        if schema is PretrainSettings and rng.random() < 0.3:
            read_cells([str(file)], TRAINING / "cells", folder / "out", 10_000.0, 0, Music(folder))

    return strike


def flatten_recipe(schema, place, folder):
    """The quickstart as one file holds it."""
    file = folder / "whole.yaml"
    write_settings(read_settings(schema, "quickstart", place), file)
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def use(settings, folder):
    """What was taken is a recipe again and the same one; a run can be set up from it."""
    write_settings(settings, folder / "again.yaml")
    assert flatten(read_settings(type(settings), str(folder / "again.yaml"), folder)) == flatten(settings)
    if isinstance(settings, PretrainSettings) and settings.init.model is None and settings.data.labels is None:
        Setup(settings)


def override(rng, schema, place):
    """One to three keys of the command line with anything in them."""
    keys = [
        *flatten(schema()),
        "model.hidden_size",
        "teacher.feature_options.log_mel.bins",
        "multiview.options.head",
        "recipe",
        "x",
    ]
    arguments = []
    for _ in range(int(rng.integers(1, 4))):
        value = HOSTILE[int(rng.integers(len(HOSTILE)))]
        text = value if isinstance(value, str) and rng.random() < 0.5 else yaml.safe_dump(value).strip().removesuffix("...")
        arguments.append(f"--{keys[int(rng.integers(len(keys)))]}={text}")
    settings = parse_command_line(schema, place, "", arguments)
    if isinstance(settings, PretrainSettings) and settings.init.model is None and settings.data.labels is None:
        Setup(settings)


def beside(rng, folder):
    """Names of recipes that are none; pins of a suite and the note of a comparison, damaged."""
    kind = int(rng.integers(3))
    if kind == 0:
        names = ("", ".", "..", "/", "a\0b", "x" * 5000, str(folder), f"{folder}.yaml", "/dev/null", "~", "nowhere/x.yaml")
        (Path(f"{folder}.yaml")).mkdir(exist_ok=True)
        os.makedirs(folder / "quickstart.yaml", exist_ok=True)
        read_settings(PretrainSettings, names[int(rng.integers(len(names)))], folder)
    elif kind == 1:
        pins = folder / "pins.json"
        pins.write_bytes(damage_bytes(rng, b'{"user/name": "0123456789abcdef0123456789abcdef01234567", "b/c": "main"}'))
        load_suite([], None, pins)
    else:
        output = folder / "comparison"
        output.mkdir(exist_ok=True)
        (output / "music.json").write_bytes(damage_bytes(rng, b'{"folder": "/music", "files": "0123456789abcdef"}'))
        (folder / "music").mkdir(exist_ok=True)
        Music(folder / "music").claim(output)
