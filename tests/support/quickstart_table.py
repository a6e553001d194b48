"""The small table of README: the quickstart beside the weights it began with and the best spectrum."""

from collections.abc import Mapping
from typing import Any

from mert_hf.probing.report.results import number

RANDOM = "random weights"


def quickstart_table(results: Mapping[str, Any]) -> str:
    """One line a measure of `evaluation.json`; the better of model and spectrum in bold."""
    lines = [["measure", results["model"], RANDOM, "best spectrum", "which"], ["---"] * 5]
    for row in results["results"]:
        best = row["best_baseline"]
        spectrum = row["baselines"][best]
        own, other = number(row), number(spectrum)
        own, other = (f"**{own}**", other) if row["value"] > spectrum["value"] else (own, f"**{other}**")
        measure = f"{row['title'].removeprefix('Synthetic ')}, {row['metric_title']}"
        lines.append([measure, own, number(row["baselines"][RANDOM]), other, best])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def counts(results: Mapping[str, Any]) -> tuple[int, int, int]:
    """Measures on which the model is above random weights, above the best spectrum, and clearly below random weights."""
    rows = results["results"]
    untrained = [row["baselines"][RANDOM] for row in rows]
    better = sum(row["value"] > other["value"] for row, other in zip(rows, untrained, strict=True))
    ahead = sum(row["value"] > row["baselines"][row["best_baseline"]]["value"] for row in rows)
    worse = sum(row["high"] < other["low"] for row, other in zip(rows, untrained, strict=True))
    return better, ahead, worse
