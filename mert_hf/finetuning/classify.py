"""A fine-tuned model on songs: what it says of each, as the test of its fine-tuning judged, the mean over a song's clips."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForAudioClassification

from mert_hf.architectures import architecture_of
from mert_hf.audio import AudioError
from mert_hf.common.errors import InputError
from mert_hf.common.files import is_there
from mert_hf.common.reading import read_json
from mert_hf.data.corpus import open_folder
from mert_hf.data.tracks import Track, check_track
from mert_hf.encoding.licences import note_licence
from mert_hf.encoding.loading import as_folder, load_extractor, load_model, loading
from mert_hf.finetuning.clips import Collator, EvaluationClips
from mert_hf.finetuning.data import NO_LEAST_S, Tracks
from mert_hf.finetuning.scores import probabilities
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import Windows
from mert_hf.tasks.examples import Example

# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Song:
    """A file, and what was found in it: `values` (classes,), probabilities or numbers; or why it cannot be read."""

    file: str
    values: np.ndarray | None = None
    unreadable_because: str | None = None


class SongClassifier:
    """A model that was fine-tuned with this package, its classes, and how its test heard a song.

    Args:
        model: folder of the run or of the model, or a repository.
        clip_s: length of a clip in seconds; by default that of the training, which `results.json` beside the model tells.
        batch_size: clips at a time.
        device: of torch; by default the first GPU, or the CPU.

    Attributes:
        labels: names of the classes, or of the numbers.
        problem_type: as transformers names it: one label, several, or numbers.

    Raises:
        InputError: it cannot be loaded, was not fine-tuned to label clips, or the length of its clips is not known.
    """

    def __init__(self, model: str | os.PathLike, clip_s: float | None = None, batch_size: int = 16, device: str | None = None):
        name = os.fspath(model)
        folder = as_folder(name)
        if folder is not None and not (folder / "config.json").is_file() and (folder / "model").is_dir():
            folder = folder / "model"
        source, results = name, {}
        if folder is not None:
            source = str(folder)
            told = next((place for place in (folder, folder.parent) if (place / "results.json").is_file()), None)
            results = read_json(told / "results.json") if told is not None else {}
        with loading(name, source) as place:
            config = AutoConfig.from_pretrained(place)
        found = architecture_of(config)
        if found is None or found.clip_classifier is None or found.clip_classifier.__name__ not in (config.architectures or ()):
            raise InputError(f"{name} was not fine-tuned to label music; give a run of `mert-hf finetune`, or its model.")
        self.clip_s = results.get("clip_s") if clip_s is None else clip_s
        if not isinstance(self.clip_s, int | float) or not 0 < self.clip_s <= 3600:
            where = (
                f"--clip_s {clip_s:g} must lie within (0, 3600]"
                if clip_s is not None
                else "the length of its clips is not known"
            )
            raise InputError(f"{name}: {where}; give that of its training, such as --clip_s 5.")
        task = TASKS.get(results.get("task"))
        self._windows = Windows() if task is None else task.windows
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = load_model(AutoModelForAudioClassification, source, name, dtype=torch.float32).eval().to(self._device)
        extractor = MERTFeatureExtractor.for_model(load_extractor(source, name), config)
        self._collate, self._rate, self._batch_size = Collator(extractor), extractor.sampling_rate, batch_size
        self.labels = [config.id2label[number] for number in range(config.num_labels)]
        self.problem_type = config.problem_type or "single_label_classification"
        note_licence(source)

    def classify(self, sources: Sequence[str | os.PathLike]) -> Iterator[Song]:
        """Every file of `sources`, in their order; a folder stands for all audio files below it.

        Raises:
            InputError: one of them is not there, or a folder holds no audio.
        """
        for source in sources:  # said before hours of work
            if not is_there(source):
                raise InputError(f"{source} does not exist; give audio files, or folders of them.")
        for source in map(Path, sources):
            if not source.is_dir():
                yield self._classify(str(source), source, check_track(str(source), source, NO_LEAST_S, "full"))
                continue
            corpus = open_folder(source, NO_LEAST_S)
            for track in sorted((*corpus.tracks, *corpus.skipped), key=lambda track: track.name):
                yield self._classify(str(source / track.name), source / track.name, track)

    def _classify(self, name: str, file: Path, track: Track) -> Song:
        if track.skipped_because is not None:
            return Song(name, unreadable_because=track.skipped_because)
        tracks = Tracks(name, [track], [Example(name, file, None)], self._windows)
        clip_samples, targets = round(self.clip_s * self._rate), np.zeros(1)
        clips = EvaluationClips(tracks, targets, [0], clip_samples, self._rate, most=self._windows.most)
        try:
            logits = [self._logits(clips, start) for start in range(0, len(clips), self._batch_size)]
        except AudioError as error:
            return Song(name, unreadable_because=str(error))
        return Song(name, clips.mean_by_track(probabilities(np.concatenate(logits), self.problem_type))[0])

    @torch.no_grad()
    def _logits(self, clips: EvaluationClips, start: int) -> np.ndarray:
        batch = self._collate([clips[number] for number in range(start, min(start + self._batch_size, len(clips)))])
        inputs = {name: value.to(self._device) for name, value in batch.items() if name != "labels"}
        return self._model(**inputs).logits.float().cpu().numpy()

    def choose(self, values: np.ndarray, threshold: float = 0.5) -> list[str]:
        """The likeliest class; of several labels, those whose score is `threshold` or more; of numbers, none."""
        if self.problem_type == "regression":
            return []
        if self.problem_type == "multi_label_classification":
            return [label for label, value in zip(self.labels, values, strict=True) if value >= threshold]
        return [self.labels[int(values.argmax())]]


def to_csv(classifier: SongClassifier, songs: Sequence[Song], threshold: float = 0.5) -> bytes:
    """A table, UTF-8: `file`, `label` (several are joined by ";"; not of numbers), and a column for each class.

    No cell begins as a formula of a spreadsheet does: a file of such a name is written as "./name", which is the same file, and
    before the name of a class stands an apostrophe, by which spreadsheets mark a text.
    """
    numbers = classifier.problem_type == "regression"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", *([] if numbers else ["label"]), *map(_as_text, classifier.labels)])
    for song in songs:
        if song.values is not None:
            file = f"./{song.file}" if song.file.startswith(FORMULA) else song.file
            label = [] if numbers else [_as_text(";".join(classifier.choose(song.values, threshold)))]
            table.writerow([file, *label, *(f"{value:.6g}" for value in song.values)])
    # a name that is no UTF-8 keeps its bytes
    return text.getvalue().encode("utf-8", "surrogateescape")


def _as_text(name: str) -> str:
    return f"'{name}" if name.startswith(FORMULA) else name


__all__ = ["Song", "SongClassifier", "to_csv"]
