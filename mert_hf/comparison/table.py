"""What a comparison came to: `results.json`, from which the table and the plot are made."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mert_hf.common.settings import flatten
from mert_hf.comparison.cells import Cell
from mert_hf.pretraining.settings import pretrain_settings
from mert_hf.probing.report.results import number, versions

# settings that name places of the machine
NOT_TOLD = ("output_dir", "data.folder")


def describe_cell(cell: Cell, trained: Mapping[str, Any], judged: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of `results.json`; of its settings, those that differ from the defaults.

    Args:
        trained: `results.json` of its run.
        judged: by `evaluate_cell`.
    """
    defaults = flatten(pretrain_settings()())
    kept = ("objective", "teacher", "parameters", "steps", "skipped_steps", "loss_start", "loss_end", "training_s", "device")
    return {
        "name": cell.name,
        "audio_s": 3600 * trained["audio_hours"],
        **{name: trained[name] for name in kept},
        "validation": trained["validation"],
        "judged_s": judged["judged_s"],
        "values": {_column(row): _value(row) for row in judged["rows"]},
        "settings": {
            name: str(value) if value in (math.inf, -math.inf) else value  # JSON has no infinity
            for name, value in flatten(cell.settings).items()
            if name not in NOT_TOLD and defaults.get(name, ...) != value
        },
    }


def describe_failure(cell: Cell, reason: str) -> dict[str, Any]:
    """A cell of `results.json` whose training could not be finished."""
    return {"name": cell.name, "failed": reason, "values": {}}


def compile_results(
    cells: Sequence[Mapping[str, Any]],
    baselines: Mapping[str, Sequence[Mapping[str, Any]]],
    circumstances: Mapping[str, Any],
) -> dict[str, Any]:
    """`results.json`.

    Args:
        cells: by `describe_cell` or `describe_failure`.
        baselines: rows by title, by `SuiteEvaluator.evaluate`.
        circumstances: budget, corpus and whatever all cells share.
    """
    rows = [row for several in baselines.values() for row in several]
    columns = {
        _column(row): f"{row['title'].removeprefix('Synthetic ')}, {row['metric_title']} ({row['unit']})" for row in rows
    }
    return {
        **circumstances,
        "columns": columns,
        "cells": list(cells),
        "baselines": [
            {"name": title, "values": {_column(row): _value(row) for row in several}} for title, several in baselines.items()
        ],
        "versions": versions(),
    }


def markdown_table(results: Mapping[str, Any]) -> str:
    """What was done in a sentence; one line a cell, then one a baseline, values with 95 % intervals."""
    head = ["system", "updates", *results["columns"].values()]
    lines = [head, ["---"] * len(head)]
    for cell in results["cells"]:
        how = "failed" if "failed" in cell else str(cell["steps"])
        lines.append([cell["name"], how, *_cells(cell, results["columns"])])
    for baseline in results["baselines"]:
        lines.append([f"*{baseline['name']}*", "", *_cells(baseline, results["columns"])])
    return caption(results) + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def caption(results: Mapping[str, Any]) -> str:
    """What was compared, and what the intervals hold."""
    return (
        f"Each cell: {results['budget_s']:g} s of audio ({results['music']}), one training (seed {results['seed']}), probes of"
        f" {results['probe_seeds']} seed(s). Intervals of 95 % are over the test examples alone; another seed of the training"
        " would move the values too."
    )


def _cells(system: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    return [number(system["values"][column]) if column in system["values"] else "" for column in columns]


def _column(row: Mapping[str, Any]) -> str:
    return f"{row['task']}/{row['metric']}"


def _value(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("value", "low", "high", "std", "seeds", "layer")}
