"""GTZAN: ten genres, and beats (GTZAN-Rhythm), on the fault-filtered split (443 / 197 / 290 clips of 30 seconds)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from mert_hf.common.errors import InputError
from mert_hf.tasks.base import SPLITS, Check, Loaded, Source, Task, Windows
from mert_hf.tasks.examples import Cell, Example
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import HubTable, digest

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
SIZES = {"train": 443, "validation": 197, "test": 290}
# its audio is damaged in the distributed archive: MARBLE drops it, and the dataset of 999 clips is without it
DAMAGED = "jazz.00054"

GTZAN_GENRE = Task(
    name="gtzan_genre",
    title="GTZAN genre",
    dataset="gtzan",
    kind="multiclass",
    source=HubTable("confit/gtzan-parquet", label="genre"),
    labels=GENRES,
    protocol=replace(MARBLE, learning_rate=5e-3, plateau_patience=6, stop_patience=20),
    split_sizes=SIZES,
)


@dataclass(frozen=True)
class GtzanRhythm(Source):
    """Audio of one Hub dataset and beats of another, joined by the clip's name, such as "blues.00042".

    In a data folder, copies of the repositories are `gtzan_rhythm/audio` and `gtzan_rhythm/annotations`.

    Attributes:
        audio: the label column names the file.
        annotations: the label column holds times in seconds; two others name the clip and its split.
        split_names: our splits by the values of that column (never verified; others are named if a split stays empty).
    """

    audio: HubTable
    annotations: HubTable
    split_names: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        return f"{self.audio.describe()}; {self.annotations.describe()}"

    def needs_download(self, folder: Path | None) -> bool:
        parts = ((self.audio, "audio"), (self.annotations, "annotations"))
        return any(table.needs_download(_below(folder, name)) for table, name in parts)

    def check(self, folder: Path | None) -> Check:
        audio, notes = self.audio.check(_below(folder, "audio")), self.annotations.check(_below(folder, "annotations"))
        return Check(audio.problems + notes.problems, audio.notes + notes.notes)

    def pinned(self, revisions: Mapping[str, str]) -> Self:
        return replace(self, audio=self.audio.pinned(revisions), annotations=self.annotations.pinned(revisions))

    def load(self, folder: Path | None) -> Loaded:
        audio, audio_revisions, audio_print = self.audio.open(_below(folder, "audio"))
        notes, revisions, notes_print = self.annotations.open(_below(folder, "annotations"))
        cells: dict[str, Cell] = {}
        for table in audio.values():
            for row, name in enumerate(table[self.audio.label]):
                if cells.setdefault(_clip(name), cell := Cell(table, row, self.audio.audio)) is not cell:
                    raise InputError(f"{self.audio.repo_id} holds the clip {_clip(name)} twice.")
        splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
        clip_column, split_column = self.annotations.others
        missing, others, seen = [], set(), set()
        for table in notes.values():
            columns = (table[clip_column], table[split_column], table[self.annotations.label])
            for path, split, beats in zip(*columns, strict=True):
                if split not in self.split_names:
                    others.add(split)  # clips that the fault filter left out
                    continue
                clip = _clip(path)
                if clip == DAMAGED:
                    continue
                if clip in seen:
                    raise InputError(f"{self.annotations.repo_id} holds the beats of {clip} twice.")
                seen.add(clip)
                if beats is None:
                    raise InputError(f"{self.annotations.repo_id} has nothing in column {self.annotations.label!r} for {clip}.")
                if clip in cells:
                    splits[self.split_names[split]].append(Example(clip, cells[clip], tuple(beats)))
                else:
                    missing.append(clip)
        if missing:
            raise InputError(
                f"{len(missing)} clips of {self.annotations.repo_id} are not in {self.audio.repo_id}, such as {missing[0]}."
            )
        for split, clips in splits.items():
            if not clips:
                raise InputError(
                    f"{self.annotations.repo_id} has no clips of the {split} split; {split_column} is one of"
                    f" {', '.join(map(repr, sorted(map(str, others))))} beside {', '.join(self.split_names)}."
                )
        content = [[(example.name, example.label) for example in splits[split]] for split in SPLITS]
        origin = f"{self.audio.origin(_below(folder, 'audio'))} and {self.annotations.origin(_below(folder, 'annotations'))}"
        # without the print of the audio, another recording of the same clips would be taken for these
        fingerprint = digest([audio_print, notes_print, content])
        return Loaded(splits, (), origin, {**audio_revisions, **revisions}, fingerprint)


def _below(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


def _clip(name: str) -> str:
    found = re.search(r"([a-z]+)[._](\d{5})", Path(name).name)
    if not found:
        raise InputError(f"{name!r} names no clip of GTZAN, such as blues.00042.wav.")
    return f"{found[1]}.{found[2]}"


GTZAN_RHYTHM = Task(
    name="gtzan_rhythm",
    title="GTZAN rhythm",
    dataset="gtzan_rhythm",
    kind="beats",
    source=GtzanRhythm(
        HubTable("sanchit-gandhi/gtzan", label="file", splits={"train": "train"}),
        HubTable(
            "seungheondoh/gtzan-bind",
            audio="",
            label="beat",
            splits={"train": "gtzan_bind_v1"},
            others=("path", "fault_filtered_split"),
            unverified=("path", "gtzan_bind_v1"),
        ),
        split_names={"train": "train", "valid": "validation", "validation": "validation", "test": "test"},
    ),
    protocol=replace(MARBLE, plateau_patience=6, stop_patience=20),
    train_windows=Windows(duration_s=10.0),
    random_train_windows=True,
    aggregation="window",
    split_sizes={**SIZES, "train": 442},
    ours=("validation and test hear the whole clip of 30 s; the times of beats are not rounded to frames",),
)
