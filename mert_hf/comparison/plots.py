"""The pictures of a comparison, and of a speedrun."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mert_hf.common.figures import DOTS_PER_INCH, new_figure
from mert_hf.comparison.claims import CONFIRMED, CONTRARY, LOSS
from mert_hf.probing.report.results import SPECTRA

COLUMNS = 5


def plot_comparison(results: Mapping[str, Any], title: str, picture: str | os.PathLike) -> None:
    """Draw a panel for every measure: a point with its 95 % interval for every cell, lines where baselines stand.

    Of the spectra, the line is that which is best on the validation split; rules of textbooks and guesses have their own.

    Args:
        results: as `compile_results` makes them.
    """
    cells, columns = results["cells"], results["columns"]
    width, height = min(len(columns), COLUMNS), -(-len(columns) // COLUMNS)
    size = (2.0 + 2.6 * width, height * (1.2 + 0.2 * len(cells)) + 0.9)
    figure, panels = new_figure(title, height, width, size, sharey=True)
    for panel in panels[len(columns) :]:
        panel.set_visible(False)
    styles = ("--", ":", "-.", (0, (6, 2)))
    lines, handles = _baseline_lines(results), {}
    for panel, (column, label) in zip(panels, columns.items(), strict=False):
        for place, cell in enumerate(cells):
            value = cell["values"].get(column)
            if value is None:
                continue
            colour = "C0" if cell["steps"] else "0.4"  # grey: not trained
            # drawn apart: of a few test examples, an interval need not hold its point
            panel.plot([value["low"], value["high"]], [place, place], "-|", color=colour, markersize=6, linewidth=1.2)
            panel.plot(value["value"], place, "o", color=colour, markersize=4)
        for number, (name, values) in enumerate(lines.items()):
            if column in values:
                line = panel.axvline(values[column], color=f"C{number + 1}", linestyle=styles[number % 4], linewidth=1.2)
                handles.setdefault(name, line)
        panel.set_title(label.replace(", ", "\n"), fontsize="medium")
        panel.set_yticks(range(len(cells)), [cell["name"] for cell in cells], fontsize="small")
        panel.set_ylim(len(cells) - 0.5, -0.5)
        panel.grid(axis="x", alpha=0.3)
        for place in range(0, len(cells), 2):
            panel.axhspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles) or 1, fontsize="small")
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def _baseline_lines(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Values by column of the baselines that are drawn: the best spectrum of every column as one, and those without a probe."""
    best, values = results["best_baselines"], {one["name"]: one["values"] for one in results["baselines"]}
    chosen = {column: values[name][column]["value"] for column, name in best.items() if name is not None}
    lines = {"best spectrum (by validation)": chosen} if chosen else {}
    for name, found in values.items():
        if name not in SPECTRA:
            lines[name] = {column: one["value"] for column, one in found.items()}
    return lines


