"""What a comparison came to: `results.json`, from which the table and the plot are made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mert_hf.common.settings import flatten
from mert_hf.comparison.cells import Cell
from mert_hf.pretraining.settings import pretrain_settings
from mert_hf.probing.report.intervals import interval_over_seeds, percentiles
from mert_hf.probing.report.results import best_baseline, number, versions

# settings that name places of the machine
NOT_TOLD = ("output_dir", "data.folder")
# of a run's results
KEPT = ("objective", "teacher", "parameters", "steps", "skipped_steps", "loss_start", "loss_end", "training_s", "device")
OF_EVERY_RUN = ("skipped_steps", "loss_start", "loss_end", "training_s", "device")

Rows = Sequence[Mapping[str, Any]]
"""Rows of one system by `SuiteEvaluator.evaluate`."""


@dataclass(frozen=True)
class Measured:
    """A cell of `results.json`, and what its differences from others are made of."""

    described: Mapping[str, Any]
    rows: Sequence[Rows] = ()  # of every training


def describe_cell(
    cell: Cell, trained: Sequence[Mapping[str, Any]], judged: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> Measured:
    """A cell of `results.json`; of its settings, those that differ from the defaults.

    Losses and times are those of the first training; where there are several, `runs` has those of all.

    Args:
        trained: `results.json` of its runs, one a training seed.
        judged: of each, by `evaluate_cell`.
        seeds: of the trainings.
    """
    defaults = flatten(pretrain_settings()())
    first, rows = trained[0], [one["rows"] for one in judged]
    runs = [
        {
            "seed": seed,
            **{name: run[name] for name in OF_EVERY_RUN},
            "validation": run["validation"],
            "judged_s": one["judged_s"],
        }
        for seed, run, one in zip(seeds, trained, judged, strict=True)
    ]
    described = {
        "name": cell.name,
        "audio_s": 3600 * first["audio_hours"],
        **{name: first[name] for name in KEPT},
        "validation": first["validation"],
        "judged_s": judged[0]["judged_s"],
        "values": {column: _mean_value(several) for column, several in rows_by_column(rows).items()},
        "settings": {
            name: str(value) if value in (math.inf, -math.inf) else value  # JSON has no infinity
            for name, value in flatten(cell.settings).items()
            if name not in NOT_TOLD and defaults.get(name, ...) != value
        },
    }
    return Measured(described | ({"runs": runs} if len(runs) > 1 else {}), rows)


def describe_failure(cell: Cell, reason: str) -> Measured:
    """A cell of `results.json` whose training could not be finished."""
    return Measured({"name": cell.name, "failed": reason, "values": {}})


def compile_results(
    cells: Sequence[Measured], baselines: Mapping[str, Rows], circumstances: Mapping[str, Any]
) -> dict[str, Any]:
    """`results.json`. A trained cell with an untrained one of the same encoder beside it tells its `differences` from that.

    Args:
        cells: by `describe_cell` or `describe_failure`.
        baselines: rows by title, by `SuiteEvaluator.evaluate`.
        circumstances: budget, corpus and whatever all cells share.
    """
    rows = [row for several in baselines.values() for row in several]
    columns = {
        _column(row): f"{row['title'].removeprefix('Synthetic ')}, {row['metric_title']} ({row['unit']})" for row in rows
    }
    untrained = {encoder_of(cell.described): cell for cell in cells if cell.described.get("steps") == 0}
    described = []
    for cell in cells:
        start = untrained.get(encoder_of(cell.described)) if cell.described.get("steps") else None
        told = {} if start is None else {"compared_with": start.described["name"], "differences": _differences(cell, start)}
        described.append({**cell.described, **told})
    return {
        **circumstances,
        "columns": columns,
        "cells": described,
        "baselines": [
            {"name": title, "values": {_column(row): _mean_value([row]) for row in several}}
            for title, several in baselines.items()
        ],
        "best_baselines": _best_baselines(baselines, columns),
        "versions": versions(),
    }


def encoder_of(cell: Mapping[str, Any]) -> str | None:
    """What kind of encoder a cell has: objectives of two views have Deezer's ResNet unless they name another."""
    if "failed" in cell:
        return None
    settings = cell["settings"]
    if cell["objective"] == "masked_prediction":
        return settings.get("prediction.encoder", "mert")
    return settings.get("multiview.encoder", "mert" if cell["objective"] == "data2vec" else "resnet")


