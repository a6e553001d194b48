"""The labelled tracks of a fine-tuning run: audio, labels and splits, from a folder, a dataset or rendered."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mert_hf.data.corpus import Corpus, load_audio_dataset, open_dataset, open_folder
from mert_hf.finetuning.labels import Labels, make_labels, read_folder_rows
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings
from mert_hf.finetuning.splits import group_tracks, read_split, split_tracks
from mert_hf.finetuning.tables import cell_text

logger = logging.getLogger(__name__)


@dataclass
class LabelledCorpus:
    """Tracks, their labels, and which are trained on, choose the epoch, and are measured."""

    corpus: Corpus
    labels: Labels
    splits: dict[str, list[int]]
    split_by: str

    def facts(self) -> dict[str, str]:
        """What changes when the tracks, their labels or their splits do."""
        labels = [self.labels.names, self.labels.targets.tolist()]
        return {
            "tracks": self.corpus.fingerprint(),
            "labels": hashlib.sha256(json.dumps(labels).encode()).hexdigest(),
            "splits": hashlib.sha256(json.dumps(self.splits).encode()).hexdigest(),
        }


def open_labelled_corpus(settings: FinetuneSettings, run: FinetuneFolder, sampling_rate: int) -> LabelledCorpus:
    """Tracks with labels and their splits; what cannot be used is listed in `skipped.jsonl`.

    Raises:
        InputError: unusable tracks, labels or splits.
    """
    data, index, report = settings.data, run.tracks, run.skipped
    if data.dataset is not None:
        dataset = load_audio_dataset(data.dataset, data.dataset_split)
        corpus = open_dataset(dataset, data.dataset_column, data.min_track_s, index=index)
        corpus.write_skipped(report)
        corpus.require_usable(data.max_skipped, report)
        rows = _dataset_rows(dataset, data.dataset_column, corpus)
    else:
        audio = Path(data.folder).expanduser() if data.folder is not None else _render(settings, run.folder, sampling_rate)
        corpus = open_folder(audio, data.min_track_s, index=index)
        corpus.write_skipped(report)
        corpus.require_usable(data.max_skipped, report)
        rows = read_folder_rows(audio, corpus, data.label_columns[0], data.split_column)
    labels = make_labels(rows, settings.model.problem_type, data.label_columns, data.label_separator)
    groups = group_tracks(rows, [corpus.source(track) for track in range(len(corpus.tracks))], data.group_column)
    classes = labels.targets if settings.model.problem_type == "single_label_classification" else None
    if data.split_column in rows[0]:
        splits = read_split(rows, data.split_column, groups, classes, data.validation_share, settings.training.seed)
        given = any(cell_text(row[data.split_column], data.split_column) == "validation" for row in rows)
        split_by = "given with the tracks" + ("" if given else ", validation drawn from train")
    else:
        splits = split_tracks(groups, classes, data.validation_share, data.test_share, settings.training.seed)
        what = f"groups of the column {data.group_column!r}" if data.group_column in rows[0] else "tracks"
        split_by = f"drawn by {what}; equal files stay together"
    sizes = ", ".join(f"{name} {len(tracks)}" for name, tracks in splits.items())
    logger.info("Tracks: %s (%s); %d skipped", sizes, split_by, len(corpus.skipped))
    _report_imbalance(labels, splits)
    return LabelledCorpus(corpus, labels, splits, split_by)


def _report_imbalance(labels: Labels, splits: dict[str, list[int]]) -> None:
    counts = labels.counts(splits["train"])
    if not counts:
        return
    rarest, commonest = min(counts, key=counts.get), max(counts, key=counts.get)
    logger.info(
        "Classes: %d; commonest %s (%d tracks to train on), rarest %s (%d)",
        len(counts),
        commonest,
        counts[commonest],
        rarest,
        counts[rarest],
    )
    unheard = [name for name, count in counts.items() if count == 0]
    if unheard:
        logger.warning("No track to train on for %s: the model cannot learn them", ", ".join(unheard))
    elif counts[commonest] > 10 * counts[rarest]:
        logger.warning("The classes are far from even: read balanced_accuracy and macro_f1, not accuracy")


def _render(settings: FinetuneSettings, folder: Path, sampling_rate: int) -> Path:
    from mert_hf.synthetic.labelled_corpus import write_labelled_corpus

    data = settings.data
    audio = folder / f"synthetic_{data.synthetic}"
    logger.info(
        "Neither data.folder nor data.dataset is given: rendering %d pieces, labelled by %s",
        data.synthetic_pieces,
        data.synthetic,
    )
    write_labelled_corpus(
        audio, data.synthetic, data.synthetic_pieces, data.synthetic_piece_s, settings.training.seed, sampling_rate
    )
    return audio


def _dataset_rows(dataset, audio_column: str, corpus: Corpus) -> list[dict[str, Any]]:
    """Rows of the usable tracks without their audio; numbers of a ClassLabel as its names."""
    table = dataset.remove_columns([audio_column])
    named = {name: feature for name, feature in table.features.items() if hasattr(feature, "int2str")}
    rows = []
    for track in corpus.tracks:
        row = dict(table[int(track.name.removeprefix("row "))]) if table.column_names else {}
        rows.append({name: _class_name(named[name], value) if name in named else value for name, value in row.items()})
    return rows


def _class_name(feature, number: int | None) -> str | None:
    """None where a row has no class: nothing, or -1 as in test splits without labels."""
    return feature.names[number] if number is not None and 0 <= number < len(feature.names) else None
