"""EmoMusic (1000 songs): arousal and valence of 744 clips of 45 seconds.

Folder `emomusic`, as distributed: `songs_info.csv`, `static_annotations.csv` and `clips_45seconds/<song id>.mp3`. MediaEval
2013's evaluation set is the test split; the rest is split 8 : 2 by the SHA-1 of the artist's name.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.tasks.base import Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import LocalFolder, keyed_rows

SET_COLUMN = "Mediaeval 2013 set"


def _split(row: dict[str, str]) -> str:
    if row[SET_COLUMN] == "evaluation":
        return "test"
    # letters and single spaces of the name in lower case (jukemir, used by MARBLE)
    letters = "".join(letter for letter in row["Artist"].lower() if letter.isascii() and (letter.isalpha() or letter.isspace()))
    value = int(hashlib.sha1(" ".join(letters.split()).encode()).hexdigest(), 16)
    return "train" if value % 10 < 8 else "validation"


def _read(folder: Path) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    songs = keyed_rows(folder / "songs_info.csv", "song_id", ("Artist", SET_COLUMN))
    annotations = keyed_rows(folder / "static_annotations.csv", "song_id", ("mean_arousal", "mean_valence"))
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for number, row in sorted(songs.items()):
        if number not in annotations:
            raise InputError(f"song {number} of {folder / 'songs_info.csv'} has no row in static_annotations.csv.")
        try:
            label = tuple(float(annotations[number][column]) for column in ("mean_arousal", "mean_valence"))
        except ValueError as error:
            raise InputError(f"song {number} of {folder / 'static_annotations.csv'}: {error}.") from None
        splits[_split(row)].append(Example(str(number), folder / "clips_45seconds" / f"{number}.mp3", label))
    return splits, ()


EMOMUSIC = Task(
    name="emomusic",
    title="EmoMusic",
    dataset="emomusic",
    kind="regression",
    source=LocalFolder(
        "songs_info.csv, static_annotations.csv and clips_45seconds/<song id>.mp3, as EmoMusic is distributed",
        ("songs_info.csv", "static_annotations.csv", "clips_45seconds"),
        _read,
    ),
    labels=("arousal", "valence"),
    protocol=replace(MARBLE, plateau_patience=5, stop_patience=20),
    windows=Windows(duration_s=5.0, heard_s=30.0),
    split_sizes={"train": 504, "validation": 115, "test": 125},
    ours=(
        "labels are standardised by the training split while the probe learns, and scored in their own unit; R2 is the same",
    ),
)
