"""Pictures of a run."""

import os

import numpy as np

from mert_hf.engine.metrics import read_metrics


def plot_training_curves(metrics: str | os.PathLike, picture: str | os.PathLike, title: str = "") -> None:
    """Draw loss, its parts, masked accuracy per codebook and the learning rate over the updates into a PNG.

    Args:
        metrics: a `metrics.jsonl`.
        picture: file to write.
        title: above the panels.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    reports = read_metrics(metrics)
    steps = [report["step"] for report in reports]
    figure = Figure(figsize=(12, 7), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(2, 3).flat

    def draw(name: str, label: str) -> None:
        panel = next(panels)
        panel.set(title=label, xlabel="update")
        panel.grid(alpha=0.3)
        values = np.array([report.get(name, np.nan) for report in reports], dtype=float)
        if values.ndim == 1:
            panel.plot(steps, values, linewidth=1.2)
            return
        colours = _shades(values.shape[1])
        for book, (curve, colour) in enumerate(zip(values.T, colours, strict=True)):
            panel.plot(steps, 100 * curve, linewidth=1.2, color=colour, label=f"{book}")
        panel.legend(title="codebook", fontsize="small", ncols=2)

    draw("loss", "loss (weighted sum)")
    draw("code_loss", "code loss (nats, sum over codebooks)")
    draw("cqt_loss", "constant-Q loss (mean squared error)")
    draw("code_accuracy", "masked accuracy (%)")
    draw("grad_norm", "gradient norm (before clipping)")
    draw("learning_rate", "learning rate")
    figure.savefig(picture, dpi=110)


def _shades(count: int):
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 0.9, count))


def plot_confusion_matrix(
    targets: np.ndarray, predicted: np.ndarray, names: list[str], picture: str | os.PathLike, title: str = ""
) -> None:
    """Draw which class was taken for which into a PNG: rows are true classes, shades are shares of a row.

    Args:
        targets, predicted: (items,) class numbers.
        names: of the classes.
        picture: file to write.
        title: above the matrix.
    """
    from matplotlib.figure import Figure

    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (targets, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3 + 0.45 * len(names)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    panel.set(title=title, xlabel="predicted", ylabel="true")
    panel.set_xticks(range(len(names)), names, rotation=90)
    panel.set_yticks(range(len(names)), names)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize="small")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    figure.savefig(picture, dpi=110)
