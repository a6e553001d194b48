"""A folder of synthetic pieces: audio as FLAC, labels as JSON."""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mert_hf.audio.writing import encode_flac
from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder, write_atomically
from mert_hf.synthetic.piece import SyntheticPiece, check_settings, generate_piece
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.vocabulary import CORPUS
from mert_hf.synthetic.sound.fluidsynth import FluidSynth, find_fluidsynth
from mert_hf.synthetic.sound.render import add_room

SETTINGS_FILE = "corpus.json"
CORPUS_RENDERERS = ("builtin", "fluidsynth", "both")
"""The package's own sounds, sampled instruments, and one after the other: of even numbers builtin, of odd ones fluidsynth."""

GENERATOR_VERSION = 1
"""Raised whenever the same seed gives another piece than before, so that no corpus mixes two generators."""

_MOST_PIECES = 100_000
# a process takes about a second to start, and makes this much music in about two
_LEAST_S_A_WORKER = 240.0
# sampled music that is made at once: short enough for many processes, long beside the quarter of a second of a start
_SAMPLED_JOB_S = 120.0


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
    if changed.get("renderer") == (None, "builtin"):
        del changed["renderer"]  # there was no other when it was written
    if changed:
        told = "; ".join(f"{name} is {there!r} there and {here!r} here" for name, (there, here) in changed.items())
        raise InputError(
            f"{folder} holds a synthetic corpus of other settings: {told}. "
            "Choose another folder, pass the settings it was made with, or delete it."
        )


@dataclass(frozen=True)
class _Pieces:
    """The pieces of a corpus, made in any order and in any process."""

    folder: Path
    duration_s: float
    seed: int
    sampling_rate: int
    renderer: str
    player: FluidSynth | None  # of sampled instruments

    def write(self, indices: Sequence[int]) -> int:
        """Write some of them, and give their number."""
        for index, piece in self._make(indices):
            audio, labels = piece_paths(self.folder, index)
            # the labels come last: their presence marks the piece as complete
            write_atomically(audio, encode_flac(piece.waveform, piece.sampling_rate))
            write_atomically(labels, json.dumps(piece.labels.to_dict(), separators=(",", ":")) + "\n")
        return len(indices)

    def jobs(self, indices: Sequence[int]) -> list[Sequence[int]]:
        """What is made at once: one piece, or some that are played at one start, and with "both" those between them."""
        size = 1
        if self.player is not None:
            size = max(1, int(_SAMPLED_JOB_S / self.duration_s)) * (2 if self.renderer == "both" else 1)
        return [indices[start : start + size] for start in range(0, len(indices), size)]

    def _make(self, indices: Sequence[int]) -> Iterator[tuple[int, SyntheticPiece]]:
        sampled = [index for index in indices if self._is_sampled(index)]
        scores = {index: compose([self.seed, index], self.duration_s) for index in sampled}
        clips = ((scores[index], self._rendering_seed(index), CORPUS) for index in sampled)
        num_samples = round(self.duration_s * self.sampling_rate)
        played = iter(()) if self.player is None else self.player.render_all(clips, num_samples, self.sampling_rate)
        for index in indices:
            if index in scores:
                waveform = add_room(next(played), self.sampling_rate, self._rendering_seed(index))
                yield index, SyntheticPiece(waveform, self.sampling_rate, scores[index])
            else:
                yield index, generate_piece([self.seed, index], self.duration_s, self.sampling_rate)

    def _is_sampled(self, index: int) -> bool:
        return self.renderer == "fluidsynth" or (self.renderer == "both" and index % 2 == 1)

    def _rendering_seed(self, index: int) -> np.random.SeedSequence:
        """As in `generate_piece`; a fresh one each time, since it counts what it has spawned."""
        return np.random.SeedSequence([self.seed, index], spawn_key=(1_000_000,))


def write_corpus(
    folder: str | Path,
    num_pieces: int,
    duration_s: float = 30.0,
    seed: int = 0,
    sampling_rate: int = 24000,
    renderer: str = "builtin",
    workers: int = 1,
) -> None:
    """Write a corpus of synthetic pieces; pieces that are there already are kept.

    Writes `piece_00000.flac` (16 bit), `piece_00000.json` (its `PieceLabels`), and so on, and `corpus.json` with the
    settings. Piece k depends on the seed, on k and on the renderer only, so a corpus can be made longer by calling this again
    with more pieces. Every file is complete or absent, whenever the writing is interrupted.

    Args:
        num_pieces: 1 to 100000.
        duration_s: Length of each piece in seconds.
        seed: From 0 to 2**32 - 1.
        sampling_rate: In Hz.
        renderer: One of `CORPUS_RENDERERS`. Sampled instruments are those of the training soundfont
            (`mert_hf.synthetic.sound.soundfonts`), of each piece other General MIDI programs, in a room.
        workers: At most so many processes, which change nothing of the result; a script that asks for several must start under
            `if __name__ == "__main__"`.

    Raises:
        InputError: If an argument is out of its range, the folder holds a corpus of other settings, or the renderer is not
            installed.
    """
    check_settings(duration_s, sampling_rate)
    if not 1 <= num_pieces <= _MOST_PIECES:
        raise InputError(f"num_pieces is {num_pieces!r}; pass a number from 1 to {_MOST_PIECES}.")
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}; pass an integer from 0 to 2**32 - 1.")
    if renderer not in CORPUS_RENDERERS:
        raise InputError(f"renderer {renderer!r} is unknown; known renderers: {', '.join(CORPUS_RENDERERS)}.")
    if workers < 1:
        raise InputError(f"workers is {workers!r}; pass 1 or more.")
    player = None if renderer == "builtin" else find_fluidsynth()
    folder = Path(folder)
    settings = {
        "generator_version": GENERATOR_VERSION,
        "duration_s": float(duration_s),
        "seed": int(seed),
        "sampling_rate": int(sampling_rate),
        "renderer": renderer,
    }
    claim_corpus(folder, settings if player is None else {**settings, "sampled_instruments": player.corpus_version})
    pieces = _Pieces(folder, duration_s, seed, int(sampling_rate), renderer, player)
    missing = [index for index in range(num_pieces) if not all(path.exists() for path in piece_paths(folder, index))]
    jobs = pieces.jobs(missing)
    workers = min(workers, len(jobs), int(len(missing) * duration_s / _LEAST_S_A_WORKER))
    with tqdm(desc="Making music", unit="piece", total=len(missing), disable=not missing) as bar:
        for written in _run(pieces, jobs, workers):
            bar.update(written)


def _run(pieces: _Pieces, jobs: Sequence[Sequence[int]], workers: int) -> Iterator[int]:
    if workers <= 1:
        yield from map(pieces.write, jobs)
        return
    # a process that is forked would take over the threads of torch half alive
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(pieces.write, jobs)
    finally:
        pool.shutdown(cancel_futures=True)
