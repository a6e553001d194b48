"""GiantSteps: the key of electronic dance music.

Folder `giantsteps_key` with the two annotation repositories as cloned, and each one's audio in its folder `audio/`:
`giantsteps-mtg-key-dataset/` (training and validation) with `annotations/annotations.txt` and
`annotations/beatport_metadata.txt` (tab-separated), and `giantsteps-key-dataset/` (test, 604 tracks) with
`annotations/key/*.LOFI.key`. Audio is `audio/<id>.LOFI.mp3`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_text
from mert_hf.tasks.base import KEYS, Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import LocalFolder, keyed_rows

TRAIN_FOLDER, TEST_FOLDER = "giantsteps-mtg-key-dataset", "giantsteps-key-dataset"
FLATS = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb"}
# 100 parts training, 16 validation, by the SHA-1 of an artist's name in lower case (jukemir, used by MARBLE)
TRAIN_PARTS, VALIDATION_PARTS = 100, 16


def _artists(row: dict[str, str]) -> list[str]:
    return [artist.strip() for artist in row["ARTIST"].split(",")]


def _validation_artists(metadata: dict[int, dict[str, str]]) -> set[str]:
    """Artists of the validation split: by hash, and, twice, whoever worked with one of them."""
    groups = [_artists(row) for row in metadata.values()]
    hashes = {artist: int(hashlib.sha1(artist.lower().encode()).hexdigest(), 16) for group in groups for artist in group}
    chosen = {artist for artist, value in hashes.items() if value % (TRAIN_PARTS + VALIDATION_PARTS) >= TRAIN_PARTS}
    for _ in range(2):
        for group in groups:
            if chosen.intersection(group):
                chosen.update(group)
    return chosen


def _key(text: str, where: object) -> str:
    tonic, _, mode = text.strip().partition(" ")
    key = f"{FLATS.get(tonic, tonic)} {mode.strip()}"
    if key not in KEYS:
        raise InputError(f"{where}: {text.strip()[:80]!r} is none of the 24 keys, such as 'C major' or 'Bb minor'.")
    return key


def _training_tracks(folder: Path) -> Iterator[tuple[str, Example]]:
    metadata = keyed_rows(folder / "annotations" / "beatport_metadata.txt", "ID", ("ARTIST",), delimiter="\t")
    annotations = keyed_rows(folder / "annotations" / "annotations.txt", "ID", ("C", "MANUAL KEY"), delimiter="\t")
    validation = _validation_artists(metadata)
    for number, row in sorted(annotations.items()):
        # only confident annotations of a single key, as Korzeniowski and Widmer 2018 (jukemir, MARBLE)
        if row["C"] != "2" or "/" in row["MANUAL KEY"]:
            continue
        if number not in metadata:
            raise InputError(f"track {number} of {folder} has no row in beatport_metadata.txt.")
        split = "validation" if validation.intersection(_artists(metadata[number])) else "train"
        audio = folder / "audio" / f"{number}.LOFI.mp3"
        yield split, Example(str(number), audio, _key(row["MANUAL KEY"], folder / "annotations" / "annotations.txt"))


def _read(folder: Path) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for split, example in _training_tracks(folder / TRAIN_FOLDER):
        splits[split].append(example)
    for path in sorted((folder / TEST_FOLDER / "annotations" / "key").glob("*.key")):
        audio = folder / TEST_FOLDER / "audio" / f"{path.stem}.mp3"
        splits["test"].append(Example(path.stem, audio, _key(read_text(path), path)))
    return splits, ()


GIANTSTEPS_KEY = Task(
    name="giantsteps_key",
    title="GiantSteps key",
    dataset="giantsteps_key",
    kind="key",
    source=LocalFolder(
        f"{TRAIN_FOLDER}/ and {TEST_FOLDER}/ as cloned, with the tracks in their folders audio/ as <id>.LOFI.mp3",
        (
            f"{TRAIN_FOLDER}/annotations/annotations.txt",
            f"{TRAIN_FOLDER}/annotations/beatport_metadata.txt",
            f"{TEST_FOLDER}/annotations/key",
        ),
        _read,
    ),
    labels=KEYS,
    protocol=replace(MARBLE, plateau_patience=5, stop_patience=20),
    windows=Windows(duration_s=30.0),
    aggregation="best_ensemble",
    split_sizes={"train": 923, "validation": 236, "test": 604},
)
