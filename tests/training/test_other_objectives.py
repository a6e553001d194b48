"""The rivals of MERT through the same script: every recipe can be set up, small runs end in model, pictures and results."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from support.multiview_runs import DATA2VEC
from support.small_runs import ENCODER
from transformers import AutoFeatureExtractor, AutoModel, Data2VecAudioModel

from mert_hf import MERTModel, MultiViewModel
from mert_hf.common.errors import InputError
from mert_hf.common.settings import read_settings, recipe_names
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.objectives import OBJECTIVES, Contrastive
from mert_hf.pretraining.checkpoint_export import export_checkpoint
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.pretraining.sources import open_sources
from mert_hf.synthetic import write_corpus

SCRIPT = Path(__file__).parents[2] / "training" / "pretrain.py"
RECIPES = SCRIPT.parent / "recipes"
SMALL = {
    "training.max_steps": 4,
    "training.log_every": 1,
    "training.checkpoint_every": 2,
    "training.batch_size": 3,
    "training.tracker": "none",
    "data.workers": 0,
    "validation.share": 0.3,
    "validation.clips": 3,
}
RESNET = {"model.width": 4, "model.hidden_size": 32, "model.blocks": [1, 1, 1, 1], "model.num_attention_heads": 4}
MERT = {f"model.{name}": value for name, value in ENCODER.items()} | {"model.num_conv_pos_embeddings": 16}
MUSIC2VEC = {
    **{f"model.{name}": list(value) if isinstance(value, tuple) else value for name, value in DATA2VEC.items()},
    "training.batch_s": "null",
    "training.mixed_precision": "no",
    "data2vec.top_layers": 2,
}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    write_corpus(folder, 5, 9.0, seed=2, sampling_rate=16000)
    return folder


@pytest.fixture
def pretrain(monkeypatch, music):
    def run(recipe, folder, settings, *switches):
        AcceleratorState._reset_state(reset_partial_state=True)  # a process of its own would begin without one
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        given = {"data.folder": music, "output_dir": folder, **SMALL, **settings}
        arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--recipe", recipe, *arguments, *switches])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return json.loads((folder / "results.json").read_text())

    return run


def assert_exported_alike(run):
    """What is made of the last checkpoint is what the run has saved."""
    export_checkpoint(run, run / "exported")
    exported, model = ({file.name: file.read_bytes() for file in (run / name).iterdir()} for name in ("exported", "model"))
    assert exported == model


def test_every_recipe_can_be_set_up_and_every_objective_has_one():
    objectives = set()
    for name in recipe_names(RECIPES):
        settings = read_settings(PretrainSettings, name, RECIPES)
        objectives.add(settings.objective)
        if settings.init.model is None:
            Setup(settings)
    assert objectives == set(OBJECTIVES)


def test_a_sixth_method_is_a_file_and_a_line(pretrain, tmp_path, monkeypatch):
    """As `mert_hf.objectives` describes it."""

    class Hinge(Contrastive):
        def compare(self, views, embeddings):
            first, second = self.gather([self.head(embedding) for embedding in embeddings])
            return (1 - torch.cosine_similarity(first, second)).mean(), {}

    monkeypatch.setitem(OBJECTIVES, "hinge", Hinge)
    settings = {**RESNET, "objective": "hinge", "multiview.options.head": [16, 24]}
    assert pretrain("multiview_contrastive", tmp_path / "run", settings)["objective"] == "hinge"


def test_music2vecs_recipes_are_the_rows_of_table_3():
    found = {}
    for name in recipe_names(RECIPES):
        if name.startswith("music2vec"):
            settings = read_settings(PretrainSettings, name, RECIPES)
            masking, training = settings.masking, settings.training
            found[name.removeprefix("music2vec_")] = (
                *(masking.span_frames, masking.probability, training.max_steps),
                *(settings.data2vec.top_layers, settings.data.crop_s, training.batch_size),
            )
    assert found == {
        "vanilla": (10, 0.65, 400_000, 8, 30.0, 7),
        "span5": (5, 0.65, 400_000, 8, 30.0, 7),
        "span15": (15, 0.65, 400_000, 8, 30.0, 7),
        "prob50": (10, 0.5, 400_000, 8, 30.0, 7),
        "prob80": (10, 0.8, 400_000, 8, 30.0, 7),
        "800k": (10, 0.65, 800_000, 8, 30.0, 7),
        "target12": (10, 0.65, 400_000, 12, 30.0, 7),
        "crop5s": (10, 0.65, 400_000, 8, 5.0, 47),
    }


def test_clustering_ends_in_a_model_and_pictures_of_its_prototypes(pretrain, tmp_path, caplog):
    results = pretrain("multiview_clustering", tmp_path / "run", {**RESNET, "multiview.options.head": [16, 12, 20]})
    assert results["objective"] == "clustering"
    assert results["tracks_validated_on"] == 2
    reports = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert len(reports) == 4
    assert {"prototypes_used", "ema_distance", "embedding_rank", "teacher_entropy"} <= set(reports[0])
    assert reports[-1]["learning_rate"] < reports[0]["learning_rate"]
    assert "An update:" in caplog.text and "The warm-up of" not in caplog.text  # there is none
    assert {file.name for file in (tmp_path / "run" / "report").iterdir()} == {"training_curves.png", "prototype_usage.png"}
    model = AutoModel.from_pretrained(tmp_path / "run" / "model")
    assert isinstance(model, MultiViewModel)
    assert model.num_parameters() == results["parameters"]
    assert model.config.peak_normalize
    assert_exported_alike(tmp_path / "run")
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "run" / "model").sampling_rate == 16000


def test_tracks_are_fewer_than_a_batch_when_those_of_all_processes_are_more(music, tmp_path, monkeypatch, caplog):
    """Five tracks to train on, whatever there is to validate on in another folder."""
    given = {"training.batch_size": "3", "data.folder": str(music), "validation.folder": str(music)}
    settings = read_settings(PretrainSettings, "multiview_byol", RECIPES, given)
    (tmp_path / "run").mkdir()
    run, setup = RunFolder(tmp_path / "run"), Setup(settings)
    sources = open_sources(settings, setup.sampling_rate, run)
    setup.prepare(sources, run.teacher, torch.device("cpu"))
    assert "fewer than a batch" not in caplog.text
    monkeypatch.setattr("mert_hf.pretraining.setup.world_size", lambda: 2)
    setup.prepare(sources, run.teacher, torch.device("cpu"))
    assert "The 5 tracks to train on are fewer than a batch of 6 pairs" in caplog.text


def test_a_resumed_run_ends_as_one_that_was_not_stopped(pretrain, tmp_path):
    """The teacher, its schedule and the statistics of batch normalisation are part of the checkpoint."""
    options = {"multiview.options.head": [16, 24], "multiview.options.predictor": [8, 24], "multiview.options.momentum": 0.5}
    settings = {**RESNET, **options, "validation.share": 0}
    pretrain("multiview_byol", tmp_path / "straight", settings)
    pretrain("multiview_byol", tmp_path / "stopped", settings)
    for folder in (tmp_path / "stopped" / "model", tmp_path / "stopped" / "checkpoints" / "step_00000004"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    pretrain("multiview_byol", tmp_path / "stopped", settings, "--training.resume")
    for file in ("model/model.safetensors", "checkpoints/step_00000004/model.safetensors"):
        straight, stopped = (load_file(tmp_path / name / file) for name in ("straight", "stopped"))
        assert straight.keys() == stopped.keys()
        assert all(torch.equal(straight[name], stopped[name]) for name in straight)
    assert any(name.startswith("teacher.") for name in straight)


def test_mert_takes_the_place_of_the_resnet(pretrain, tmp_path):
    options = {"multiview.encoder": "mert", "multiview.options.head": [16, 24], **MERT, "model.sample_rate": 16000}
    pretrain("multiview_vicreg", tmp_path / "run", options)
    assert type(AutoModel.from_pretrained(tmp_path / "run" / "model")) is MERTModel


def test_music2vec_ends_in_a_stock_model_and_goes_on_from_one(pretrain, tmp_path):
    results = pretrain("music2vec_crop5s", tmp_path / "run", {**MUSIC2VEC, "data.crop_s": 3.0})
    assert results["objective"] == "data2vec"
    assert {"target_std", "prediction_std", "ema_distance"} <= set(results["validation"])
    folder = tmp_path / "run" / "model"
    model, loaded = Data2VecAudioModel.from_pretrained(folder, output_loading_info=True)
    assert not any(loaded.values())
    assert AutoFeatureExtractor.from_pretrained(folder).do_normalize
    further = {name: value for name, value in MUSIC2VEC.items() if not name.startswith("model.")}
    pretrain("music2vec_crop5s", tmp_path / "further", {**further, "data.crop_s": 3.0, "init.model": folder})
    for run in ("run", "further"):
        assert_exported_alike(tmp_path / run)
    after = Data2VecAudioModel.from_pretrained(tmp_path / "further" / "model")
    moved = [(name, (after.get_parameter(name) - value).abs().max()) for name, value in model.named_parameters()]
    assert 0 < max(distance for _, distance in moved) < 0.05


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("multiview_byol", {"multiview.options.heads": [8, 8]}, "options.heads is no argument of byol; did you mean head"),
        (
            "multiview_byol",
            {**RESNET, "multiview.options.head": [8, 9]},
            r"head=\[8, 9\] and predictor=\[256, 2048\] must end in the same",
        ),
        ("multiview_vicreg", {"data.min_track_s": 5.0}, "data.min_track_s=5.0 is too short for two crops of data.crop_s=4.0"),
        (
            "multiview_vicreg",
            {"model.hop_sample": 3},
            "model.hop_sample is no field of MultiViewConfig; did you mean hop_samples",
        ),
        ("music2vec_vanilla", {"objective": "data3vec"}, "data3vec"),
    ],
)
def test_mistakes_are_one_line(pretrain, tmp_path, recipe, settings, message):
    with pytest.raises(SystemExit) as stop:
        pretrain(recipe, tmp_path / "run", settings)
    assert str(stop.value.code).startswith("error: ")
    assert re.search(message, stop.value.code), stop.value.code


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("mert_95m", {"attention": "relaxed"}, "divides by model.attention_relax, which is -1; give a positive one"),
        ("music2vec_vanilla", {"attention": "relaxed"}, "attention=relaxed is for MERT encoders, not Data2VecAudioModel"),
        ("multiview_byol", {"attention": "relaxed"}, "attention=relaxed is for MERT encoders, not MultiViewModel"),
        ("multiview_byol", {"gradient_checkpointing": "true"}, "gradient_checkpointing cannot be used with MultiViewModel"),
        ("mert_95m", {"compile": "true"}, "compile=true is no backend of torch.compile; give no, or one of .*inductor"),
    ],
)
def test_what_a_model_does_not_know_is_refused_when_it_is_set_up(recipe, settings, message):
    settings = {f"training.{name}": value for name, value in settings.items()}
    with pytest.raises(InputError, match=message):
        Setup(read_settings(PretrainSettings, recipe, RECIPES, settings))


@pytest.mark.parametrize(
    ("recipe", "setting"), [("mert_330m", "attention=relaxed"), ("music2vec_vanilla", "gradient_checkpointing=true")]
)
def test_what_a_model_knows_is_taken(recipe, setting):
    name, value = setting.split("=")
    assert Setup(read_settings(PretrainSettings, recipe, RECIPES, {f"training.{name}": value}))


def test_musichuberts_recipes_are_the_rows_of_table_2():
    found, shared = {}, set()
    for name in recipe_names(RECIPES):
        if name.startswith("musichubert_k"):
            settings = read_settings(PretrainSettings, name, RECIPES)
            (feature,), (codes,) = settings.teacher.features, settings.teacher.codebook_sizes
            options = settings.teacher.feature_options[feature]
            numbers = options["layer"] if feature == "hidden_states" else 3 * options["coefficients"]
            found[name.removeprefix("musichubert_")] = (codes, feature, numbers)
            config, masking = Setup(settings).config, settings.masking
            shared.add(
                (config.sample_rate, config.frame_rate, config.hidden_size, masking.probability, masking.span_frames)
                + (settings.cqt.enabled, settings.mixture.probability, settings.teacher.kind)
            )
            frames = settings.teacher.fit_s * config.frame_rate
            bins = config.hidden_size if feature == "hidden_states" else numbers
            assert 4 * frames * bins < 6e9, "more than the memory the recipe names"
            assert frames / codes >= 900
    assert found == {
        "k2000_mfcc39": (2000, "mfcc", 39),
        "k500_mfcc39": (500, "mfcc", 39),
        "k500_mfcc60": (500, "mfcc", 60),
        "k2000_iteration2": (2000, "hidden_states", 6),
    }
    assert shared == {(16000, 50.0, 768, 0.8, 10, False, 0.0, "kmeans_parallel")}


def test_musichuberts_second_iteration_learns_from_the_first(pretrain, tmp_path):
    small = {
        **MERT,
        "teacher.codebook_sizes": [12],
        "teacher.fit_s": 20,
        "training.batch_s": "null",
        "training.max_steps": 2,
        "training.mixed_precision": "no",
        "data.crop_s": 3.0,
    }
    first = pretrain("musichubert_k2000_mfcc39", tmp_path / "first", small)
    options = f"{{hidden_states: {{folder: {tmp_path / 'first' / 'model'}, layer: 2}}}}"
    second = pretrain("musichubert_k2000_iteration2", tmp_path / "second", {**small, "teacher.feature_options": options})
    assert [results["codebook_sizes"] for results in (first, second)] == [[12], [12]]
    centroids = [load_file(tmp_path / run / "teacher" / "teacher.safetensors")["centroids_0"] for run in ("first", "second")]
    assert [tuple(values.shape) for values in centroids] == [(12, 39), (12, 32)]
    model = AutoModel.from_pretrained(tmp_path / "second" / "model")
    assert (type(model), model.config.sample_rate) == (MERTModel, 16000)
