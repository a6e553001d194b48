"""VocalSet: singing technique (10) and singer (20) of 3-second pieces.

Folder `vocalset`, as distributed: `FULL/<singer>/<context>/<technique>/*.wav`, singers `female1` to `female9` and `male1` to
`male11`. Splits follow MARBLE's script: files of a technique are numbered in the order of their names, and all files of one
number are drawn together.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.tasks.base import Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import LocalFolder

TECHNIQUES = ("belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry")
# folders that only the singer task hears
DYNAMICS = ("fast_forte", "fast_piano", "forte", "messa", "pp", "slow_forte", "slow_piano")
SINGERS = (*(f"f{number}" for number in range(1, 10)), *(f"m{number}" for number in range(1, 12)))
TEST_SINGERS = frozenset(["f2", "f8", "m3", "m5", "m10"])
# a duplicate, and files that the paper's table does not have (MARBLE)
LEFT_OUT = frozenset(
    ["f2_scales_vibrato_a(1).wav", "caro_vibrato.wav", "dona_vibrato.wav", "row_vibrato.wav", "slow_vibrato_arps.wav"]
)
SEED = 42617


def _numbered_files(folder: Path) -> list[tuple[str, str, int, Path]]:
    """(singer, technique, number within the technique, path) of every file."""
    by_technique: dict[str, dict[str, tuple[str, Path]]] = {}
    for path in sorted((folder / "FULL").glob("*/*/*/*.wav")):
        technique, person = path.parent.name, path.relative_to(folder).parts[1]
        if technique not in TECHNIQUES + DYNAMICS or path.name.startswith(".") or path.name in LEFT_OUT:
            continue
        found = re.fullmatch(r"(fe)?male(\d+)", person)
        singer = f"{'f' if found[1] else 'm'}{found[2]}" if found else ""
        if singer not in SINGERS:
            raise InputError(f"{path}: {person!r} is no singer of VocalSet (female1 to female9, male1 to male11).")
        # some names lack the singer, who is known by the folder
        name = path.name if path.name.startswith(f"{singer}_") else f"{singer}_{path.name}"
        by_technique.setdefault(technique, {})[name] = (singer, path)
    return [
        (singer, technique, number, path)
        for technique, files in sorted(by_technique.items())
        for number, (_, (singer, path)) in enumerate(sorted(files.items()))
    ]


def draw_groups(random: np.random.RandomState, numbers: set[int], share: float) -> set[int]:
    """The held-out groups as scikit-learn's GroupShuffleSplit draws them."""
    ordered = np.array(sorted(numbers))
    return set(ordered[random.permutation(len(ordered))[: int(np.ceil(share * len(ordered)))]].tolist())


def _read(folder: Path, by: str) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    files = _numbered_files(folder)
    random = np.random.RandomState(SEED)  # the script draws all splits from one stream, the technique's first
    trained = {number for singer, technique, number, _ in files if technique in TECHNIQUES and singer not in TEST_SINGERS}
    technique_validation = draw_groups(random, trained, 0.4)
    numbers = {number for _, _, number, _ in files}
    singer_test = draw_groups(random, numbers, 0.2)
    singer_validation = draw_groups(random, numbers - singer_test, 0.4)
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for singer, technique, number, path in files:
        if by == "technique":
            if technique not in TECHNIQUES:
                continue
            is_test, is_validation, label = singer in TEST_SINGERS, number in technique_validation, technique
        else:
            is_test, is_validation, label = number in singer_test, number in singer_validation, singer
        split = "test" if is_test else "validation" if is_validation else "train"
        splits[split].append(Example(path.relative_to(folder).as_posix(), path, label))
    return splits, ()


LAYOUT = "FULL/<singer>/<context>/<technique>/*.wav, as VocalSet is distributed"

VOCALSET_TECHNIQUE = Task(
    name="vocalset_technique",
    title="VocalSet technique",
    dataset="vocalset",
    kind="multiclass",
    source=LocalFolder(LAYOUT, ("FULL",), partial(_read, by="technique")),
    labels=TECHNIQUES,
    protocol=replace(MARBLE, plateau_patience=5, stop_patience=10),
    windows=Windows(duration_s=3.0, standardise=True),
    aggregation="window",
    ours=("silence at the beginning is not trimmed, and files under 3 s are heard as they are: the drawn groups may differ",),
)

VOCALSET_SINGER = replace(
    VOCALSET_TECHNIQUE,
    name="vocalset_singer",
    title="VocalSet singer",
    source=LocalFolder(LAYOUT, ("FULL",), partial(_read, by="singer")),
    labels=SINGERS,
    protocol=replace(MARBLE, plateau_patience=5, stop_patience=20),
)
