"""The picture of a track: what is heard above, what the model makes of it below, all over the same seconds."""

import bisect
import os
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from transformers.audio_utils import hertz_to_mel

from mert_hf.catalogue.inspection.analysis import Inspection
from mert_hf.catalogue.inspection.spectrogram import LOWEST_HZ
from mert_hf.common.figures import DOTS_PER_INCH, new_figure
from mert_hf.common.files import open_atomically

WIDTH_IN = 9.6
# panels from above, with their heights in inches; of beats only where they were asked for
HEIGHTS_IN = {"mel": 2.1, "energy": 1.6, "beats": 1.2, "novelty": 1.3, "similarity": 5.2}
# below the loudest, black
SHOWN_DB = 60.0
SHOWN_HZ = (100, 300, 1000, 3000, 10000, 20000)
# of values, those at either end that may leave the range of colours
CLIPPED_SHARE = 0.02
# From here on times are shown as m:ss.
LEAST_CLOCK_S = 120.0
# distances between marks on the axis of time
TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
MOST_TICKS = 14
LONGEST_NAME = 70
# of the track; in narrower sections a number would reach into the next one
LEAST_NUMBERED_SHARE = 0.018
BORDER = {"color": "white", "linewidth": 1.0, "linestyle": (0, (4, 3)), "alpha": 0.9}


@dataclass(frozen=True)
class Frame:
    """Where a panel lies in a picture, as shares of its width and height, from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


def write_picture(inspection: Inspection, picture: str | os.PathLike) -> None:
    """Draw a track into a PNG, which is there whole or not at all.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with open_atomically(picture) as file:
        draw_picture(inspection, file)


def draw_picture(inspection: Inspection, file: BinaryIO) -> dict[str, Frame]:
    """Draw a track as a PNG.

    Args:
        file: to write into.

    Returns:
        Where the panels lie, by name, as in `HEIGHTS_IN`.
    """
    heights = [height for name, height in HEIGHTS_IN.items() if name != "beats" or inspection.beats is not None]
    names = [name for name in HEIGHTS_IN if name != "beats" or inspection.beats is not None]
    title = f"{_shorten(inspection.name)}\nlayer {inspection.layer} of {_shorten(inspection.model)}"
    size = (WIDTH_IN, sum(heights) + 0.5 * len(heights) + 0.5)
    figure, panels = new_figure(title, len(heights), 1, size, sharex=True, height_ratios=heights)
    panels = dict(zip(names, panels, strict=True))
    drawn = {"mel": _mel, "energy": _energy, "beats": _beats, "novelty": _novelty, "similarity": _similarity}
    for name, panel in panels.items():
        drawn[name](panel, inspection)
        panel.tick_params(labelsize="small")
    ticks = time_ticks(inspection.duration_s)
    last = panels["similarity"]
    last.set(xlim=(0, inspection.duration_s), xlabel=time_label(inspection.duration_s))
    last.set_xticks(ticks, [format_time(tick, inspection.duration_s) for tick in ticks])
    figure.align_ylabels()
    with warnings.catch_warnings():
        # names in scripts that the font lacks: their boxes in the picture say it
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    boxes = {name: panel.get_position() for name, panel in panels.items()}
    return {name: Frame(box.x0, 1 - box.y1, box.x1, 1 - box.y0) for name, box in boxes.items()}


def format_time(time_s: float, duration_s: float, digits: int | None = None) -> str:
    """A time in a track of that length: 12.5 in short ones, 3:05 or 1:02:03 in long ones.

    Args:
        digits: behind the second; by default as many as a short track needs, and none in a long one.
    """
    if duration_s < LEAST_CLOCK_S:
        return f"{time_s:.{digits}f}" if digits is not None else f"{round(time_s, 2):g}"
    scale = 10 ** (digits or 0)
    whole, part = divmod(round(time_s * scale), scale)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    behind = f".{part:0{digits}d}" if digits else ""
    return f"{hours}:{minutes:02d}:{seconds:02d}{behind}" if duration_s >= 3600 else f"{minutes}:{seconds:02d}{behind}"


def time_label(duration_s: float) -> str:
    """What stands beside times as [`format_time`] writes them."""
    return "time (s)" if duration_s < LEAST_CLOCK_S else "time (h:mm:ss)" if duration_s >= 3600 else "time (m:ss)"


def time_ticks(duration_s: float) -> list[float]:
    """The seconds to mark on the axis of a track."""
    place = bisect.bisect_left(TICKS_S, duration_s / MOST_TICKS)
    apart = TICKS_S[place] if place < len(TICKS_S) else duration_s / MOST_TICKS
    return [number * apart for number in range(int(duration_s / apart + 1e-9) + 1)]


