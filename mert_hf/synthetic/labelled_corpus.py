"""Labelled folders of synthetic music for single-label tasks: audio, and a metadata.csv beside it."""

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mert_hf.audio.writing import encode_flac
from mert_hf.common.errors import InputError
from mert_hf.common.files import write_atomically
from mert_hf.common.seeding import generator
from mert_hf.synthetic.corpus import GENERATOR_VERSION, claim_corpus
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.labels import PieceLabels
from mert_hf.synthetic.sound.render import render

TASKS = ("instrument", "key")


def write_labelled_corpus(
    folder: str | Path, task: str, num_pieces: int, duration_s: float = 6.0, seed: int = 0, sampling_rate: int = 24000
) -> None:
    """Write pieces, their settings, and a `metadata.csv` with the columns file_name and label; a complete folder is kept.

    Args:
        task: "instrument": one instrument alone plays its part of a piece, named by the label; "key": whole pieces in one of
            24 keys.
        duration_s: length of each in seconds.
        sampling_rate: in Hz.

    Raises:
        InputError: an unknown task, or the folder holds music of other settings.
    """
    if task not in TASKS:
        raise InputError(f"there is no synthetic task {task!r}; accepted: {', '.join(TASKS)}.")
    folder = Path(folder)
    table = folder / "metadata.csv"
    settings = {
        "generator_version": GENERATOR_VERSION,
        "task": task,
        "num_pieces": int(num_pieces),
        "duration_s": float(duration_s),
        "seed": int(seed),
        "sampling_rate": int(sampling_rate),
    }
    claim_corpus(folder, settings)
    if table.is_file():
        return
    heard: Counter[str] = Counter()
    rows = []
    for index in tqdm(range(num_pieces), desc="Making music", unit="piece", leave=False):
        labels = compose([seed, index], duration_s)
        label = labels.key
        if task == "instrument":
            labels = _solo(labels, heard, seed, index)
            (label,) = labels.instruments
        heard[label] += 1
        rendering = np.random.SeedSequence([seed, index], spawn_key=(1_000_000,))
        waveform = render(labels, round(duration_s * sampling_rate), sampling_rate, rendering)
        name = f"piece_{index:05d}.flac"
        write_atomically(folder / name, encode_flac(waveform, sampling_rate))
        rows.append({"file_name": name, "label": label})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["file_name", "label"])
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(table, text.getvalue())


def _solo(labels: PieceLabels, heard: Counter, seed: int, index: int) -> PieceLabels:
    """The part of one instrument: one of those heard least so far, so that classes come out nearly even."""
    playing = sorted({note.instrument for note in labels.notes})
    order = generator(seed, "solo", index).permutation(len(playing))
    chosen = min((playing[place] for place in order), key=lambda name: heard[name])
    notes = [note for note in labels.notes if note.instrument == chosen]
    return replace(labels, notes=notes, drum_hits=[], instruments=[chosen])
