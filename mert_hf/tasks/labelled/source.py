"""Labelled music as a source of examples: a folder of audio, or a dataset with an audio column."""

import logging
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mert_hf.common.packages import require_packages
from mert_hf.data.corpus import Corpus, load_audio_dataset, open_dataset, open_folder
from mert_hf.tasks.base import SPLITS, Loaded, Source, Task, Windows
from mert_hf.tasks.examples import Cell, Example
from mert_hf.tasks.labelled.labels import Labels, make_labels, read_folder_rows
from mert_hf.tasks.labelled.reading import CLIP_S, SEED, LabelReading, ProblemType
from mert_hf.tasks.labelled.splits import group_tracks, read_split, split_tracks
from mert_hf.tasks.labelled.tables import cell_text
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import digest

logger = logging.getLogger(__name__)

KINDS = {
    "single_label_classification": "multiclass",
    "multi_label_classification": "multilabel",
    "regression": "regression",
}
# Measures, and the one that chooses epochs and layers, that differ from those of the papers: people's classes are seldom even.
OWN_MEASURES = {
    "multiclass": {"monitor": "balanced_accuracy"},
    "multilabel": {"metrics": ("mean_average_precision", "roc_auc"), "monitor": "mean_average_precision"},
}
# Tracks that a note names before it only counts them.
NAMED_TRACKS = 3


