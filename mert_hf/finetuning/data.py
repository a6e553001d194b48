"""The data of a fine-tuning run: a task's examples as tracks that clips are cut from, with their targets and splits."""

import hashlib
import json
import logging
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mert_hf.audio import AudioSource
from mert_hf.common.errors import InputError
from mert_hf.data.corpus import Corpus
from mert_hf.data.tracks import Track, check_all, check_track, read_index, write_index
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings, find_task
from mert_hf.tasks.base import SPLITS, Task, TaskData, Windows
from mert_hf.tasks.examples import Cell, Example, Waveform
from mert_hf.tasks.labelled import LabelledDataset, LabelledFolder, labelled_task

logger = logging.getLogger(__name__)

# Any audio of a task is an example, however short.
NO_LEAST_S = 0.0


class Tracks(Corpus):
    """Examples as a corpus: the part of the audio that each of them means, as the task's windows have it heard.

    Args:
        title: where they are, for messages.
        tracks, examples: all of them, checked.
    """

    def __init__(self, title: str, tracks: Sequence[Track], examples: Sequence[Example], windows: Windows):
        super().__init__(title, tracks, _Sources(examples))
        self.examples = [example for example, track in zip(examples, tracks, strict=True) if track.skipped_because is None]
        self._heard_s, self._standardise = windows.heard_s, windows.standardise

    def length(self, index: int, sampling_rate: int) -> int:
        example, whole = self.examples[index], super().length(index, sampling_rate)
        stop = whole if example.end_s is None else min(round(example.end_s * sampling_rate), whole)
        length = stop - round(example.start_s * sampling_rate)
        return length if self._heard_s is None else min(length, round(self._heard_s * sampling_rate))

    def read(self, index: int, sampling_rate: int, start: int = 0, num_samples: int | None = None) -> np.ndarray:
        num_samples = self.length(index, sampling_rate) - start if num_samples is None else num_samples
        start += round(self.examples[index].start_s * sampling_rate)
        samples = super().read(index, sampling_rate, start, num_samples)
        return (samples - samples.mean()) / (samples.std() + 1e-7) if self._standardise else samples


class _Sources(Sequence):
    """The audio of examples, fetched when it is read."""

    def __init__(self, examples: Sequence[Example]):
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: int) -> AudioSource:
        audio = self._examples[place].audio
        if isinstance(audio, Waveform):
            raise InputError(f"{self._examples[place].name} is no file; fine-tuning reads files.")
        return audio.source() if isinstance(audio, Cell) else audio


@dataclass
class FinetuneData:
    """A task's tracks, and which are trained on, choose the epoch, and are measured."""

    task_data: TaskData  # what the task gave
    tracks: Tracks  # of all splits, in one order
    targets: np.ndarray  # of each track, see [`mert_hf.tasks.base.Kind`]
    splits: dict[str, list[int]]  # places of the tracks of every split
    notes: tuple[str, ...]  # of the task's data, and what is heard otherwise than by a probe

    @property
    def task(self) -> Task:
        """The task."""
        return self.task_data.task

    @property
    def labels(self) -> list[str]:
        """The classes, or the names of the numbers."""
        return list(self.task_data.labels)

    def counts(self, split: str) -> dict[str, int]:
        """Tracks of each class in a split; nothing for regression."""
        targets = self.targets[np.asarray(self.splits[split], dtype=int)]
        if self.task.kind == "regression":
            return {}
        if self.task.kind == "multilabel":
            return {name: int(count) for name, count in zip(self.labels, targets.sum(0), strict=True)}
        counted = Counter(targets.tolist())
        return {name: counted[number] for number, name in enumerate(self.labels)}

    def facts(self) -> dict[str, str]:
        """What changes when the tracks, their labels or their splits do."""
        labels = [self.labels, self.targets.tolist()]
        return {
            "tracks": self.tracks.fingerprint(),
            "labels": hashlib.sha256(json.dumps(labels).encode()).hexdigest(),
            "splits": hashlib.sha256(json.dumps(self.splits).encode()).hexdigest(),
        }


def open_data(settings: FinetuneSettings, run: FinetuneFolder, sampling_rate: int) -> FinetuneData:
    """The labelled tracks of a run; what cannot be used is listed in `skipped.jsonl`.

    Raises:
        InputError: unusable tracks, labels or splits.
    """
    task_data = _choose_task(settings, run, sampling_rate).load(settings.data.task_folder)
    data = arrange(task_data, run, settings.data.max_skipped)
    sizes = ", ".join(f"{name} {len(tracks)}" for name, tracks in data.splits.items())
    logger.info("Tracks: %s (%s); %d skipped", sizes, task_data.split_by, len(data.tracks.skipped))
    _report_imbalance(data)
    return data


