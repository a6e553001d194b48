"""MUSDB18-HQ: 150 songs and their four stems.

Folder `musdb18`, as MUSDB18-HQ is distributed: `train/` (100 songs) and `test/` (50), one folder a song with `mixture.wav`,
`vocals.wav`, `drums.wav`, `bass.wav`, `other.wav`. Fourteen songs of `train/` are the validation split (musdb's mus.yaml).
"""

from dataclasses import replace
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.tasks.base import Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import LocalFolder

STEMS = ("vocals", "drums", "bass", "other")
VALIDATION_SONGS = frozenset(
    [
        "ANiMAL - Rockshow",
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    ]
)


def _read(folder: Path) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for part in ("train", "test"):
        for song in sorted(path for path in (folder / part).iterdir() if path.is_dir()):
            if not (song / "mixture.wav").exists() and (song / "mixture.flac").exists():
                raise InputError(f"{song} holds flac files; MUSDB18-HQ's songs are mixture.wav and one wav a stem.")
            split = "validation" if part == "train" and song.name in VALIDATION_SONGS else part
            stems = tuple(song / f"{stem}.wav" for stem in STEMS)
            splits[split].append(Example(f"{part}/{song.name}", song / "mixture.wav", stems))
    return splits, ()


MUSDB18 = Task(
    name="musdb18",
    title="MUSDB18 separation",
    dataset="musdb18",
    kind="separation",
    source=LocalFolder(
        "train/ and test/ of MUSDB18-HQ, one folder a song with mixture.wav, vocals.wav, drums.wav, bass.wav, other.wav",
        ("train", "test"),
        _read,
    ),
    labels=STEMS,
    protocol=replace(MARBLE, head="lstm", plateau_patience=3, stop_patience=10),
    windows=Windows(duration_s=30.0, least_s=1.0),
    train_windows=Windows(duration_s=6.0),
    random_train_windows=True,
    aggregation="window",
    split_sizes={"train": 86, "validation": 14, "test": 50},
    ours=(
        "separated and scored in mono at the model's rate; mixture and stems are the means of their channels",
        "a three-layer LSTM of 512 in one direction gives the masks of all four stems at once, from 0 to 1",
        "spectrum: Hann window of 2048 samples, hop of the model's frames; a frame takes the features of its time",
        "mean squared error of magnitudes, as in MARBLE's unfinished code; no Wiener filter after it",
        "training hears random crops of 6 s, one a song and epoch; the test hears windows of 30 s one after another",
        "frames of one second in which a stem or its estimate is silent do not count (BSS-eval)",
    ),
)
