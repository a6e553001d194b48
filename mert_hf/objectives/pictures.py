"""Pictures of what objectives learn: losses, codes, spectra, prototypes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mert_hf.common.figures import DOTS_PER_INCH, PathLike, new_figure, series
from mert_hf.common.packages import require_packages


def plot_training_curves(
    reports: list[dict[str, Any]], picture: PathLike, title: str, validations: list[dict[str, Any]]
) -> None:
    """Draw loss, its parts, masked accuracy per codebook, gradient norm and learning rate over the updates into a PNG.

    `reports` are lines of `metrics.jsonl`, `validations` those of `validation.jsonl`, whose losses are drawn beside.
    """
    figure, panels = new_figure(title, 2, 3, (12, 7))
    labels = {
        "loss": "loss (weighted sum)",
        "code_loss": "code loss (nats, sum over codebooks)",
        "cqt_loss": "constant-Q loss",
        "code_accuracy": "masked accuracy in training (%)",
        "grad_norm": "gradient norm (before clipping)",
        "learning_rate": "learning rate",
    }
    for panel, (name, label) in zip(panels, labels.items(), strict=True):
        panel.set(title=label, xlabel="update")
        panel.grid(alpha=0.3)
        steps, values = series(reports, name)
        if values.ndim == 2:
            _draw_codebooks(panel, steps, 100 * values)
            continue
        panel.plot(steps, values, linewidth=1.2, label="training")
        steps, values = series(validations, name)
        if len(steps):
            panel.plot(steps, values, "o-", markersize=3, linewidth=1.2, label="validation")
            panel.legend(fontsize="small")
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def plot_code_accuracy(
    validations: list[dict[str, Any]],
    picture: PathLike,
    title: str,
    accuracy: Sequence[float],
    counts: np.ndarray,
    sizes: Sequence[int],
) -> None:
    """Draw masked accuracy per codebook in validation: over the updates, and in the end beside what guessing would reach.

    Args:
        validations: lines of `validation.jsonl`.
        accuracy: (codebooks,) of the last validation, 0 to 1.
        counts: (codebooks, codes) how often each code is the label in it.
        sizes: number of codes of each codebook.
    """
    figure, (left, right) = new_figure(title, 1, 2, (12, 4.5))
    steps, values = series(validations, "code_accuracy")
    left.set(title="masked accuracy in validation (%)", xlabel="update")
    left.grid(alpha=0.3)
    _draw_codebooks(left, steps, 100 * values, marker="o")
    books = np.arange(len(sizes))
    bars = {
        "model": accuracy,
        "always the most frequent code": (counts.max(-1) / counts.sum(-1).clip(1)).tolist(),
        "chance": [1 / size for size in sizes],
    }
    for place, ((name, shares), colour) in enumerate(zip(bars.items(), ("C0", "C1", "0.6"), strict=True)):
        heights = 100 * np.array(shares, dtype=float)
        right.bar(books + 0.27 * (place - 1), heights, 0.25, label=name, color=colour)
    right.set(title="at the end (%)", xlabel="codebook", xticks=books)
    right.grid(axis="y", alpha=0.3)
    right.margins(y=0.25)  # room for the legend
    right.legend(fontsize="small", loc="upper right")
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def plot_code_usage(picture: PathLike, title: str, labels: np.ndarray, predicted: np.ndarray, sizes: Sequence[int]) -> None:
    """Draw for each codebook how often its codes occur, most frequent first, as labels and as predictions.

    `labels` and `predicted` are (codebooks, codes) counts on masked frames, `sizes` the number of codes of each codebook.
    """
    columns = min(len(sizes), 4)
    rows = -(-len(sizes) // columns)
    figure, panels = new_figure(title, rows, columns, (3.4 * columns + 1, 3 * rows + 0.5))
    for book, panel in enumerate(panels):
        panel.set_visible(book < len(sizes))
        if book >= len(sizes):
            continue
        ranks = np.arange(1, sizes[book] + 1)
        for name, counts in (("teacher", labels[book]), ("model", predicted[book])):
            shares = np.sort(counts[: sizes[book]])[::-1] / max(counts.sum(), 1)
            used = shares > 0
            varied = np.exp(-np.sum(shares[used] * np.log(shares[used])))
            panel.plot(ranks[used], 100 * shares[used], ".-", markersize=3, label=f"{name}: perplexity {varied:.1f}")
        panel.axhline(100 / sizes[book], color="0.6", linestyle="--", linewidth=1)
        panel.set(title=f"codebook {book}: {sizes[book]} codes", xscale="log", yscale="log", xlim=(0.9, 1.2 * sizes[book]))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set(xlabel="codes, most frequent first", ylabel="share of masked frames (%)" if book % columns == 0 else "")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small", loc="lower left")
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def plot_constant_q(
    picture: PathLike,
    title: str,
    target: np.ndarray,
    predicted: np.ndarray,
    mask: np.ndarray,
    frame_rate: float,
    frequencies_hz: np.ndarray,
    compression: str = "none",
) -> None:
    """Draw the constant-Q spectrum of a clip, what the model predicts of it, and what it was given to hear.

    Args:
        target, predicted: (frames, bins) magnitudes, compressed or not.
        mask: (frames,) bool, frames hidden from the model.
        frame_rate: frames per second.
        frequencies_hz: (bins,) centre of each bin.
        compression: of the magnitudes: none, sqrt or log.
    """
    figure, panels = new_figure(title, 3, 1, (12, 9), sharex=True, sharey=True)
    heard = np.where(mask[:, None], np.nan, target)
    # the root of the magnitudes shows quiet partials beside loud ones; what is compressed already is shown as it is
    show = np.sqrt if compression == "none" else np.asarray
    top = float(show(np.quantile(target, 0.999))) or 1.0
    edges_s = np.arange(len(target) + 1) / frame_rate
    ratio = frequencies_hz[1] / frequencies_hz[0] if len(frequencies_hz) > 1 else 2.0
    edges_hz = np.append(frequencies_hz, frequencies_hz[-1] * ratio) / np.sqrt(ratio)
    names = ("what the model hears (masked frames are white)", "what it predicts of the masked frames", "the target")
    predicted = np.where(mask[:, None], predicted, np.nan)
    for panel, name, values in zip(panels, names, (heard, predicted, target), strict=True):
        shown = show(np.clip(values, 0, None))
        mesh = panel.pcolormesh(edges_s, edges_hz, shown.T, cmap="magma", vmin=0, vmax=top, rasterized=True)
        panel.set(title=name, ylabel="Hz", yscale="log")
        panel.set_yticks([hz for hz in (50, 100, 200, 500, 1000, 2000, 4000) if edges_hz[0] <= hz <= edges_hz[-1]])
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
    panels[-1].set_xlabel("seconds")
    label = "magnitude (logarithm)" if compression == "log" else "square root of the magnitude"
    figure.colorbar(mesh, ax=list(panels), label=label, shrink=0.6)
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def plot_prototype_usage(reports: list[dict[str, Any]], picture: PathLike, title: str, usage: np.ndarray) -> None:
    """Draw how a clustering uses its prototypes: over the updates, and which share of the crops each has in the end.

    A partial collapse shows left as a share far below 100 %, and right as a curve that falls far below the dashed line long
    before the last prototype.

    Args:
        reports: lines of `metrics.jsonl` with `prototypes_used`.
        usage: (prototypes,) mean assignment of crops to each over the last hundred updates; adds up to 1.
    """
    figure, (left, right) = new_figure(title, 1, 2, (12, 4.5))
    steps, values = series(reports, "prototypes_used")
    left.plot(steps, 100 * values)
    left.set(title="prototypes in use, exp(entropy) (%)", xlabel="update", ylim=(0, 102))
    shares = 100 * np.sort(usage)[::-1]
    ranks = np.arange(1, len(shares) + 1)
    used = np.exp(-np.sum(usage[usage > 0] * np.log(usage[usage > 0])))
    right.plot(ranks[shares > 0], shares[shares > 0], ".-", markersize=3, label=f"{used:.0f} of {len(shares)} in use")
    right.axhline(100 / len(shares), color="0.6", linestyle="--", linewidth=1, label="all alike")
    right.set(title="share of the crops (%)", xlabel="prototypes, most used first", xscale="log", yscale="log")
    right.set_xlim(0.9, 1.2 * len(shares))
    right.legend(fontsize="small")
    for panel in (left, right):
        panel.grid(alpha=0.3)
    figure.savefig(picture, dpi=DOTS_PER_INCH)


def _draw_codebooks(panel, steps: np.ndarray, values: np.ndarray, marker: str | None = None) -> None:
    require_packages("train", "matplotlib")
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0, 0.9, values.shape[1]))
    for book, (curve, colour) in enumerate(zip(values.T, colours, strict=True)):
        panel.plot(steps, curve, linewidth=1.2, color=colour, label=f"{book}", marker=marker, markersize=3)
    panel.legend(title="codebook", fontsize="small", ncols=2)
