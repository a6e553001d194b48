"""Pictures of numbers. They are drawn without pyplot: no display, no global state."""

import os
from typing import Any

import numpy as np

from mert_hf.common.packages import require_packages

PathLike = str | os.PathLike
DOTS_PER_INCH = 110
# Numbers of a report that say how far a run is, not how it goes.
PROGRESS = ("step", "audio_hours", "audio_s_per_s", "skipped_steps", "spike_steps")


def new_figure(title: str, rows: int, columns: int, size: tuple[float, float], **sharing):
    """A figure with a title, and its panels in a row: row by row."""
    require_packages("train", "matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(_plain(title))
    return figure, figure.subplots(rows, columns, squeeze=False, **sharing).flat


def _plain(text: str) -> str:
    """A name in which dollars are dollars: matplotlib takes what stands between two of them for a formula."""
    return text.replace("$", r"\$")


def series(reports: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps (reports,) and values (reports,) or (reports, codebooks), NaN for null, of the reports that have them."""
    found = [(report["step"], report[name]) for report in reports if report.get(name) is not None]
    return np.array([step for step, _ in found]), np.array([value for _, value in found], dtype=float)


def plot_numbers(
    reports: list[dict[str, Any]], picture: PathLike, title: str, validations: list[dict[str, Any]] | None = None
) -> None:
    """Draw every number of a run that is not about its progress over the updates: losses, signs of collapse, gradient norm.

    Args:
        reports: lines of `metrics.jsonl`.
        validations: lines of `validation.jsonl`, whose numbers are drawn beside those of the training.
    """
    checks = validations or []
    names = list(dict.fromkeys(name for report in reports for name in report if name not in PROGRESS))
    columns = min(len(names), 4) or 1
    rows = -(-len(names) // columns)
    figure, panels = new_figure(title, rows or 1, columns, (3.6 * columns + 1, 3 * rows + 1))
    for index, panel in enumerate(panels):
        panel.set_visible(index < len(names))
        if index >= len(names):
            continue
        panel.set(title=names[index].replace("_", " "), xlabel="update")
        panel.grid(alpha=0.3)
        for label, source, style in (("training", reports, "-"), ("validation", checks, "o-")):
            steps, values = series(source, names[index])
            if len(steps):
                panel.plot(steps, values, style, markersize=3, linewidth=1.2, label=label)
        if checks and len(series(checks, names[index])[0]):
            panel.legend(fontsize="small")
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def plot_epochs(curve: list[dict[str, Any]], measure: str, picture: PathLike, title: str) -> None:
    """Draw the losses of training and validation over the epochs, and beside them what chooses the epoch, with its best.

    Args:
        curve: an entry an epoch, see `mert_hf.finetuning.report.read_curve`; what an entry lacks, or is null, leaves a gap.
        measure: name of the measure in the entries; larger is better.
    """
    epochs = np.array([entry["epoch"] for entry in curve], dtype=float)
    values = {name: _column(curve, name) for name in ("loss", "validation_loss", measure)}
    figure, (losses, scores) = new_figure(title, 1, 2, (9.5, 3.6))
    for name, label in (("loss", "training"), ("validation_loss", "validation")):
        losses.plot(epochs, values[name], "o-", markersize=3, linewidth=1.3, label=label)
    losses.set(title="loss", xlabel="epoch")
    losses.legend(fontsize="small")
    scores.plot(epochs, values[measure], "o-", markersize=3, linewidth=1.3, color="C1")
    if np.isfinite(values[measure]).any():
        best = int(np.nanargmax(values[measure]))
        losses.axvline(epochs[best], color="grey", linewidth=1, linestyle=":")
        scores.axvline(epochs[best], color="grey", linewidth=1, linestyle=":")
        scores.plot(epochs[best], values[measure][best], "o", color="C3", label=f"kept: epoch {epochs[best]:g}")
        scores.legend(fontsize="small")
    scores.set(title=f"validation, {measure.replace('_', ' ')}", xlabel="epoch")
    for panel in (losses, scores):
        panel.grid(alpha=0.3)
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def _column(entries: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if entry.get(name) is None else entry[name] for entry in entries], dtype=float)


def plot_confusion_matrix(
    targets: np.ndarray, predicted: np.ndarray, names: list[str], picture: str | os.PathLike, title: str = ""
) -> None:
    """Draw which class was taken for which into a PNG: rows are true classes, shades are shares of a row.

    Args:
        targets, predicted: (items,) class numbers.
    """
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (targets, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3 + 0.45 * len(names)
    figure, (panel,) = new_figure(title, 1, 1, (size + 1, size))
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    panel.set(xlabel="predicted", ylabel="true")
    shown = [_plain(name) for name in names]
    panel.set_xticks(range(len(names)), shown, rotation=90)
    panel.set_yticks(range(len(names)), shown)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize="small")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    figure.savefig(picture, dpi=DOTS_PER_INCH)
