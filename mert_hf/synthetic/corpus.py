"""A folder of synthetic pieces: audio as FLAC, labels as JSON."""

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mert_hf.audio.writing import encode_flac
from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder, write_atomically
from mert_hf.synthetic.piece import check_settings, generate_piece

SETTINGS_FILE = "corpus.json"
GENERATOR_VERSION = 1
"""Raised whenever the same seed gives another piece than before, so that no corpus mixes two generators."""

_MOST_PIECES = 100_000


def piece_paths(folder: Path, index: int) -> tuple[Path, Path]:
    """Return the paths of a piece's audio and of its labels."""
    stem = f"piece_{index:05d}"
    return folder / f"{stem}.flac", folder / f"{stem}.json"


def claim_corpus(folder: Path, settings: dict[str, Any]) -> None:
    """Note the corpus's settings in its folder; InputError where it holds pieces made with other or unknown settings."""
    note = folder / SETTINGS_FILE
    if not note.exists() and any(folder.glob("piece_*")):
        raise InputError(f"{folder} holds pieces without the {SETTINGS_FILE} that tells their settings; choose another folder.")
    changed = claim_folder(note, settings)
    if changed:
        told = "; ".join(f"{name} is {there!r} there and {here!r} here" for name, (there, here) in changed.items())
        raise InputError(
            f"{folder} holds a synthetic corpus of other settings: {told}. "
            "Choose another folder, pass the settings it was made with, or delete it."
        )


def write_corpus(
    folder: str | Path, num_pieces: int, duration_s: float = 30.0, seed: int = 0, sampling_rate: int = 24000
) -> None:
    """Write a corpus of synthetic pieces; pieces that are there already are kept.

    Writes `piece_00000.flac` (16 bit), `piece_00000.json` (its `PieceLabels`), and so on, and `corpus.json` with the
    settings. Piece k depends on the seed and on k only, so a corpus can be made longer by calling this again with more
    pieces. Every file is complete or absent, whenever the writing is interrupted.

    Args:
        num_pieces: 1 to 100000.
        duration_s: Length of each piece in seconds.
        seed: From 0 to 2**32 - 1.
        sampling_rate: In Hz.

    Raises:
        InputError: If an argument is out of its range, or the folder holds a corpus of other settings.
    """
    check_settings(duration_s, sampling_rate)
    if not 1 <= num_pieces <= _MOST_PIECES:
        raise InputError(f"num_pieces is {num_pieces!r}; pass a number from 1 to {_MOST_PIECES}.")
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}; pass an integer from 0 to 2**32 - 1.")
    folder = Path(folder)
    settings = {
        "generator_version": GENERATOR_VERSION,
        "duration_s": float(duration_s),
        "seed": int(seed),
        "sampling_rate": int(sampling_rate),
    }
    claim_corpus(folder, settings)
    missing = [index for index in range(num_pieces) if not all(path.exists() for path in piece_paths(folder, index))]
    for index in tqdm(missing, desc="Making music", unit="piece", disable=not missing):
        piece = generate_piece([seed, index], duration_s, sampling_rate)
        audio, labels = piece_paths(folder, index)
        # the labels come last: their presence marks the piece as complete
        write_atomically(audio, encode_flac(piece.waveform, piece.sampling_rate))
        write_atomically(labels, json.dumps(piece.labels.to_dict(), separators=(",", ":")) + "\n")
