"""What a fine-tuning run leaves for people: answers for every track, the curve, pictures, the bar, the last lines."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from support.labelled_music import make_base_and_music
from support.small_runs import small_finetuning

from mert_hf.common import figures
from mert_hf.finetuning import progress, report
from mert_hf.finetuning.clips import EvaluationClips
from mert_hf.finetuning.progress import Progress, Work
from mert_hf.finetuning.report import Answers, read_curve, summarise, write_predictions
from mert_hf.finetuning.run import finetune
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.publishing.model_card import PICTURES


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run, what it gave back, all bars that there were, and what was drawn under which title."""
    folder = tmp_path_factory.mktemp("run")
    base, music = make_base_and_music(folder, 8, 1.0)
    AcceleratorState._reset_state(reset_partial_state=True)
    bars, titles, plot = [], [], figures.plot_confusion_matrix

    class Bar(progress.tqdm):
        def __init__(self, *given, **named):
            bars.append(self)
            self.heights = []
            super().__init__(*given, **named)

        def update(self, n=1):
            assert n >= 0
            super().update(n)
            self.heights.append((self.desc, self.n))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "tqdm", Bar)
        patch.setattr(report, "plot_confusion_matrix", lambda *given: titles.append(given[-1]) or plot(*given))
        data = {"clips_per_track": 2, "validation_clips": 1}
        with FinetuneFolder(folder / "named").hold() as run:
            done = finetune(small_finetuning(base, music, run.folder, data=data, epochs=2.5), run)
    return run, done, bars, titles


def rows_of(file) -> list[dict]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_the_table_of_answers_gives_the_scores_again(finished):
    run, (targets, predicted, results), _, _ = finished
    rows = rows_of(run.predictions)
    assert [row["split"] for row in rows] == ["validation"] * 4 + ["test"] * 4
    assert {row["clips"] for row in rows[:4]} == {"1"} and {row["clips"] for row in rows[4:]} == {"2"}
    assert all(row["track"].split("/")[0] == row["true"] for row in rows)
    test = rows[4:]
    assert np.mean([row["true"] == row["predicted"] for row in test]) == results["test"]["accuracy"]
    scores = np.array([[float(row[f"score: {name}"]) for name in ("calm", "wild")] for row in test])
    np.testing.assert_allclose(scores, predicted, atol=1e-5)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert [row["true"] for row in test] == [["calm", "wild"][target] for target in targets]
    validated = np.mean([row["true"] == row["predicted"] for row in rows[:4]])  # the classes are of one size
    assert validated == results["validation"]["balanced_accuracy"]


def test_the_curve_is_in_the_results_and_drawn(finished):
    run, (_, _, results), _, titles = finished
    curve = json.loads(run.results.read_text())["curve"]
    assert [entry["epoch"] for entry in curve] == [1.0, 2.0, 2.5] and curve[-1]["update"] == results["updates"]
    assert all({"loss", "validation_loss", "balanced_accuracy"} < entry.keys() for entry in curve)
    assert results["validation"]["balanced_accuracy"] == max(entry["balanced_accuracy"] for entry in curve)
    for picture in (run.curves, run.picture):
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.name in PICTURES
    share = 100 * results["test"]["accuracy"]
    assert titles == [f"named\naccuracy {share:.1f} %, n = 4 test tracks"]


def test_one_bar_goes_through_the_whole_run(finished):
    run, (_, _, results), bars, _ = finished
    (bar,) = bars
    names = list(dict.fromkeys(name.removesuffix(": ") for name, _ in bar.heights))
    assert names == ["Epoch 1 of 3", "Epoch 2 of 3", "Epoch 3 of 3", "Measuring", "Finished"]
    # three passes a clip of training, one a clip that is measured: behind each epoch, and at the end
    assert bar.total == 3 * 2.5 * 2 * results["tracks"]["train"] + 4 * 4 + 8
    before = [height for name, height in bar.heights if name.startswith("Measuring")][-1]
    assert bar.n == bar.total and before > 0.9 * bar.total


def test_a_run_that_goes_on_shows_what_is_done_and_its_last_values():
    work = Work(epochs=4.0, training=10, validation=5, test=5, to_hear=0, frozen=True)
    shown = Progress(work, "accuracy", shown=False)
    log = [{"loss": 1.0, "step": 1}, {"eval_loss": 2.0, "eval_accuracy": 0.5, "step": 1}, {"loss": 0.75, "step": 2}]
    moved = []
    shown._bar = SimpleNamespace(n=0, set_description_str=lambda *given, **named: None, update=moved.append)
    shown._bar.set_postfix_str = lambda text, **named: moved.append(text)
    shown.on_train_begin(None, SimpleNamespace(epoch=2.0, log_history=log), None)
    assert moved == ["loss 0.750, validation loss 2.000, accuracy 0.500", 2 * 10 + 2 * 5]
    assert work.total == 4 * 10 + 5 * 5 + 5
    kept = Work(epochs=4.0, training=10, validation=5, test=5, to_hear=30, frozen=True)
    assert 30 < kept.total < 31  # all that costs is done before the training


