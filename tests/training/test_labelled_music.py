"""One labelled folder for both commands, and one task for both: equal splits, labels and measures."""

import json
from dataclasses import replace

import pytest
import soundfile
import torch
from support.sounds import make_tones
from support.task_layouts import BUILDERS
from transformers import AutoModelForAudioClassification

from mert_hf import MERTFeatureExtractor, MERTForPreTraining
from mert_hf.probing import runner
from mert_hf.tasks import TASKS
from mert_hf.tasks.labelled import source

QUICK = ("--model.method", "frozen", "--training.epochs", 1, "--training.batch_size", 8, "--training.use_cpu")


@pytest.fixture
def base(tiny_config, tmp_path):
    torch.manual_seed(0)
    MERTForPreTraining(tiny_config).save_pretrained(tmp_path / "base" / "model")
    MERTFeatureExtractor().save_pretrained(tmp_path / "base" / "model")
    return tmp_path / "base"


@pytest.fixture
def music(tmp_path):
    """Ten tracks of each of two labels, two of them equal, and a file that is none."""
    for label in ("calm", "wild"):
        (tmp_path / "music" / label).mkdir(parents=True)
        for number in range(10):
            tones = make_tones(0.8, 24000, seed=number % 9 + 20 * (label == "wild"))
            soundfile.write(tmp_path / "music" / label / f"{number}.wav", tones, 24000)
    (tmp_path / "music" / "calm" / "x.wav").write_bytes(b"no audio")
    return tmp_path / "music"


@pytest.fixture
def quick_probes(monkeypatch):
    monkeypatch.setattr(source, "MARBLE", replace(source.MARBLE, learning_rates=(1e-3,), max_epochs=2, hidden_size=16))
    monkeypatch.setattr(runner, "BOOTSTRAP_DRAWS", 20)


def test_a_labelled_folder_is_judged_and_fine_tuned_on_in_equal_splits(run_script, quick_probes, base, music, tmp_path, capsys):
    output, common = tmp_path / "results", ("--model", base, "--folder", music, "--cache", tmp_path / "cache", "--seeds", 1)
    run_script("probe.py", *common, "--output", output, "--clip_s", 0.5)
    results = json.loads((output / "evaluation.json").read_text())
    rows = {row["metric"]: row for row in results["results"]}
    assert results["suite"] == "folder" and set(rows) == {"accuracy", "balanced_accuracy"}
    row = rows["accuracy"]
    assert (row["task"], row["title"], row["published"]) == ("folder_music", "music", {})
    assert {"majority", "random weights", "log-mel mean + std"} <= set(row["baselines"])
    assert row["dataset"]["name"] == "music" and str(tmp_path) not in json.dumps(results)
    assert row["notes"][0] == "splits drawn by tracks; equal files stay together"
    assert row["notes"][1].startswith("1 of 21 tracks are left out: calm/x.wav (")
    assert "calm/x.wav" in (output / "skipped.jsonl").read_text()
    assert "| music | balanced accuracy |" in capsys.readouterr().out
    assert (output / "confusion_folder_music.png").is_file()

    run = tmp_path / "run"
    run_script("finetune.py", "--model.base", base / "model", "--data.folder", music, "--output_dir", run, *QUICK)
    tuned = json.loads((run / "results.json").read_text())
    confusion = json.loads((output / "parts" / "folder_music" / "model.json").read_text())["result"]["confusion"]
    assert [sum(row) for row in confusion] == [tuned["tracks_of_each_class"]["test"][label] for label in ("calm", "wild")]
    # the commonest class of the training split is told for the same tracks
    assert tuned["test_without_hearing"]["accuracy"] == pytest.approx(row["baselines"]["majority"]["value"] / 100)

    # what is there is not made again
    parts = {path: path.stat().st_mtime_ns for path in output.rglob("parts/*/*.json")}
    run_script("probe.py", *common, "--output", output, "--clip_s", 0.5)
    assert parts and {path for path in parts if path.stat().st_mtime_ns != parts[path]} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folder", "/nowhere"), "--folder /nowhere is no folder; give one of labelled music"),
        (("--folder", ".", "--data", "x"), "--data belongs to --suite; the labelled music is in --folder"),
        (("--folder", ".", "--tasks", "x"), "--tasks belongs to --suite"),
        (("--folder", ".", "--renderer", "fluidsynth"), "--renderer belongs to --suite synthetic"),
        (("--folder", ".", "--clip_s", "0"), "--clip_s 0 must lie within (0, 3600]"),
        (("--folder", ".", "--test_share", "0.9"), "test_share=0.9 must lie within (0, 0.5]"),
        (("--folder", ".", "--max_skipped", "few"), "max_skipped must be a number; got 'few'"),
        (("--suite", "synthetic", "--label_columns", "[x]"), "--label_columns belongs to --folder"),
        (("--suite", "synthetic", "--split_seed", "0"), "--split_seed belongs to --folder"),
    ],
)
def test_options_of_a_folder_that_cannot_be_meant(run_script, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run_script("probe.py", *arguments, "--check")
    assert str(stopped.value).startswith("error: ") and message in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_check_reads_the_labels_of_a_folder(run_script, music, capsys):
    run_script("probe.py", "--folder", music, "--check")
    assert capsys.readouterr().out.startswith("folder_music: ready, but: splits drawn by tracks; ")
    with pytest.raises(SystemExit, match="error: 1 of 1 tasks cannot be run yet"):
        run_script("probe.py", "--folder", music, "--check", "--problem_type", "regression")
    assert "columns label must hold numbers for regression" in capsys.readouterr().out


def test_a_task_is_fine_tuned_on_with_its_splits_labels_and_measures(run_script, base, tmp_path):
    BUILDERS["gtzan"](tmp_path / "data" / "gtzan")
    run = tmp_path / "run"
    arguments = ("--task", "gtzan_genre", "--data.task_folder", tmp_path / "data", "--model.base", base / "model")
    run_script("finetune.py", *arguments, "--output_dir", run, *QUICK)
    results = json.loads((run / "results.json").read_text())
    assert (results["task"], results["split"]) == ("gtzan_genre", "the dataset's own")
    assert results["tracks"] == {"train": 30, "validation": 20, "test": 20} and results["validation"].keys() == {"accuracy"}
    assert results["test"].keys() == results["test_without_hearing"].keys() == {"accuracy", "balanced_accuracy", "macro_f1"}
    assert any("the official one" in note for note in results["notes"])
    model = AutoModelForAudioClassification.from_pretrained(run / "model")
    assert tuple(model.config.id2label.values()) == TASKS["gtzan_genre"].labels == tuple(results["classes"])
    assert "split the dataset's own" in (run / "model" / "README.md").read_text()
    assert (run / "confusion_matrix.png").is_file()


def test_a_task_of_another_kind_is_refused_before_anything_is_done(run_script, tmp_path):
    with pytest.raises(SystemExit, match="error: task 'synthetic_beat' asks for beats; fine-tuning answers with"):
        run_script("finetune.py", "--task", "synthetic_beat", "--output_dir", tmp_path / "beats")
    assert not (tmp_path / "beats").exists()