def arrange(task_data: TaskData, run: FinetuneFolder, max_skipped: float) -> FinetuneData:
    """Put the examples of all splits into one order, and check the audio that was not checked yet.

    Args:
        run: keeps what the check found, and lists what cannot be used.
        max_skipped: largest share of tracks that may be unusable.

    Raises:
        InputError: more of them are, or a label is none of the task's.
    """
    task = task_data.task
    named = [(split, example) for split in SPLITS for example in task_data.splits[split]]
    if all(example.number is not None for _, example in named):
        named.sort(key=lambda pair: pair[1].number)
    examples = [example for _, example in named]
    if all(example.track is not None for example in examples):
        tracks = Tracks(task_data.origin, [example.track for example in examples], examples, task.windows)
    else:
        tracks = Tracks(task_data.origin, _check(task_data, named, run), examples, task.windows)
        tracks.write_skipped(run.skipped)
        tracks.require_usable(max_skipped, run.skipped)
        lost = {track.name for track in tracks.skipped}
        named = [pair for pair in named if _name(*pair) not in lost]
    splits = {split: [place for place, (of, _) in enumerate(named) if of == split] for split in SPLITS}
    empty = [split for split in SPLITS if not splits[split]]
    if empty:
        raise InputError(f"{task.name}: no track is left for {', '.join(empty)}; the reasons are listed in {run.skipped}.")
    targets = np.array([task_data.target(example) for _, example in named])
    quiet = ("quiet windows are heard as well",) if task.windows.least_rms else ()
    return FinetuneData(task_data, tracks, targets, splits, (*task_data.notes, *quiet))


def _check(task_data: TaskData, named: Sequence[tuple[str, Example]], run: FinetuneFolder) -> list[Track]:
    known, sources = read_index(run.tracks, NO_LEAST_S, "full"), _Sources([example for _, example in named])

    def examine(place: int) -> Track:
        name, source = _name(*named[place]), sources[place]
        stamp = (zlib.crc32(task_data.fingerprint.encode()), len(named))  # of rows; files are told by their own
        if isinstance(source, Path) and source.is_file():
            stamp = (source.stat().st_size, source.stat().st_mtime_ns)
        if name in known and known[name].stamp == stamp:
            return known[name]
        return replace(check_track(name, source, NO_LEAST_S, "full"), stamp=stamp)

    def keep(found: list[Track]) -> None:
        write_index(run.tracks, NO_LEAST_S, "full", found)

    return check_all(range(len(named)), examine, known, keep, None)


def _name(split: str, example: Example) -> str:
    """Unique among all splits, as an example's own is within one."""
    return f"{split}: {example.name}"


def _choose_task(settings: FinetuneSettings, run: FinetuneFolder, sampling_rate: int) -> Task:
    if settings.task is not None:
        return find_task(settings.task)
    data = settings.data
    common = {
        "problem_type": settings.model.problem_type,
        "reading": data,
        "seed": settings.training.seed,
        "index": run.tracks,
        "report": run.skipped,
    }
    if data.dataset is not None:
        return labelled_task(LabelledDataset(data.dataset, data.dataset_split, data.dataset_column, **common), data.clip_s)
    folder = data.folder if data.folder is not None else _render(settings, run.folder, sampling_rate)
    return labelled_task(LabelledFolder(folder, **common), data.clip_s)


def _render(settings: FinetuneSettings, folder: Path, sampling_rate: int) -> Path:
    from mert_hf.synthetic.labelled_corpus import write_labelled_corpus

    data = settings.data
    kind, count = data.synthetic, data.synthetic_pieces
    audio = folder / f"synthetic_{kind}"
    logger.info("No task, data.folder or data.dataset is given: rendering %d pieces, labelled by %s", count, kind)
    write_labelled_corpus(audio, kind, count, data.synthetic_piece_s, settings.training.seed, sampling_rate)
    return audio


def _report_imbalance(data: FinetuneData) -> None:
    counts = data.counts("train")
    if not counts:
        return
    rarest, commonest = min(counts, key=counts.get), max(counts, key=counts.get)
    told = "Classes: %d; commonest %s (%d tracks to train on), rarest %s (%d)"
    logger.info(told, len(counts), commonest, counts[commonest], rarest, counts[rarest])
    unheard = [name for name, count in counts.items() if count == 0]
    if unheard:
        logger.warning("No track to train on for %s: the model cannot learn them", ", ".join(unheard))
    elif counts[commonest] > 10 * counts[rarest]:
        logger.warning("The classes are far from even: read balanced_accuracy and macro_f1, not accuracy")