@dataclass(frozen=True, kw_only=True)
class _Labelled(Source):
    """What both sources have; no commit of either is known."""

    problem_type: ProblemType = "single_label_classification"  # one label a track, several, or numbers
    reading: LabelReading = field(default_factory=LabelReading)  # of labels, splits and groups
    seed: int = SEED  # of the splits, where none are given
    # file that keeps what the check of the audio found; tracks that have not changed are not checked again
    index: Path | None = None
    report: Path | None = None  # file that lists the tracks that cannot be used, each with its reason

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where it lies, for results and messages."""

    @abstractmethod
    def _open(self) -> tuple[Corpus, Sequence[Mapping[str, Any]], Sequence[Any]]:
        """The checked tracks, and the row and the audio of each that can be used."""

    def load(self, folder: Path | None) -> Loaded:
        """The examples in their splits, after all audio was decoded once."""
        reading, problem_type = self.reading, self.problem_type
        reading.require_columns(problem_type)
        corpus, rows, audio = self._open()
        labels = make_labels(rows, problem_type, reading.label_columns, reading.label_separator)
        groups = group_tracks(rows, map(corpus.source, range(len(corpus.tracks))), reading.group_column)
        splits, split_by = _split(rows, groups, labels, reading, self.seed)
        examples = [
            Example(track.name, audio[number], labels.of(number), group=groups[number], number=number, track=track)
            for number, track in enumerate(corpus.tracks)
        ]
        chosen = {split: [examples[number] for number in splits[split]] for split in SPLITS}
        content = [[(one.name, one.track.stamp, one.group, one.label) for one in chosen[split]] for split in SPLITS]
        notes = (f"splits {split_by}", *_notes(corpus))
        return Loaded(chosen, tuple(labels.names), self.origin, {}, digest([labels.names, content]), notes, split_by)

    def _require_usable(self, corpus: Corpus) -> None:
        if self.report is not None:
            corpus.write_skipped(self.report)
        for track in corpus.skipped[:NAMED_TRACKS]:
            logger.warning("%s is skipped: %s", track.name, track.skipped_because)
        corpus.require_usable(self.reading.max_skipped, self.report or "the lines above")


@dataclass(frozen=True)
class LabelledFolder(_Labelled):
    """A folder of audio with labels beside it."""

    folder: str | Path  # with one sub-folder a label, or a table; see [`mert_hf.tasks.labelled.labels.read_folder_rows`]

    @property
    def origin(self) -> str:
        return str(Path(self.folder).expanduser())

    def describe(self) -> str:
        return (
            f"{self.folder} with one sub-folder a label, or a metadata.csv or metadata.jsonl (file_name,"
            f" {', '.join(self.reading.label_columns)})"
        )

    def _open(self):
        corpus = open_folder(self.origin, self.reading.min_track_s, index=self.index)
        self._require_usable(corpus)
        rows = read_folder_rows(Path(self.origin), corpus, self.reading.label_columns[0], self.reading.split_column)
        return corpus, rows, list(map(corpus.source, range(len(corpus.tracks))))


@dataclass(frozen=True)
class LabelledDataset(_Labelled):
    """A dataset of the Hub, or one saved with `save_to_disk`, with a column of audio and one of labels."""

    name: str  # id, or folder
    split: str = "train"  # of the dataset, which is split again here
    column: str = "audio"  # of the audio

    @property
    def origin(self) -> str:
        return self.name

    def describe(self) -> str:
        return f"dataset {self.name}, columns {self.column}, {', '.join(self.reading.label_columns)}"

    def needs_download(self, folder: Path | None) -> bool:
        return not Path(self.name).expanduser().is_dir()

    def _open(self):
        require_packages("train", "datasets")
        from datasets import Audio

        dataset = load_audio_dataset(self.name, self.split)
        corpus = open_dataset(dataset, self.column, self.reading.min_track_s, index=self.index)
        self._require_usable(corpus)
        rows = [int(track.name.removeprefix("row ")) for track in corpus.tracks]
        encoded = dataset.cast_column(self.column, Audio(decode=False))
        return corpus, _read_rows(dataset, self.column, rows), [Cell(encoded, row, self.column) for row in rows]


def labelled_task(source: LabelledFolder | LabelledDataset, clip_s: float = CLIP_S) -> Task:
    """Labelled music as a task, of which fine-tuning and probing hear equal clips.

    Args:
        source: where it is.
        clip_s: length of a clip in seconds; what is left at the end counts from half a clip on.
    """
    kind, title = KINDS[source.problem_type], Path(source.origin).name or source.origin
    return Task(
        # no task of the papers has such a name, so that none of their numbers is set beside it
        name="folder_" + re.sub(r"[^\w-]+", "_", title),
        title=title,
        dataset=title,
        kind=kind,
        source=source,
        protocol=MARBLE,
        windows=Windows(duration_s=clip_s, least_s=clip_s / 2),
        **OWN_MEASURES.get(kind, {}),
    )


def _split(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[str], labels: Labels, reading: LabelReading, seed: int
) -> tuple[dict[str, list[int]], str]:
    """Places of the tracks of every split, and how they came there."""
    classes = labels.targets if labels.problem_type == "single_label_classification" else None
    column = reading.split_column
    if column in rows[0]:
        splits = read_split(rows, column, groups, classes, reading.validation_share, seed)
        given = any(cell_text(row[column], column) == "validation" for row in rows)
        return splits, "given with the tracks" + ("" if given else ", validation drawn from train")
    splits = split_tracks(groups, classes, reading.validation_share, reading.test_share, seed)
    what = f"groups of the column {reading.group_column!r}" if reading.group_column in rows[0] else "tracks"
    return splits, f"drawn by {what}; equal files stay together"


def _notes(corpus: Corpus) -> list[str]:
    if not corpus.skipped:
        return []
    named = ", ".join(f"{track.name} ({track.skipped_because})" for track in corpus.skipped[:NAMED_TRACKS])
    more = " ..." if len(corpus.skipped) > NAMED_TRACKS else ""
    return [f"{len(corpus.skipped)} of {len(corpus.skipped) + len(corpus.tracks)} tracks are left out: {named}{more}"]


def _read_rows(dataset, audio_column: str, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Rows without their audio; numbers of a ClassLabel as its names."""
    table = dataset.remove_columns([audio_column])
    named = {name: feature for name, feature in table.features.items() if hasattr(feature, "int2str")}
    read = [dict(table[row]) if table.column_names else {} for row in rows]
    return [{name: _class_name(named[name], value) if name in named else value for name, value in row.items()} for row in read]


def _class_name(feature, number: int | None) -> str | None:
    """None where a row has no class: nothing, or -1 as in test splits without labels."""
    return feature.names[number] if number is not None and 0 <= number < len(feature.names) else None
