"""The recipes: they resolve, hold the official numbers (typed here once more), and run, shrunk, for two updates."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from support.small_runs import MERT2_MODEL, MERT2_SHORT_MODEL, MODEL

from mert_hf import MERT2Config, MERTConfig, MERTFeatureExtractor, MERTModel
from mert_hf.common.settings import read_settings, recipe_names
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import build_config

TRAINING = Path(__file__).parents[2] / "training"
RECIPES = TRAINING / "recipes"
NAMES = [
    *("base", "continue_from_hub", "mert2"),
    *("mert_330m", "mert_95m", "mert_95m_kmeans", "mert_95m_public", "mert_small", "quickstart", "small"),
]


def resolve(name):
    settings = read_settings(PretrainSettings, name, RECIPES)
    return settings, settings.training


def test_every_recipe_of_mert_stands_on_base():
    others = ("multiview_", "music2vec_", "musichubert_")  # of other papers, see test_other_objectives.py
    assert [name for name in recipe_names(RECIPES) if not name.startswith(others)] == NAMES
    for name in set(NAMES) - {"base", "continue_from_hub"}:
        build_config(resolve(name)[0])


@pytest.mark.parametrize(
    ("name", "crop_samples", "clips", "batches", "rate", "clip_norm", "longest_noise"),
    [("mert_95m", 120_000, 16, 1, 5e-4, 10, 24_000), ("mert_330m", 122_880, 7, 8, 1.5e-3, 1, 36_000)],
)
def test_the_official_numbers_of_the_run(name, crop_samples, clips, batches, rate, clip_norm, longest_noise):
    settings, training = resolve(name)
    assert round(settings.data.crop_s * 24000) == crop_samples
    assert (training.batch_size, training.gradient_accumulation_steps) == (clips, batches)
    assert (training.learning_rate, training.max_grad_norm) == (rate, clip_norm)
    assert (round(settings.mixture.min_s * 24000), round(settings.mixture.max_s * 24000)) == (12_000, longest_noise)
    assert (settings.mixture.probability, settings.mixture.min_excerpts, settings.mixture.max_excerpts) == (0.5, 1, 3)
    assert (training.adam_beta1, training.adam_beta2, training.adam_epsilon, training.weight_decay) == (0.9, 0.98, 1e-6, 0.01)
    assert (training.warmup_steps, training.max_steps, training.mixed_precision) == (32_000, 400_000, "fp16")
    assert (training.seed, training.spike_deviations, training.codebooks_per_update) == (1337, 0, 0)
    assert (settings.masking.probability, settings.masking.span_frames) == (0.8, 5)
    assert round(settings.data.min_track_s * 24000) == 72_000
    assert (settings.cqt.bins, settings.cqt.bins_per_octave, settings.cqt.min_hz) == (336, 48, 32.7)
    assert settings.teacher.codebook_sizes == [1024] * 8
    assert (settings.teacher.kind, settings.teacher.folder) == ("codec", "facebook/encodec_24khz")


def test_the_official_numbers_of_the_models():
    small, large = (build_config(resolve(name)[0]) for name in ("mert_95m", "mert_330m"))
    for config, dim, pre_norm, factor, relax in ((small, 64, False, 0.1, -1), (large, 128, True, 1.0, 32)):
        assert (config.code_dim, config.do_stable_layer_norm, config.feature_grad_mult) == (dim, pre_norm, factor)
        assert (config.attention_relax, config.deepnorm, config.logit_temperature) == (relax, False, 0.1)
        assert (config.feature_penalty_weight, config.cqt_loss_weight, config.code_loss_weight) == (10, 1, 1)
        assert (config.sample_rate, config.feat_extract_norm, config.conv_bias) == (24000, "group", False)
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop")
    assert [getattr(small, name) for name in dropouts] == [0.1, 0.1, 0.0, 0.1, 0.05]
    assert [getattr(large, name) for name in dropouts] == [0.0] * 5
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    assert [getattr(small, name) for name in sizes] == [768, 12, 12, 3072]
    assert [getattr(large, name) for name in sizes] == [1024, 24, 16, 4096]


def test_the_k_means_recipes():
    settings, _ = resolve("mert_95m_kmeans")
    teacher = settings.teacher
    assert (teacher.kind, teacher.codebook_sizes, teacher.features) == ("kmeans_parallel", [300, 200], ["log_mel", "chroma"])
    assert (teacher.feature_options["log_mel"]["bins"], teacher.feature_options["chroma"]["bins"]) == (229, 264)
    public = build_config(resolve("mert_95m_public")[0])
    assert (public.sample_rate, public.frame_rate, public.layerdrop, public.activation_dropout) == (16000, 50.0, 0.1, 0.1)


def test_the_recipes_of_mert2_are_its_presets():
    small, large = (build_config(resolve(name)[0]) for name in ("small", "mert2"))
    heads = ("code_dim", "mel_mean_db", "mel_std_db")
    heads += tuple(name for name in large.to_dict() if name.startswith(("code", "cqt_")) or name.endswith("_weight"))
    for config, preset in ((small, MERT2Config.small()), (large, MERT2Config.mert2_30s())):
        there, here = config.to_dict(), preset.to_dict()
        apart = {name for name in there if name not in heads and there[name] != here[name]}
        assert apart == set()
        assert (config.frame_rate, len(config.codebook_sizes)) == (25.0, 6 if config is small else 4)
        assert (config.mel_mean_db, config.mel_std_db) == (-2.0, 22.0)


def shrunk(name: str, folder: Path, music: Path) -> list[str]:
    """Arguments that leave a recipe its form and take its size."""
    whole = {"mert2": MERT2_MODEL, "small": MERT2_SHORT_MODEL}.get(name, MODEL)
    sizes = {key: whole[key] for key in whole if key not in ("codebook_sizes", "code_dim", "cqt_bins")}
    sizes = {key: list(value) if isinstance(value, tuple) else value for key, value in sizes.items()}
    arguments = {f"model.{key}": value for key, value in sizes.items()}
    teacher = {"teacher.folder": "null", "teacher.fit_s": 10, "teacher.codebook_sizes": [12, 10]}
    if resolve(name)[0].teacher.kind == "codec":
        teacher["teacher.kind"] = "kmeans_residual"
    if name == "small":  # three features, with two, one and three books
        teacher |= {"teacher.codebook_sizes": [8] * 6, "data.min_track_s": 2}
    if name == "continue_from_hub":
        MERTModel(MERTConfig(**MODEL)).save_pretrained(folder / "hub")
        arguments = {"init.model": folder / "hub"}
    if name == "mert2":  # codes the joined states of two encoders
        MERTModel(MERTConfig(**MODEL)).save_pretrained(folder / "heard")
        MERTFeatureExtractor().save_pretrained(folder / "heard")
        both = {"folder": folder / "heard", "layer": 1, "other_folder": folder / "heard", "other_layer": 2}
        teacher |= {f"teacher.feature_options.joined_hidden_states.{key}": value for key, value in both.items()}
        teacher["data.min_track_s"] = 2
    training = {
        "max_steps": 2,
        "batch_size": 2,
        "batch_s": "null",
        "mixed_precision": "no",
        "tracker": "none",
        "warmup_steps": 1,
    }
    arguments |= teacher | {f"training.{key}": value for key, value in training.items()}
    arguments |= {"data.folder": music, "data.workers": 0, "data.crop_s": 2, "output_dir": folder / "run"}
    arguments |= {"cqt.bins": 24, "cqt.bins_per_octave": 12, "validation.clips": 2}
    return [part for key, value in arguments.items() for part in (f"--{key}", str(value))]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("quickstart", "mert_small")])
def test_a_shrunk_run_of_each(name, tmp_path, music_folder, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--recipe", name, *shrunk(name, tmp_path, music_folder)])
    runpy.run_path(str(TRAINING / "pretrain.py"), run_name="__main__")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["steps"] == 2
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    if name in ("mert2", "small"):
        assert (config["model_type"], config["frame_rate"]) == ("mert2", 25.0)
        return
    assert config["do_stable_layer_norm"] == (name == "mert_330m")
    assert config["sample_rate"] == (16000 if name == "mert_95m_public" else 24000)


def test_accelerate_reads_the_launch_configurations():
    kinds = {}
    for file in sorted((TRAINING / "launch").glob("*.yaml")):
        config = load_config_from_file(str(file))
        kinds[file.stem] = config.distributed_type
        assert config.mixed_precision == "no"  # the recipe decides
    assert kinds == {
        "deepspeed": DistributedType.DEEPSPEED,
        "fsdp2": DistributedType.FSDP,
        "multi_gpu": DistributedType.MULTI_GPU,
        "one_device": DistributedType.NO,
    }
    assert load_config_from_file(str(TRAINING / "launch" / "fsdp2.yaml")).fsdp_config["fsdp_version"] == 2
