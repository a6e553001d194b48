"""The plan of a run against counts made by torch and against numbers known otherwise."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mert_hf import MERTConfig, MERTForPreTraining, MERTModel
from mert_hf.common.settings import read_settings
from mert_hf.pretraining.plan import forward_cost, keep_global_batch, plan_run
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import build_config

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


def test_the_operations_are_those_that_torch_counts():
    for config in (MERTConfig.mert_95m(), MERTConfig.mert_330m()):
        with torch.device("meta"):
            model, clip = MERTModel(config).eval(), torch.empty(1, 24000)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(clip)
        cost = forward_cost(config, 24000)
        assert cost.total - cost.heads == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_clip_of_5_s_costs_the_95m_model_104_gflop_beside_the_attention_of_frames_to_frames():
    cost = forward_cost(MERTConfig.mert_95m(), 120000)
    attention = 12 * 4 * 374**2 * 768
    assert (cost.layers - attention) / 1e9 == pytest.approx(64, abs=1)
    assert cost.convolutions / 1e9 == pytest.approx(37, abs=1)
    assert cost.positions / 1e9 == pytest.approx(3.5, abs=0.1)


def test_the_official_330m_run_in_numbers():
    """64 GPUs x 7 clips x 8 batches of 5.12 s, 400,000 updates; worked out here once more."""
    settings = read_settings(PretrainSettings, "mert_330m", RECIPES)
    config = build_config(settings)
    with torch.device("meta"):
        parameters = MERTForPreTraining(config).num_parameters()
    plan = plan_run(settings, config, parameters, gpus=64, gpu_tflops=312, use=0.2, corpus_hours=160_000)
    assert plan.clips_per_update == 3584
    assert plan.update_audio_hours == pytest.approx(3584 * 5.12 / 3600)
    assert plan.audio_hours == pytest.approx(2_038_898, rel=1e-4)
    assert plan.passes == pytest.approx(12.74, abs=0.01)
    assert plan.labels_gib == pytest.approx(160_000 * 3600 * 75 * 8 * 2 / 2**30)  # 8 codebooks at 75 Hz, 10 bits in 16
    config.codebook_sizes = [256] * 8
    smaller = plan_run(settings, config, parameters, gpus=64, gpu_tflops=312, use=0.2, corpus_hours=160_000)
    assert smaller.labels_gib == plan.labels_gib / 2
    assert plan.days == pytest.approx(3584 * plan.clip_flop * 400_000 / (64 * 312e12 * 0.2) / 86400)
    assert parameters == 315_428_992 + (1024 * 1024 + 1024) + 8192 * 128 + (1024 * 336 + 336)


def test_fewer_gpus_make_the_same_global_batch():
    settings = read_settings(PretrainSettings, "mert_330m", RECIPES)
    keep_global_batch(settings, gpus=8, recipe_gpus=64)
    assert settings.training.gradient_accumulation_steps == 64
    keep_global_batch(settings, gpus=3, recipe_gpus=1)
    assert settings.training.gradient_accumulation_steps == 22


def plan(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["plan.py", *arguments])
    runpy.run_path(str(RECIPES.parent / "plan.py"), run_name="__main__")
    return capsys.readouterr().out


def test_the_plan_names_the_flag_that_makes_the_batch_of_the_recipe(monkeypatch, capsys):
    said = plan(monkeypatch, capsys, "mert_330m", "--recipe_gpus", "64", "--gpus", "8")
    assert "8 GPUs x 7 clips x 64 batches = 5.10 hours of audio an update" in said
    assert "--training.gradient_accumulation_steps 64\n" in said


def test_what_the_plan_cannot_count_is_refused(monkeypatch, capsys):
    for recipe, objective in (("multiview_byol", "byol"), ("music2vec_vanilla", "data2vec")):
        with pytest.raises(SystemExit, match=f"error: {recipe} trains {objective}; only masked_prediction .* is planned"):
            plan(monkeypatch, capsys, recipe, "--recipe_gpus", "1")
    with pytest.raises(SystemExit):  # recipes are meant for different numbers, and nothing guesses them
        plan(monkeypatch, capsys, "musichubert_base")
    assert "required: --recipe_gpus" in capsys.readouterr().err
    said = plan(monkeypatch, capsys, "musichubert_base", "--recipe_gpus", "32", "--gpus", "8")
    assert "8 GPUs x 5 clips x 4 batches" in said
