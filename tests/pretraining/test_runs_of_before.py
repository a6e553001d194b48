"""Runs and labels that commit 0ffc3b5 made, before settings, teachers and objectives moved to where they are now."""

import hashlib
import json
import runpy
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from accelerate.state import AcceleratorState
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.common.settings import flatten, read_settings
from mert_hf.data.label_store import LabelStore
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.checkpoint_export import export_checkpoint
from mert_hf.pretraining.settings import PretrainSettings

GOLDEN = Path(__file__).parents[1] / "equivalence" / "golden"
RUN, LABELS = GOLDEN / "run_before_the_rooms", GOLDEN / "labels_before_the_rooms"
# as that commit exported and read them
EXPORTED = "2d02bdcb6ce4b4c2852ff851213d47487ceb8e2ba2fb88055aa59564e1eb96a6"
SUM_OF_LABELS = 13209
SCRIPT = Path(__file__).parents[2] / "training" / "pretrain.py"


@pytest.fixture
def music(tmp_path):
    """What they heard."""
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", make_tones(3.0 + number, 24000, seed=number), 24000)
    return folder


@pytest.fixture
def pretrain(monkeypatch):
    def run(*given):
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, given)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def test_a_run_of_before_goes_on(music, tmp_path, pretrain):
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    pretrain("--recipe", RUN / "recipe.yaml", "--data.folder", music, "--output_dir", run, "--training.resume")
    assert [report["step"] for report in read_metrics(run / "metrics.jsonl")] == [1, 2, 3, 4]
    assert json.loads((run / "results.json").read_text())["steps"] == 4


def test_its_recipe_says_what_it_said(tmp_path):
    """Every setting of before is there, with its value; what came since has its default."""
    settings = flatten(read_settings(PretrainSettings, str(RUN / "recipe.yaml"), tmp_path))
    before = flatten(yaml.safe_load((RUN / "recipe.yaml").read_text()))
    assert {name: settings[name] for name in before} == before


def test_it_heard_the_sounds_of_the_package(tmp_path):
    """There were no others, and no processes to share the work."""
    folder = shutil.copytree(RUN, tmp_path / "run")
    for given, refused in (({"synthetic_workers": "3"}, None), ({"synthetic_renderer": "both"}, "'builtin' -> 'both'")):
        overrides = {f"data.{name}": text for name, text in given.items()}
        settings = read_settings(PretrainSettings, str(RUN / "recipe.yaml"), tmp_path, overrides)
        with pytest.raises(InputError, match=refused) if refused else nullcontext():
            RunFolder(folder).require_settings(settings)


def test_its_checkpoint_is_exported_as_it_was(tmp_path):
    export_checkpoint(RUN, tmp_path / "exported", step=2)
    digest = hashlib.sha256((tmp_path / "exported" / "model.safetensors").read_bytes()).hexdigest()
    assert digest == EXPORTED


def test_its_labels_are_read_and_trained_on(music, tmp_path, pretrain):
    store = LabelStore(LABELS)
    assert torch.cat([store.read(name).flatten() for name in sorted(store.rows)]).sum() == SUM_OF_LABELS
    given = ("--recipe", LABELS / "recipe.yaml", "--data.folder", music, "--data.labels", LABELS)
    pretrain(*given, "--output_dir", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["labels"] == "stored"