def plot_differences(results: Mapping[str, Any], title: str, picture: str | os.PathLike) -> None:
    """Draw what training changed: for every cell and measure the difference from random weights of the same encoder.

    Cells are ranked by the mean of their differences. A difference is bold where its interval excludes 0, else in brackets.

    Args:
        results: as `compile_results` makes them; a cell that failed, or has no untrained one beside it, is left out; what
            an encoder lacks is white.
    """
    rows = []
    for cell in results["cells"]:
        if cell.get("differences"):
            found = [cell["differences"].get(column) for column in results["columns"]]
            rows.append((cell["name"], [one["value"] if one else np.nan for one in found], found))
    rows.sort(key=lambda row: -np.nanmean(row[1]))
    size = (2.2 + 0.72 * len(results["columns"]), 1.9 + 0.27 * max(len(rows), 1))
    figure, (panel,) = new_figure(title, 1, 1, size)
    most = max((abs(value) for _, values, _ in rows for value in values if not np.isnan(value)), default=1.0)
    image = panel.imshow([values for _, values, _ in rows] or [[0.0]], cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    panel.set_yticks(range(len(rows)), [f"{place}. {name}" for place, (name, _, _) in enumerate(rows, start=1)])
    shorter = {
        " (%)": "",
        ", ": "\n",
        "mean average precision": "mAP",
        "refined accuracy": "refined\naccuracy",
        "beat F1": "F1",
    }
    labels = list(results["columns"].values())
    for long, short in shorter.items():
        labels = [label.replace(long, short) for label in labels]
    panel.set_xticks(range(len(labels)), labels, fontsize="small")
    panel.xaxis.tick_top()
    for row, (_, values, found) in enumerate(rows):
        for column, (value, one) in enumerate(zip(values, found, strict=True)):
            if np.isnan(value):  # the encoder has no frames for it
                continue
            apart = one["low"] > 0 or one["high"] < 0
            text = f"{value:+.0f}" if apart else f"({value:+.0f})"
            style = dict(weight="bold") if apart else {}
            colour = "white" if abs(value) > 0.6 * most else "black" if apart else "0.35"
            panel.text(column, row, text, ha="center", va="center", color=colour, fontsize="small", **style)
    figure.colorbar(image, label="better than random weights, in points", shrink=0.8)
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def plot_claims(judged: Sequence[Mapping[str, Any]], title: str, picture: str | os.PathLike) -> None:
    """Draw a line for every pair of cells that a claim compares: the difference, every training's, and the 95 % interval.

    To the right of 0 lies what the paper says. Differences of losses have a panel of their own. Pairs that were not judged, or
    of which a training failed, are left out: the table tells of them.

    Args:
        judged: by `judge_claims`.
    """
    told = [one for one in judged if "value" in one]
    groups = [[one for one in told if (one["measures"] == [LOSS]) is of_loss] for of_loss in (False, True)]
    shown = [(label, group) for label, group in zip(("points", "less loss at the end"), groups, strict=True) if group]
    heights = [len(group) for _, group in shown] or [1]
    size = (9.5, 1.3 + 0.42 * sum(heights) + 0.5 * len(heights))
    figure, panels = new_figure(title, len(heights), 1, size, height_ratios=heights)
    for panel, (label, group) in zip(panels, shown, strict=False):
        panel.axvline(0.0, color="0.5", linewidth=1)
        for place, one in enumerate(group):
            colour = {CONFIRMED: "C0", CONTRARY: "C3"}.get(one["answer"], "0.4")
            panel.plot(one["seeds"], [place] * len(one["seeds"]), "|", color=colour, markersize=7, alpha=0.6)
            if one["low"] is not None:
                panel.plot([one["low"], one["high"]], [place, place], "-", color=colour, linewidth=1.6)
            panel.plot(one["value"], place, "o", color=colour, markersize=6)
            panel.text(1.02, place, one["answer"], color=colour, va="center", transform=panel.get_yaxis_transform())
        names = [f"{one['says']}\n({one['better']} beside {one['worse']})" for one in group]
        panel.set_yticks(range(len(group)), names, fontsize="small")
        panel.set_ylim(len(group) - 0.5, -0.5)
        panel.set_xlabel(label)
        panel.grid(axis="x", alpha=0.3)
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def plot_speedrun(results: Mapping[str, Any], picture: str | os.PathLike) -> None:
    """Draw a panel for every measure: its value over the seconds of training, and lines for what is to be beaten and the start.

    Points are filled where they lie above what is to be beaten; the shade is the 95 % interval over test examples.

    Args:
        results: as `compile_speedrun` makes them.
    """
    judged, columns = results["judgements"], results["columns"]
    last, width, height = judged[-1], min(len(columns), COLUMNS), -(-len(columns) // COLUMNS)
    title = (
        f"{results['recipe']}: {len(last['beaten'])} of {len(columns)} measures beaten after {last['training_s']:.0f} s of"
        f" training ({results['processors']})"
    )
    figure, panels = new_figure(title, height, width, (0.6 + 2.5 * max(width, 3), 1.0 + 2.3 * height))
    handles: dict[str, Any] = {}
    for panel in panels[len(columns) :]:
        panel.set_visible(False)
    for panel, (column, label) in zip(panels, columns.items(), strict=False):
        points = [
            (one["training_s"], one["values"][column], column in one["beaten"]) for one in judged if column in one["values"]
        ]
        bar = results["to_beat"][column]
        line = panel.axhline(bar["value"], color="C1", linestyle="--", linewidth=1.2)
        handles.setdefault("best simple baseline", line)
        if points:
            times, values = [time for time, _, _ in points], [value["value"] for _, value, _ in points]
            start = panel.axhline(values[0], color="0.4", linestyle=":", linewidth=1.2)
            handles.setdefault("weights it began with", start)
            ends = ([value[end] for _, value, _ in points] for end in ("low", "high"))
            panel.fill_between(times, *ends, color="C0", alpha=0.15, linewidth=0)
            curve = panel.plot(times, values, "-", color="C0", linewidth=1.4)[0]
            handles.setdefault("trained so long", curve)
            for time, value, above in points:
                panel.plot(time, value["value"], "o", color="C0", markersize=4.5, markerfacecolor="C0" if above else "white")
        panel.set_title(label.replace(", ", "\n") + f"\nto beat: {bar['name']}", fontsize="small")
        panel.tick_params(labelsize="small")
        panel.set_xlabel("s of training", fontsize="small")
        panel.grid(alpha=0.3)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles) or 1, fontsize="small")
    figure.savefig(picture, dpi=DOTS_PER_INCH)
