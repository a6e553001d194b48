"""GTZAN: ten genres, and beats (GTZAN-Rhythm), on the fault-filtered split (443 / 197 / 290 clips of 30 seconds)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from mert_hf.errors import InputError
from mert_hf.tasks.base import SPLITS, Loaded, Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import HubTable, audio_of, digest

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
    metrics=("accuracy",),
    monitor="accuracy",
    protocol=replace(MARBLE, learning_rate=5e-3, plateau_patience=6, stop_patience=20),
    split_sizes=SIZES,
    layer=7,
)


@dataclass(frozen=True)
class GtzanRhythm:
    """Audio of one Hub dataset and beats of another, joined by the clip's name, such as "blues.00042".

    In a data folder, copies of the repositories are `gtzan_rhythm/audio` and `gtzan_rhythm/annotations`.

    Attributes:
        audio: has a column `file` beside the audio.
        annotations: its column `path` names the clip, and the label column holds times in seconds.
        split: its column whose value is one of `split_names` or another (values never verified; others are named if a split
            stays empty).
    """

    audio: HubTable
    annotations: HubTable
    split: str = "fault_filtered_split"
    split_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def repositories(self) -> tuple[str, ...]:
        """Ids of both."""
        return self.audio.repositories + self.annotations.repositories

    def describe(self) -> str:
        """Both repositories."""
        return f"{self.audio.describe()}; {self.annotations.describe()}, {self.split}"

    def needs_download(self, folder: Path | None) -> bool:
        """See [`Source`]."""
        parts = ((self.audio, "audio"), (self.annotations, "annotations"))
        return any(table.needs_download(_below(folder, name)) for table, name in parts)

    def check(self, folder: Path | None) -> list[str]:
        """See [`Source`]."""
        return self.audio.check(_below(folder, "audio")) + self.annotations.check(_below(folder, "annotations"))

    def pinned(self, revisions: Mapping[str, str]) -> Self:
        """See [`Source`]."""
        return replace(self, audio=self.audio.pinned(revisions), annotations=self.annotations.pinned(revisions))

    def load(self, folder: Path | None) -> Loaded:
        """See [`Source`]."""
        audio, audio_revisions = self.audio.open(_below(folder, "audio"))
        notes, revisions = self.annotations.open(_below(folder, "annotations"))
        rows: dict[str, tuple[Any, int]] = {}
        for table in audio.values():
            self.audio.require_columns(table.column_names, "file")
            rows.update({_clip(name): (table, row) for row, name in enumerate(table["file"])})
        splits: dict[str, list] = {split: [] for split in SPLITS}
        missing, others = [], set()
        for table in notes.values():
            self.annotations.require_columns(table.column_names, "path", self.split)
            columns = (table["path"], table[self.split], table[self.annotations.label])
            for path, split, beats in zip(*columns, strict=True):
                if split not in self.split_names:
                    others.add(split)  # clips that the fault filter left out
                    continue
                clip = _clip(path)
                if clip == DAMAGED:
                    continue
                if clip in rows:
                    splits[self.split_names[split]].append((clip, *rows[clip], tuple(beats)))
                else:
                    missing.append(clip)
        if missing:
            raise InputError(
                f"{len(missing)} clips of {self.annotations.repo_id} are not in {self.audio.repo_id}, such as {missing[0]}."
            )
        for split, clips in splits.items():
            if not clips:
                raise InputError(
                    f"{self.annotations.repo_id} has no clips of the {split} split; {self.split} is one of"
                    f" {', '.join(map(repr, sorted(map(str, others))))} beside {', '.join(self.split_names)}."
                )
        content = [[(clip, beats) for clip, _, _, beats in splits[split]] for split in SPLITS]
        origin = f"{self.audio.origin(_below(folder, 'audio'))} and {self.annotations.origin(_below(folder, 'annotations'))}"
        lazy = {split: _Clips(found, self.audio.audio) for split, found in splits.items()}
        return Loaded(lazy, (), origin, {**audio_revisions, **revisions}, digest(content))


class _Clips(Sequence):
    def __init__(self, clips: list[tuple[str, Any, int, tuple[float, ...]]], column: str):
        self._clips, self._column = clips, column

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> Example:
        clip, table, row, beats = self._clips[index]
        return Example(clip, audio_of(table[row][self._column]), beats)


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
        ),
        split_names={"train": "train", "valid": "validation", "validation": "validation", "test": "test"},
    ),
    metrics=("beat_f1",),
    monitor="beat_f1",
    protocol=replace(MARBLE, plateau_patience=6, stop_patience=20),
    train_windows=Windows(duration_s=10.0),
    random_train_windows=True,
    aggregation="window",
    split_sizes={**SIZES, "train": 442},
    layer=None,
    ours=("validation and test hear the whole clip of 30 s; the times of beats are not rounded to frames",),
)
