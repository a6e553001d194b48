"""What a fine-tuning run leaves for people: the answer for every track, the curve of the losses, pictures, a summary."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mert_hf.common.figures import plot_confusion_matrix, plot_epochs
from mert_hf.common.files import write_atomically
from mert_hf.finetuning.clips import EvaluationClips
from mert_hf.finetuning.data import FinetuneData
from mert_hf.finetuning.run_folder import FinetuneFolder

# From this probability on, a label of several is one that the model gives.
LEAST_LIKELY = 0.5
LONGEST_TITLE = 40


@dataclass(frozen=True)
class Answers:
    """What a model answers for a split.

    Attributes:
        clips: that it heard.
        values: (answers, classes) likelihoods or numbers, of tracks, or of clips where each is measured by itself.
    """

    split: str
    clips: EvaluationClips
    values: np.ndarray


def read_curve(log: list[dict[str, Any]], monitor: str) -> list[dict[str, Any]]:
    """The losses of training and validation and the measure that chooses the epoch, an entry an epoch.

    Args:
        log: `log_history` of Trainer's state, which goes through all checkpoints of a run.
        monitor: name of the measure.
    """
    names = {"loss": "loss", "eval_loss": "validation_loss", f"eval_{monitor}": monitor}
    curve: dict[int, dict[str, Any]] = {}
    for entry in log:
        found = {names[name]: value for name, value in entry.items() if name in names}
        if found:
            curve.setdefault(entry["step"], {"epoch": entry["epoch"], "update": entry["step"]}).update(found)
    return [curve[step] for step in sorted(curve)]


def write_predictions(answers: Sequence[Answers], data: FinetuneData, separator: str, file: Path) -> None:
    """Write a table (CSV) with a row for every answer: track, split, clips that were heard, what is true, what was predicted.

    Of classes, the likelihood of each stands beside them, `score: NAME`; of several labels, those of [`LEAST_LIKELY`] and more
    are predicted, joined by `separator`; of numbers there are two columns each, `true: NAME` and `predicted: NAME`.
    """
    kind, names = data.task.kind, data.labels
    pairs = [f"{column}: {name}" for name in names for column in ("true", "predicted")]
    columns = pairs if kind == "regression" else ["true", "predicted", *(f"score: {name}" for name in names)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["track", "split", "clips", *columns])
    for split in answers:
        heard = zip(split.clips.answered_for, split.clips.references, split.values, strict=True)
        for (track, clips), target, values in heard:
            row = _cells(kind, names, separator, target, values)
            table.writerow([data.tracks.examples[track].name, split.split, clips, *row])
    # a name that is no text of Unicode, as a file may have, is written with its bytes spelled out
    write_atomically(file, text.getvalue().encode("utf-8", "backslashreplace"))


def _cells(kind: str, names: list[str], separator: str, target: Any, values: np.ndarray) -> list[Any]:
    numbers = [f"{value:.6g}" for value in values]
    if kind == "regression":
        return [cell for true, predicted in zip(target, numbers, strict=True) for cell in (f"{true:.6g}", predicted)]
    if kind == "multilabel":
        given = (np.asarray(target) > 0, values >= LEAST_LIKELY)
        return [*(separator.join(name for name, has in zip(names, part, strict=True) if has) for part in given), *numbers]
    return [names[int(target)], names[int(values.argmax())], *numbers]


def draw_pictures(test: Answers, data: FinetuneData, results: dict[str, Any], run: FinetuneFolder) -> list[Path]:
    """Draw the curve, and of single labels which class was taken for which; the pictures' places."""
    name = run.folder.resolve().name
    title = name if len(name) <= LONGEST_TITLE else f"{name[:LONGEST_TITLE]}..."
    plot_epochs(results["curve"], data.task.monitor, run.curves, title)
    if results["problem_type"] != "single_label_classification":
        return [run.curves]
    targets, predicted = test.clips.references, test.values.argmax(1)
    tracks = results["tracks"]["test"]
    of = f"n = {tracks} test tracks" if len(targets) == tracks else f"n = {len(targets)} clips of {tracks} test tracks"
    title += f"\naccuracy {100 * (targets == predicted).mean():.1f} %, {of}"
    plot_confusion_matrix(targets, predicted, data.labels, run.picture, title)
    return [run.curves, run.picture]


def summarise(results: dict[str, Any], run: FinetuneFolder) -> str:
    """What came of a run, in the lines that a command ends with."""
    lines = [f"Test on {results['tracks']['test']} tracks ({results['split']}):"]
    for name, value in results["test"].items():
        lines.append(f"  {name} {value:.3f} (without hearing {results['test_without_hearing'][name]:.3f})")
    files = (run.model, run.results, run.predictions, run.curves, run.picture)
    return "\n".join(lines + [f"  {file}" for file in files if file.exists()])
