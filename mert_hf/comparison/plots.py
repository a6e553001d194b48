"""The picture of a comparison."""

import os
from collections.abc import Mapping
from typing import Any

from mert_hf.common.figures import DOTS_PER_INCH, new_figure

COLUMNS = 5


def plot_comparison(results: Mapping[str, Any], title: str, picture: str | os.PathLike) -> None:
    """Draw a panel for every measure: a point with its 95 % interval for every cell, lines where the baselines stand.

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
    handles: dict[str, Any] = {}
    for panel, (column, label) in zip(panels, columns.items(), strict=False):
        for place, cell in enumerate(cells):
            value = cell["values"].get(column)
            if value is None:
                continue
            colour = "C0" if cell["steps"] else "0.4"  # grey: not trained
            # drawn apart: of a few test examples, an interval need not hold its point
            panel.plot([value["low"], value["high"]], [place, place], "-|", color=colour, markersize=6, linewidth=1.2)
            panel.plot(value["value"], place, "o", color=colour, markersize=4)
        for number, baseline in enumerate(results["baselines"]):
            if column in baseline["values"]:
                line = panel.axvline(
                    baseline["values"][column]["value"], color=f"C{number + 1}", linestyle=styles[number % 4], linewidth=1.2
                )
                handles.setdefault(baseline["name"], line)
        panel.set_title(label.replace(", ", "\n"), fontsize="medium")
        panel.set_yticks(range(len(cells)), [cell["name"] for cell in cells], fontsize="small")
        panel.set_ylim(len(cells) - 0.5, -0.5)
        panel.grid(axis="x", alpha=0.3)
        for place in range(0, len(cells), 2):
            panel.axhspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles) or 1, fontsize="small")
    figure.savefig(picture, dpi=DOTS_PER_INCH)
