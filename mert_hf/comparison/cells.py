"""Cells of a comparison: recipes, cut to a budget of audio."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder, digest_json
from mert_hf.common.settings import read_settings, recipe_names, suggest
from mert_hf.objectives import OBJECTIVES
from mert_hf.pretraining.settings import RunSettings, pretrain_settings
from mert_hf.pretraining.setup import Setup

# A file whose name begins so is a base of cells, and none itself.
BASE_MARK = "_"
# lines of metrics, and validations, in a cell's run
REPORTS, VALIDATIONS = 40, 4


@dataclass(frozen=True)
class Cell:
    """One system of a comparison."""

    name: str  # in tables
    settings: RunSettings  # its recipe, cut to the budget

    @property
    def trained(self) -> bool:
        """False for weights as they are drawn."""
        return self.settings.training.max_steps > 0

    def with_seeds(self, seeds: int) -> "list[Cell]":
        """The same cell once a training seed: its own and those that follow it, each in a folder `seed_<n>` of the cell's.

        One seed trains in the cell's folder itself.
        """
        if seeds == 1:
            return [self]
        training, folder = self.settings.training, Path(self.settings.output_dir)
        found = []
        for seed in range(training.seed, training.seed + seeds):
            settings = replace(self.settings, output_dir=str(folder / f"seed_{seed}"), training=replace(training, seed=seed))
            found.append(Cell(self.name, settings))
        return found


@dataclass(frozen=True)
class Music:
    """The corpus of a comparison."""

    folder: str | os.PathLike  # of audio files
    min_track_s: float = 8.0  # shorter tracks are left out of all cells; 8 s hold two crops of the multi-view methods
    held_out: float = 0.05  # share of the tracks that no cell is trained on

    def claim(self, output: str | os.PathLike) -> None:
        """Note in a comparison's folder which music it is made of, or see that it is this.

        Raises:
            InputError: it is other music.
        """
        folder = Path(self.folder)
        sizes = sorted((str(file.relative_to(folder)), file.stat().st_size) for file in folder.rglob("*") if file.is_file())
        found = {"folder": str(folder), "files": digest_json(sizes)}
        changed = claim_folder(Path(output) / "music.json", found)
        if "files" in changed:  # the folder may have moved
            before, _ = changed.get("folder", (folder, folder))
            raise InputError(
                f"the comparison in {output} is made of {before} as it was then; that music, or {folder}, is not"
                " the same. Choose another --output."
            )


def cell_names(folder: str | os.PathLike) -> list[str]:
    """Names of the cells in a folder of recipes."""
    return [name for name in recipe_names(folder) if not name.startswith(BASE_MARK)]


def read_cells(
    names: Sequence[str],
    folder: str | os.PathLike,
    output: str | os.PathLike,
    budget_s: float,
    seed: int,
    music: Music,
    processes: int = 1,
) -> list[Cell]:
    """The cells by name, all on the same tracks, with the same seed and the same budget.

    Args:
        names: of cells in the folder, or YAML files of recipes; empty for all of the folder, untrained ones first.
        output: each cell runs in `output/cells/<name>`.
        budget_s: seconds of audio that each is trained on, by all processes; see `cut_to_budget`.
        music: what all hear, whatever their recipes say of it.
        processes: that train together.

    Raises:
        InputError: an unknown cell, a mistake in one, two of one name, or a budget below one update.
    """
    known = cell_names(folder)
    cells = []
    for name in names or known:
        file = Path(name).expanduser()
        if file.suffix not in (".yaml", ".yml"):
            if name not in known:
                raise InputError(f"there is no cell {name!r}" + suggest(name, known))
            file = Path(folder) / f"{name}.yaml"
        settings = cut_to_budget(read_settings(pretrain_settings(), str(file), folder), budget_s, processes, file.stem)
        own = replace(
            settings,
            output_dir=str(Path(output) / "cells" / file.stem),
            data=replace(settings.data, folder=str(music.folder), dataset=None, streaming=False, min_track_s=music.min_track_s),
            training=replace(settings.training, seed=seed, tracker="none"),
            validation=replace(settings.validation, share=music.held_out, folder=None, labels=None),
        )
        Setup(own)  # a mistake is told before the first cell is trained
        cells.append(Cell(file.stem, own))
    if not names:
        objectives = list(OBJECTIVES)
        cells.sort(key=lambda cell: (cell.trained, objectives.index(cell.settings.objective)))
    titles = [cell.name for cell in cells]
    doubled = sorted({title for title in titles if titles.count(title) > 1})
    if doubled:
        raise InputError(f"cells of one name cannot be told apart: {', '.join(doubled)}; rename a file, or give each once.")
    precisions = sorted({cell.settings.training.mixed_precision for cell in cells})
    if len(precisions) > 1:
        raise InputError(f"cells of one comparison share a precision; training.mixed_precision is {' and '.join(precisions)}.")
    return cells


def cut_to_budget(settings: RunSettings, budget_s: float, processes: int = 1, name: str = "") -> RunSettings:
    """The same recipe with as many updates as the budget gives.

    All that is counted in updates keeps its share of the run: the warm-up, and what the objective says of itself. A recipe of
    no updates stays one.

    Args:
        budget_s: seconds of audio, all crops and processes counted.
        processes: that train together.

    Raises:
        InputError: the budget is less than half an update.
    """
    training = settings.training
    if training.max_steps == 0:
        return settings
    update_s = settings.update_audio_s(processes)
    steps = round(budget_s / update_s)
    if steps < 1:
        raise InputError(f"a budget of {budget_s:g} s is less than an update of {name}, which hears {update_s:g} s.")
    share, probe = steps / training.max_steps, settings.online_probe
    counted = OBJECTIVES[settings.objective].counted_in_updates(settings)
    settings = _with_values(settings, {name: round(share * updates) for name, updates in counted.items()})
    return replace(
        settings,
        training=replace(
            training,
            max_steps=steps,
            warmup_steps=round(share * training.warmup_steps),
            log_every=max(1, steps // REPORTS),
            checkpoint_every=max(1, steps // VALIDATIONS),
            keep_checkpoints=1,
        ),
        validation=replace(settings.validation, every=max(1, steps // VALIDATIONS)),
        online_probe=replace(probe, every=max(1, round(share * probe.every)) if probe.every else 0),
    )


def _with_values(settings: Any, values: dict[str, Any]) -> Any:
    """The same settings with other values, by dotted key; keys of free dictionaries as well."""
    changed: dict[str, Any] = {}
    for key, value in values.items():
        name, _, rest = key.partition(".")
        below = changed.get(name, settings.get(name) if isinstance(settings, dict) else getattr(settings, name))
        changed[name] = _with_values(below, {rest: value}) if rest else value
    return {**settings, **changed} if isinstance(settings, dict) else replace(settings, **changed)