def test_a_curve_takes_the_last_word_on_every_update_and_leaves_gaps():
    log = [
        {"loss": 2.0, "grad_norm": 1.0, "epoch": 1.0, "step": 3},
        {"eval_loss": 1.5, "eval_r2": -0.5, "eval_runtime": 9.0, "epoch": 1.0, "step": 3},
        {"eval_loss": 1.25, "epoch": 2.0, "step": 6},
        {"train_runtime": 3.0, "train_loss": 7.0, "epoch": 2.0, "step": 6},
    ]
    assert read_curve(log, "r2") == [
        {"epoch": 1.0, "update": 3, "loss": 2.0, "validation_loss": 1.5, "r2": -0.5},
        {"epoch": 2.0, "update": 6, "validation_loss": 1.25},
    ]


class Five:
    """A corpus of tracks of five samples."""

    examples = [SimpleNamespace(name=name) for name in ("a, b.wav", 'c "d"\n.wav', "\udce9.wav")]

    def length(self, index, rate):
        return 5


def table_of(kind, labels, targets, values, tmp_path, alone=False):
    clips = EvaluationClips(Five(), np.asarray(targets), [2, 0, 1][: len(targets)], 2, 1, alone=alone)
    data = SimpleNamespace(task=SimpleNamespace(kind=kind), labels=labels, tracks=Five())
    write_predictions([Answers("test", clips, np.asarray(values))], data, ";", tmp_path / "table.csv")
    return rows_of(tmp_path / "table.csv")


def test_answers_of_every_kind_of_label(tmp_path):
    values = [[0.2, 0.7], [0.5, 0.5], [0.9, 0.1]]
    one = table_of("multiclass", ["x", "y, z"], [0, 1, 1], values, tmp_path)
    assert [row["track"] for row in one] == ["\\udce9.wav", "a, b.wav", 'c "d"\n.wav']
    assert [(row["true"], row["predicted"]) for row in one] == [("y, z", "y, z"), ("x", "x"), ("y, z", "x")]
    assert one[0]["score: y, z"] == "0.7" and one[0]["clips"] == "2"
    several = table_of("multilabel", ["x", "y"], [[0, 1], [1, 1], [0, 0]], values, tmp_path)
    assert [(row["true"], row["predicted"]) for row in several] == [("", "y"), ("y", "x;y"), ("x;y", "x")]
    numbers = table_of("regression", ["arousal"], [[0.25], [1], [-2]], [[0.5], [1.5], [-1]], tmp_path)
    assert [(row["true: arousal"], row["predicted: arousal"]) for row in numbers] == [
        ("-2", "0.5"),
        ("0.25", "1.5"),
        ("1", "-1"),
    ]
    windows = table_of("multiclass", ["x", "y"], [0, 1, 1], np.tile([0.6, 0.4], (6, 1)), tmp_path, alone=True)
    assert [row["clips"] for row in windows] == ["1"] * 6 and len({row["track"] for row in windows}) == 3


def test_a_picture_of_a_curve_without_a_single_score(tmp_path):
    curve = [{"epoch": 1.0, "update": 1, "loss": 1.0, "validation_loss": math.nan, "roc_auc": None}, {"epoch": 2.0}]
    figures.plot_epochs(curve, "roc_auc", tmp_path / "curve.png", "a $ title_")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["$", "$x$", r"$\nonsense$", "a_b^c"])
def test_names_of_classes_are_no_formulas(tmp_path, name):
    figures.plot_confusion_matrix(np.array([0, 1]), np.array([1, 1]), [name, "other"], tmp_path / "matrix.png", f"run {name}")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_last_lines_name_scores_and_the_files_that_are_there(finished):
    run, (_, _, results), _, _ = finished
    lines = summarise(results, run).splitlines()
    assert lines[0] == "Test on 4 tracks (drawn by tracks; equal files stay together):"
    assert lines[1] == f"  accuracy {results['test']['accuracy']:.3f} (without hearing 0.500)"
    files = [line.strip() for line in lines if line.startswith(f"  {run.folder}")]
    assert [file.rpartition("/")[2] for file in files] == [
        *("model", "results.json", "predictions.csv", "training_curves.png", "confusion_matrix.png"),
    ]
