"""Pictures of what probing found."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.models.spectra_mert import LogMelSpectrum
from mert_hf.tasks.base import KEYS

SECONDS_SHOWN = 10.0


def plot_layer_heat_map(results: Mapping[str, Any], picture: str | os.PathLike) -> None:
    """Draw how well every layer serves every value: colour from the worst to the best layer, numbers as they are."""
    rows = [row for row in results["results"] if len(row["layers"]) > 1]
    if not rows:
        return
    heads = list(rows[0]["layers"])
    values = np.array([[row["layers"][head] for head in heads] for row in rows])
    least, greatest = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    shades = (values - least) / np.maximum(greatest - least, 1e-9)
    figure = _figure(width=max(6.0, 3.2 + 0.75 * len(heads)), height=1.6 + 0.42 * len(rows))
    panel = figure.subplots()
    panel.imshow(shades, cmap="viridis", aspect="auto")
    panel.set_xticks(range(len(heads)), [head.replace(" ", "\n") for head in heads])
    panel.set_yticks(range(len(rows)), [f"{row['title']}, {row['metric_title']}" for row in rows])
    # the whole figure is wider than its panel, whose labels would be cut off
    figure.supxlabel("layer (entry of hidden_states); framed in red: chosen on the validation split", fontsize="medium")
    figure.suptitle(f"{results['title']}, {results['suite']}: dark is a row's worst layer, bright its best", fontsize="medium")
    for line, row in enumerate(rows):
        for column, head in enumerate(heads):
            colour = "black" if shades[line, column] > 0.6 else "white"
            panel.text(column, line, f"{values[line, column]:.1f}", ha="center", va="center", color=colour, fontsize="small")
            if head == row["layer"]:
                panel.add_patch(_frame(column, line))
    figure.savefig(picture, dpi=130)


def plot_limited_data(results: Mapping[str, Any], picture: str | os.PathLike) -> None:
    """Draw the monitors over the share of training data, where there is anything to draw."""
    rows = [row for row in results["results"] if row.get("limited")]
    if not rows:
        return
    figure = _figure(width=7.0, height=5.0)
    panel = figure.subplots()
    for number, row in enumerate(rows):
        shares = [100 * float(share) for share in row["limited"]] + [100.0]
        means = [found["mean"] for found in row["limited"].values()] + [row["value"]]
        spreads = [found["std"] for found in row["limited"].values()] + [row["std"]]
        label = f"{row['title']}, {row['metric_title']}"
        panel.errorbar(shares, means, spreads, marker="o", capsize=3, linewidth=1.3, color=f"C{number % 10}", label=label)
    panel.set(xscale="log", xlabel="share of the training split (%)", ylabel="%", title=f"{results['title']}: little data")
    panel.set_xticks(shares, [f"{share:g}" for share in shares])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(picture, dpi=130)


def circle_of_fifths() -> list[int]:
    """Indices into `KEYS`: majors by fifths from C, each followed by its relative minor, so that near keys are neighbours."""
    return [key for step in range(12) for key in (7 * step % 12, 12 + (7 * step + 9) % 12)]


def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str, picture: str | os.PathLike) -> None:
    """Draw which class was taken for which, in percent of the true class; keys stand on the circle of fifths."""
    counts = np.array(confusion, dtype=float)
    names = list(labels)
    if tuple(names) == KEYS:
        order = circle_of_fifths()
        counts, names = counts[np.ix_(order, order)], [_key_title(names[key]) for key in order]
        title += " (keys by fifths)"
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.24 * len(names)
    figure = _figure(width=size + 0.8, height=size)
    panel = figure.subplots()
    image = panel.imshow(shares, cmap="magma", vmin=0, vmax=100)
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
    panel.set_yticks(range(len(names)), names, fontsize="small")
    panel.set(xlabel="answer", ylabel="truth", title=title)
    figure.colorbar(image, ax=panel, label="% of the true class", shrink=0.8)
    figure.savefig(picture, dpi=130)


def plot_beats(
    found: Mapping[str, Any], waveform: NDArray[np.float32], sampling_rate: int, title: str, picture: str | os.PathLike
) -> None:
    """Draw a track's mel spectrogram with the true beats, and below it the activation with the beats found.

    Args:
        found: `activation` of a beat task, by `evaluate_encoder`.
        waveform: (samples,) of the same track, at `sampling_rate` in Hz.
    """
    end_s = min(SECONDS_SHOWN, len(waveform) / sampling_rate)
    hop_samples = sampling_rate // 100
    heard = torch.from_numpy(waveform[: round(end_s * sampling_rate)])[None]
    mel = LogMelSpectrum(sampling_rate, hop_samples, 80)(heard)[0].T.numpy()
    figure = _figure(width=11.0, height=5.0)
    spectrum, curve = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    spectrum.imshow(
        mel, origin="lower", aspect="auto", extent=(0, end_s, 0, len(mel)), cmap="magma", vmin=mel.max() - 14, vmax=mel.max()
    )
    spectrum.set(ylabel="mel band", title=title)
    for time in found["true_s"]:
        spectrum.axvline(time, color="white", linewidth=1.0, linestyle="--")
    times = np.array(found["times_s"])
    shown = times <= end_s
    curve.plot(times[shown], np.array(found["activation"])[shown], linewidth=1.2, color="C0", label="activation")
    marks = (("true_s", "black", "--", "true beats"), ("found_s", "C3", "-", "beats found"))
    for name, colour, style, label in marks:
        for number, time in enumerate(time for time in found[name] if time <= end_s):
            curve.axvline(time, color=colour, linestyle=style, linewidth=1.0, alpha=0.8, label=label if not number else None)
    curve.set(xlabel="time (s)", ylabel="probability", xlim=(0, end_s), ylim=(0, 1.02))
    curve.legend(loc="upper right", fontsize="small", ncols=3)
    figure.savefig(picture, dpi=110)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    return Figure(figsize=(width, height), layout="constrained")


def _frame(column: int, line: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, line - 0.46), 0.96, 0.92, fill=False, edgecolor="red", linewidth=2)


def _key_title(key: str) -> str:
    tonic, mode = key.split()
    return tonic if mode == "major" else f"{tonic.lower()}m" if len(tonic) == 1 else f"{tonic}m"