def _mel(panel, inspection: Inspection) -> None:
    mel, top_hz = inspection.mel_db, inspection.sampling_rate / 2
    lowest, highest = hertz_to_mel(LOWEST_HZ), hertz_to_mel(top_hz)
    extent = (0, inspection.duration_s, lowest, highest)
    panel.imshow(mel.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-SHOWN_DB, vmax=0)
    marks = [hz for hz in SHOWN_HZ if LOWEST_HZ < hz < top_hz]
    panel.set_yticks([hertz_to_mel(hz) for hz in marks], [f"{hz:g}" if hz < 1000 else f"{hz // 1000}k" for hz in marks])
    panel.set(ylabel="Hz")
    _title(panel, f"mel spectrogram, {SHOWN_DB:g} dB from dark to bright")
    _mark_borders(panel, inspection)


def _energy(panel, inspection: Inspection) -> None:
    energy = inspection.energy_db
    low, high = np.quantile(energy, (CLIPPED_SHARE, 1 - CLIPPED_SHARE))
    extent = (0, len(energy[0]) * inspection.step_s, -0.5, len(energy) - 0.5)
    panel.imshow(
        energy, origin="lower", aspect="auto", extent=extent, cmap="viridis", vmin=low, vmax=high, interpolation="nearest"
    )
    panel.set_yticks(range(0, len(energy), max(len(energy) // 6, 1)))
    panel.set(ylabel="layer")
    _title(
        panel,
        f"feature energy about a layer's mean over the track, {low:.0f} to {high:+.0f} dB: bright is unlike the rest",
    )
    _mark_borders(panel, inspection)


def _beats(panel, inspection: Inspection) -> None:
    times = inspection.beats.times_s
    if len(times) > 1:
        size = 4 if len(times) < 1000 else 1.5
        panel.plot(times[1:], 60 / np.diff(times), ".", markersize=size, color="C0")
    panel.set(ylabel="bpm")
    panel.grid(alpha=0.3)
    panel.margins(y=0.15)
    source = _shorten(inspection.beats.source)
    _title(panel, f"beats ({source}): {len(times)}; a dot is a beat, its height the tempo since the one before")
    _mark_borders(panel, inspection, color="0.4")


def _novelty(panel, inspection: Inspection) -> None:
    novelty, times = inspection.novelty, inspection.step_s * np.arange(len(inspection.novelty))
    panel.plot(times, novelty, linewidth=1.2, color="C0")
    top = max(1.35 * float(novelty.max(initial=0)), 0.4)
    panel.set(ylabel="novelty", ylim=(min(0, float(novelty.min(initial=0))), top))
    panel.grid(alpha=0.3)
    count = len(inspection.sections)
    _title(panel, f"novelty, and {count} section{'s' if count > 1 else ''}")
    _mark_borders(panel, inspection, color="C3")
    for number, section in enumerate(inspection.sections, start=1):
        middle = (section.start_s + section.end_s) / 2
        if section.end_s - section.start_s < LEAST_NUMBERED_SHARE * inspection.duration_s:
            continue
        panel.text(middle, 0.97 * top, str(number), ha="center", va="top", fontsize="small", color="C3", clip_on=True)


def _similarity(panel, inspection: Inspection) -> None:
    similarity, end_s = inspection.similarity, len(inspection.similarity) * inspection.step_s
    # a moment's likeness to itself would stretch the range of colours of short tracks
    others = similarity[~np.eye(len(similarity), dtype=bool)]
    low, high = np.quantile(others, (CLIPPED_SHARE, 1 - CLIPPED_SHARE)) if len(others) else (-1.0, 1.0)
    panel.imshow(
        similarity,
        origin="upper",
        aspect="auto",
        extent=(0, end_s, end_s, 0),
        cmap="magma",
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    ticks = time_ticks(inspection.duration_s)
    panel.set_yticks(ticks, [format_time(tick, inspection.duration_s) for tick in ticks])
    panel.set(ylabel=time_label(inspection.duration_s), ylim=(inspection.duration_s, 0))
    _title(panel, f"self-similarity of steps of {inspection.step_s:.2g} s: bright is alike; cosine {low:.2f} to {high:.2f}")
    _mark_borders(panel, inspection)
    for border in inspection.borders_s:
        panel.axhline(border, **BORDER)


def _title(panel, text: str) -> None:
    panel.set_title(text, loc="left", fontsize="small", parse_math=False)


def _mark_borders(panel, inspection: Inspection, **style) -> None:
    for border in inspection.borders_s:
        panel.axvline(border, **{**BORDER, **style})


def _shorten(name: str) -> str:
    """A name in one line of the picture."""
    line = "".join(letter if letter.isprintable() else " " for letter in name)
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 10]}...{line[-7:]}"