def markdown_table(results: Mapping[str, Any]) -> str:
    """What was done in a sentence; one line a cell, then one a baseline, values with 95 % intervals.

    Bold is the spectrum that is best on the validation split, of every measure.
    """
    head = ["system", "updates", *results["columns"].values()]
    lines = [head, ["---"] * len(head)]
    for cell in results["cells"]:
        how = "failed" if "failed" in cell else str(cell["steps"])
        lines.append([cell["name"], how, *_cells(cell, results["columns"])])
    best = results.get("best_baselines", {})  # older results name none
    for baseline in results["baselines"]:
        name, shown = baseline["name"], _cells(baseline, results["columns"])
        marked = [
            f"**{text}**" if best.get(column) == name else text for column, text in zip(results["columns"], shown, strict=True)
        ]
        lines.append([f"*{name}*", "", *marked])
    return caption(results) + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def caption(results: Mapping[str, Any]) -> str:
    """What was compared, and what the intervals hold."""
    seeds = results.get("training_seeds", 1)
    start = f"Each cell: {results['budget_s']:g} s of audio ({results['music']}), "
    kind = f"{results['probe']} probes" if results.get("probe") else "probes"
    probes = f"{kind} of {results['probe_seeds']} seed(s)."
    if seeds == 1:
        told = (
            f"{start}one training (seed {results['seed']}), {probes} Intervals of 95 % are over the test examples alone;"
            " another seed of the training would move the values too."
        )
    else:
        numbers = ", ".join(str(results["seed"] + place) for place in range(seeds))
        told = (
            f"{start}{seeds} trainings (seeds {numbers}), {probes} Values are means over the trainings, intervals of 95 % over"
            " trainings and test examples; those of baselines over test examples."
        )
    best = " In bold the spectrum that is best on the validation split." if results.get("best_baselines") else ""
    return told + best


def _differences(cell: Measured, start: Measured) -> dict[str, dict[str, float]]:
    """Of every column that both have, the difference and its interval.

    Seeds are paired, since a cell begins with the untrained one's weights of the same seed; so are test examples.
    """
    ours, theirs = rows_by_column(cell.rows), rows_by_column(start.rows)
    found = {}
    for column in ours.keys() & theirs.keys():
        values = values_of_seeds(ours[column]) - values_of_seeds(theirs[column])
        draws = mean_draws(ours[column]) - mean_draws(theirs[column])
        low, high = interval_of(values, draws, ours[column][0]["groups"])
        found[column] = {"value": float(values.mean()), "low": low, "high": high}
    return {column: found[column] for column in ours if column in found}


def _mean_value(rows: Rows) -> dict[str, Any]:
    """A value of `results.json` from the rows of one column, one a training."""
    value = {name: rows[0][name] for name in ("value", "low", "high", "std", "seeds", "layer")}
    if len(rows) == 1:
        return value
    values = values_of_seeds(rows)
    low, high = interval_of(values, mean_draws(rows), rows[0]["groups"])
    spread = {"std": float(values.std(ddof=1)), "seeds": values.tolist(), "layers": [row["layer"] for row in rows]}
    return {**value, "value": float(values.mean()), "low": low, "high": high, **spread}


def interval_of(values: NDArray, draws: NDArray, examples: int) -> tuple[float, float]:
    """95 % interval of the mean over trainings (see `interval_over_seeds`); of a single one, over test examples alone."""
    return percentiles(draws) if len(values) == 1 else interval_over_seeds(values, draws, examples)


def values_of_seeds(rows: Rows) -> NDArray[np.float64]:
    """(trainings,) values of the rows of one column."""
    return np.array([row["value"] for row in rows])


def mean_draws(rows: Rows) -> NDArray[np.float64]:
    """(draws,) means over the trainings on each draw of test examples."""
    return np.mean([row["draws"] for row in rows], axis=0)


def rows_by_column(rows: Sequence[Rows]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of all trainings by column."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for several in rows:
        for row in several:
            found.setdefault(_column(row), []).append(row)
    return found


def _best_baselines(baselines: Mapping[str, Rows], columns: Mapping[str, str]) -> dict[str, str | None]:
    found = {}
    for column in columns:
        judged = {
            title: {"validation": row["validation"]}
            for title, rows in baselines.items()
            for row in rows
            if _column(row) == column and row.get("validation") is not None
        }
        found[column] = best_baseline(judged)
    return found


def _cells(system: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    return [number(system["values"][column]) if column in system["values"] else "" for column in columns]


def _column(row: Mapping[str, Any]) -> str:
    return f"{row['task']}/{row['metric']}"
