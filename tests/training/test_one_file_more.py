"""An objective and a teacher of somebody else, a file and a line each: recipes train, resume, validate, report and export."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from support.small_runs import ENCODER
from support.toy_objective import Loudness
from support.toy_teacher import LoudnessTeacher
from transformers import AutoFeatureExtractor, AutoModel

from mert_hf import MERTModel
from mert_hf.common.errors import InputError
from mert_hf.common.settings import read_settings
from mert_hf.comparison.cells import cut_to_budget
from mert_hf.engine.metrics import read_metrics
from mert_hf.objectives import OBJECTIVES
from mert_hf.pretraining.checkpoint_export import export_checkpoint
from mert_hf.pretraining.settings import pretrain_settings
from mert_hf.teachers import CODE_TEACHERS

TRAINING = Path(__file__).parents[2] / "training"
RECIPE = f"""
objective: loudness
model: {json.dumps({**ENCODER, "num_conv_pos_embeddings": 16})}
data: {{crop_s: 2.0, workers: 0}}
training: {{batch_size: 2, max_steps: 4, warmup_steps: 1, log_every: 1, checkpoint_every: 2, tracker: none}}
validation: {{share: 0.3, clips: 2, every: 2}}
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "loudness", Loudness)
    monkeypatch.setitem(CODE_TEACHERS, "loudness", LoudnessTeacher)


@pytest.fixture
def call(monkeypatch, music_folder, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    def run(script, *given):
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        audio = ["--recipe", str(tmp_path / "recipe.yaml"), "--data.folder", str(music_folder)]
        monkeypatch.setattr(sys, "argv", [script, *audio, *map(str, given)])
        runpy.run_path(str(TRAINING / script), run_name="__main__")

    return run


def test_an_objective(call, tmp_path):
    for name in ("straight", "stopped"):
        call("pretrain.py", "--output_dir", tmp_path / name, "--loudness.weight", 2)
    run = tmp_path / "stopped"
    for folder in (run / "model", run / "checkpoints" / "step_00000004"):
        shutil.rmtree(folder)
    call("pretrain.py", "--output_dir", run, "--loudness.weight", 2, "--training.resume")
    straight, stopped = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("straight", "stopped"))
    assert straight.keys() == stopped.keys()
    assert all(straight[name].equal(stopped[name]) for name in straight)
    results = json.loads((run / "results.json").read_text())
    assert (results["objective"], results["teacher"]) == ("loudness", "the loudness of frames")
    assert results["validation"]["loss"] > 0
    assert [report["step"] for report in read_metrics(run / "validation.jsonl")] == [2, 4]
    assert (run / "report" / "training_curves.png").stat().st_size > 10_000
    assert type(AutoModel.from_pretrained(run / "model")) is MERTModel
    assert AutoFeatureExtractor.from_pretrained(run / "model").sampling_rate == 24000
    export_checkpoint(run, tmp_path / "exported")
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == (run / "model" / "model.safetensors").read_bytes()
    with pytest.raises(SystemExit, match=r"loudness.weight \(2.0 -> 3.0\)"):
        call("pretrain.py", "--output_dir", run, "--loudness.weight", 3, "--training.resume")
    with pytest.raises(SystemExit, match="--loudness.wait; did you mean --loudness.weight"):
        call("pretrain.py", "--output_dir", tmp_path / "none", "--loudness.wait", 3)


def test_its_updates_are_cut_to_a_budget_with_the_run(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    settings = read_settings(pretrain_settings(), str(tmp_path / "recipe.yaml"), tmp_path)
    assert cut_to_budget(settings, budget_s=8.0).loudness.quiet_updates == 50  # half of 4 updates of 2 clips of 2 s


def test_a_teacher(call, tmp_path):
    given = ("--objective", "masked_prediction", "--teacher.kind", "loudness", "--teacher.codebook_sizes", "[8]")
    given = (*given, "--teacher.floor_db", -40, "--cqt.enabled", "false", "--model.code_dim", 8)
    for name in ("fly", "again"):
        call("pretrain.py", *given, "--output_dir", tmp_path / name)
    results, again = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("fly", "again"))
    assert (results["teacher"], results["codebook_sizes"]) == ("loudness in steps", [8])
    assert results["validation"] == again["validation"]
    assert {file.name for file in (tmp_path / "fly" / "report").iterdir()} >= {"training_curves.png", "code_accuracy.png"}

    # its labels are made once, by the settings it was given, and no other
    labels = ("--data.labels", tmp_path / "labels")
    call("prepare_labels.py", *given, *labels)
    call("pretrain.py", *given, *labels, "--output_dir", tmp_path / "stored")
    assert json.loads((tmp_path / "stored" / "results.json").read_text())["labels"] == "stored"
    changed = tuple(-50 if value == -40 else value for value in given)
    with pytest.raises(SystemExit, match=r"made by another teacher: teacher.floor_db \(-40.0 -> -50.0\)"):
        call("pretrain.py", *changed, *labels, "--output_dir", tmp_path / "none")


def test_a_name_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.delitem(OBJECTIVES, "loudness")
    (tmp_path / "recipe.yaml").write_text("objective: loudness")
    with pytest.raises(InputError, match="there is no objective 'loudness'"):
        read_settings(pretrain_settings(), str(tmp_path / "recipe.yaml"), tmp_path)
