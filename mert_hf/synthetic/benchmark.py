"""Audio of the synthetic benchmark: single notes and short pieces in three splits made from separate vocabularies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mert_hf.audio.writing import encode_flac
from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder, write_atomically
from mert_hf.models.audio_reading_mert import read_audio
from mert_hf.synthetic.corpus import GENERATOR_VERSION
from mert_hf.synthetic.score.benchmark_vocabularies import VOCABULARIES
from mert_hf.synthetic.score.chance import between
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.instruments import INSTRUMENT_TABLE, INSTRUMENTS
from mert_hf.synthetic.score.labels import Note, PieceLabels, Score
from mert_hf.synthetic.score.vocabulary import draw_either_side
from mert_hf.synthetic.sound.fluidsynth import Clip, find_fluidsynth
from mert_hf.synthetic.sound.noise import in_pink_noise
from mert_hf.synthetic.sound.oscillators import FloatArray
from mert_hf.synthetic.sound.render import render
from mert_hf.synthetic.sound.soundfonts import TEST_SOUNDFONT, TEST_SOUNDFONT_VARIABLE

BENCHMARK_VERSION = 1
"""Raised whenever an item of the benchmark is another than before."""

SAMPLING_RATE = 24000
NOTE_S, PIECE_S = 1.0, 10.0
LOWEST_PITCH, HIGHEST_PITCH = 36, 84
SIZES: Mapping[str, Mapping[str, int]] = {
    "notes": {"train": 880, "validation": 220, "test": 440},
    "pieces": {"train": 320, "validation": 80, "test": 160},
}
RENDERERS = ("builtin", "fluidsynth")
# How much weaker than the music the noise of the test in noise is, and the folder of those clips.
NOISE_DB, NOISY = 10.0, "in_noise"

# Seeds of the corpus are two numbers, these are four, and none ends in a zero (see `generate_piece`).
_SEED = 230_600_107
_DATASETS = {"notes": 1, "pieces": 2}
_SPLITS = {"train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True)
class Item:
    """One note or piece: its name, the file of its audio, and what is played."""

    name: str
    audio: Path
    score: PieceLabels | Score


def item_seed(dataset: str, split: str, index: int) -> list[int]:
    """Seed of one item; no corpus of `write_corpus` has it."""
    return [_SEED, _DATASETS[dataset], _SPLITS[split], index + 1]


@cache
def make_score(dataset: str, split: str, index: int) -> PieceLabels | Score:
    """What is played in an item: a piece of ten seconds, or one note; instruments take turns."""
    seed, vocabulary = item_seed(dataset, split, index), VOCABULARIES[split]
    if dataset == "pieces":
        return compose(seed, PIECE_S, vocabulary)
    rng = np.random.default_rng(seed)
    name = INSTRUMENTS[index % len(INSTRUMENTS)]
    lowest = max(INSTRUMENT_TABLE[name].lowest, LOWEST_PITCH)
    highest = min(INSTRUMENT_TABLE[name].highest, HIGHEST_PITCH)
    onset_s = between(rng, 0.0, 0.15)
    offset_s = onset_s + between(rng, 0.25, 0.75)
    note = Note(onset_s, offset_s, int(rng.integers(lowest, highest + 1)), int(rng.integers(35, 115)), name)
    return Score([note], [], round(draw_either_side(rng, vocabulary.tuning_cents), 2))


def benchmark_items(folder: str | Path, dataset: str, split: str) -> list[Item]:
    """The items of a split, whether or not their audio has been written."""
    named = [f"{split}/{dataset}_{index:05d}" for index in range(SIZES[dataset][split])]
    return [Item(name, Path(folder) / f"{name}.flac", make_score(dataset, split, index)) for index, name in enumerate(named)]


def benchmark_version(renderer: str) -> str:
    """What the audio depends on, for caches and results; InputError where there is no such renderer, or it is not installed."""
    version = f"generator {GENERATOR_VERSION}, benchmark {BENCHMARK_VERSION}"
    if renderer not in RENDERERS:
        raise InputError(f"renderer {renderer!r} is unknown; known renderers: {', '.join(RENDERERS)}.")
    return version if renderer == "builtin" else f"{version}, {find_fluidsynth().version}"


def benchmark_notes(renderer: str) -> tuple[str, ...]:
    """What is to be known about the audio beside its version; errors as in [`benchmark_version`]."""
    benchmark_version(renderer)  # refuses what is no renderer
    if renderer == "builtin" or not (player := find_fluidsynth()).one_for_all:
        return ()
    return (
        f"all splits are played with one soundfont, {player.soundfont.path.name}; install {TEST_SOUNDFONT} or set"
        f" {TEST_SOUNDFONT_VARIABLE} to another one for test",
    )


def write_benchmark(folder: str | Path, dataset: str, renderer: str = "builtin") -> None:
    """Render what is missing of a dataset into a folder: `<split>/<dataset>_00000.flac` and so on, 16 bit at 24 kHz.

    Every file is there completely or not at all, so an interrupted run goes on where it was.

    Raises:
        InputError: the renderer is unknown or not installed, or the folder holds a benchmark of another version.
    """
    folder = Path(folder)
    _claim(folder, benchmark_version(renderer))
    items = [
        (split, index, item) for split in SIZES[dataset] for index, item in enumerate(benchmark_items(folder, dataset, split))
    ]
    missing = [place for place in items if not place[2].audio.exists()]
    num_samples = round((PIECE_S if dataset == "pieces" else NOTE_S) * SAMPLING_RATE)
    clips = [
        (item.score, np.random.SeedSequence(item_seed(dataset, split, index), spawn_key=(1_000_000,)), VOCABULARIES[split])
        for split, index, item in missing
    ]
    played = _play(renderer, clips, num_samples)
    for _, _, item in tqdm(missing, desc=f"Rendering {dataset}", unit="clip", disable=not missing):
        item.audio.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(item.audio, encode_flac(next(played), SAMPLING_RATE))


def write_in_noise(folder: str | Path, dataset: str) -> Path:
    """The test clips of a folder that `write_benchmark` has filled, each in pink noise of its own; what is missing is made.

    Returns:
        The folder that holds them, laid out alike: `test/<dataset>_00000.flac` and so on.
    """
    folder = Path(folder)
    clean, noisy = (benchmark_items(place, dataset, "test") for place in (folder, folder / NOISY))
    missing = [place for place, item in enumerate(noisy) if not item.audio.exists()]
    for place in tqdm(missing, desc=f"Adding noise to {dataset}", unit="clip", disable=not missing):
        seed = np.random.SeedSequence(item_seed(dataset, "test", place), spawn_key=(1_000_001,))
        heard = in_pink_noise(
            read_audio(clean[place].audio, SAMPLING_RATE), NOISE_DB, SAMPLING_RATE, np.random.default_rng(seed)
        )
        noisy[place].audio.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(noisy[place].audio, encode_flac(heard, SAMPLING_RATE))
    return folder / NOISY


def _play(renderer: str, clips: Sequence[Clip], num_samples: int) -> Iterator[FloatArray]:
    if renderer == "fluidsynth":
        yield from find_fluidsynth().render_all(clips, num_samples, SAMPLING_RATE)
        return
    for score, seed, vocabulary in clips:
        yield render(score, num_samples, SAMPLING_RATE, seed, vocabulary)


def _claim(folder: Path, version: str) -> None:
    changed = claim_folder(folder / "benchmark.json", {"version": version})
    if "version" in changed:
        found = changed["version"][0] or "an unknown version"
        raise InputError(
            f"{folder} holds a synthetic benchmark of {found}, not of {version}; choose another folder or delete it."
        )
