"""A head that is trained on features that are computed once: it answers, learns and goes on as on audio."""

import json

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from support.labelled_music import make_base_and_music
from support.small_runs import MERT2_MODEL, MODEL, small_finetuning
from transformers import TrainerCallback, TrainingArguments

from mert_hf import (
    MERT2Config,
    MERT2ForSequenceClassification,
    MERTConfig,
    MERTFeatureExtractor,
    MERTForPreTraining,
    MERTForSequenceClassification,
)
from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_folder
from mert_hf.finetuning import features as module
from mert_hf.finetuning import run as runs
from mert_hf.finetuning.clips import Collator, EvaluationClips
from mert_hf.finetuning.features import FeatureMaker, encoder_taken_out
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings, LabelledDataSettings, ModelSettings
from mert_hf.models.views_mert import layers_of

# of an encoder that answers the same in training; a frozen one that hears anew has dropout and SpecAugment, as ever
STILL = dict(hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0, apply_spec_augment=False)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A base without dropout, and six tracks of each of two labels, each a single clip long."""
    folder = tmp_path_factory.mktemp("given")
    base, music = make_base_and_music(folder, 6, 0.5)
    torch.manual_seed(0)
    MERTForPreTraining(MERTConfig(**MODEL, **STILL)).save_pretrained(base)
    return base, music


@pytest.fixture(scope="module")
def long_music(tmp_path_factory):
    """A base, and six tracks of each of two labels, of seven clips each."""
    return make_base_and_music(tmp_path_factory.mktemp("long"), 6, 3.5)


DATA = {"clips_per_track": 2, "validation_clips": 3, "cached_clips": 5}


@pytest.fixture(scope="module")
def whole(long_music, tmp_path_factory):
    """A run that was never stopped: what it gave back, its weights, and the clips that it drew by epoch and track."""
    drawn, get = [], module.DrawnFeatures.__getitem__

    def get_and_note(self, number):
        item = get(self, number)
        rows = self._features.take(np.arange(len(self._clips)))
        (row,) = np.flatnonzero((rows == item["features"]).all(axis=(1, 2)))
        drawn.append((self.choice.epoch, self._clips.span(row)[0], int(row)))
        assert item["labels"] == self._clips.target(row)
        return item

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CLIPS_PER_SHARD", 4)
        patch.setattr(module.DrawnFeatures, "__getitem__", get_and_note)
        done, weights = run(*long_music, tmp_path_factory.mktemp("runs") / "whole", epochs=3.0, data=DATA)
    return done, weights, drawn


def run(base, music, folder, **settings):
    AcceleratorState._reset_state(reset_partial_state=True)
    settings = small_finetuning(base, music, folder, method="frozen", **settings)
    with FinetuneFolder(folder).hold() as held:
        done = runs.finetune(settings, held)
    return done, load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("kind", ["mert", "mert2"])
@torch.no_grad()
def test_a_classifier_answers_from_features_what_it_answers_from_audio(kind, weighted):
    torch.manual_seed(0)
    config = MERTConfig(**MODEL) if kind == "mert" else MERT2Config(**MERT2_MODEL)
    config.num_labels, config.use_weighted_layer_sum, config.problem_type = 3, weighted, "single_label_classification"
    model = (MERTForSequenceClassification if kind == "mert" else MERT2ForSequenceClassification)(config).eval()
    if weighted:
        model.layer_sum.weights.copy_(torch.randn(len(model.layer_sum.weights)))
    audio, labels, encoder = 0.1 * torch.randn(2, 24000), torch.tensor([0, 2]), model.base_model
    expected = model(audio, labels=labels)
    outputs = encoder(audio, output_hidden_states=True)
    layers = layers_of(outputs, config) if weighted else (outputs.last_hidden_state,)
    pooled = torch.stack([states.mean(1) for states in layers], dim=1)
    assert weighted is False or pooled.shape[1] == config.num_hidden_layers + 1
    with encoder_taken_out(model):
        found = model(pooled, labels=labels)
        assert not any(name.startswith(f"{model.base_model_prefix}.") for name in model.state_dict())
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-6)
    assert model.base_model is encoder


def test_where_the_clips_are_the_same_a_run_ends_as_one_that_hears_them_anew(given, tmp_path):
    (_, kept, results), with_features = run(*given, tmp_path / "kept", epochs=2.0)
    (_, heard, others), with_audio = run(*given, tmp_path / "heard", epochs=2.0, data={"cached_clips": 0})
    assert not (tmp_path / "heard" / "features").exists()
    assert with_features.keys() == with_audio.keys()
    start = load_file(given[0] / "model.safetensors")
    for name, value in with_audio.items():
        torch.testing.assert_close(with_features[name], value, rtol=1e-3, atol=2e-5, msg=name)
        assert name not in start or torch.equal(start[name], with_features[name])
    np.testing.assert_allclose(kept, heard, atol=1e-5)
    assert results["test"] == others["test"] and results["trained_parameters"] == others["trained_parameters"]
    for one, other in zip(results["curve"], others["curve"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_epochs_draw_from_the_clips_of_each_track_that_are_kept(whole):
    (_, _, results), _, drawn = whole
    tracks = results["tracks"]["train"]
    assert len(drawn) == len(set(drawn)) == 3 * 2 * tracks  # no clip twice in an epoch
    assert {sum(one[:2] == other[:2] for one in drawn) for other in drawn} == {2}
    assert {row // 5 for _, _, row in drawn} == set(range(tracks)) and len({row for _, _, row in drawn}) > 2 * tracks


def test_a_run_that_is_stopped_anywhere_computes_no_shard_twice_and_ends_the_same(long_music, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CLIPS_PER_SHARD", 4)
    encoded, stops_at, encode, build = [], 8, FeatureMaker._encode, runs.build_trainer

    def encode_some(self, batch):
        encoded.append(len(batch["input_values"]))
        if len(encoded) == stops_at:
            raise KeyboardInterrupt
        return encode(self, batch)

    class Stop(TrainerCallback):
        def on_epoch_end(self, args, state, control, **given):
            control.should_training_stop = True

    def build_to_stop(*parts):
        trainer = build(*parts)
        trainer.add_callback(Stop())
        return trainer

    def go_on():
        return run(*long_music, tmp_path / "run", epochs=3.0, data=DATA)

    monkeypatch.setattr(FeatureMaker, "_encode", encode_some)
    with pytest.raises(KeyboardInterrupt):
        go_on()
    kept = 4 * len(list((tmp_path / "run" / "features").glob("*/shard_*.npy")))
    assert kept >= 12
    encoded, stops_at = [], None
    with monkeypatch.context() as patch:
        patch.setattr(runs, "build_trainer", build_to_stop)
        go_on()
    tracks = whole[0][-1]["tracks"]
    assert sum(encoded) == 5 * tracks["train"] + 3 * tracks["validation"] + 7 * tracks["test"] - kept
    encoded = []
    (_, _, results), weights = go_on()
    assert encoded == [] and results == whole[0][-1] == json.loads((tmp_path / "run" / "results.json").read_text())
    assert all(torch.equal(weights[name], value) for name, value in whole[1].items())


def test_features_of_other_weights_clips_or_layers_are_others(long_music, tmp_path):
    def make(seed=0, weighted=True, rate=24000, **facts):
        torch.manual_seed(seed)
        model = MERTForSequenceClassification(MERTConfig(**MODEL, use_weighted_layer_sum=weighted)).eval()
        clips = EvaluationClips(open_folder(long_music[1], 0.5), np.zeros(12), [3, 4], rate // 2, rate, most=2)
        collator = Collator(MERTFeatureExtractor(sampling_rate=rate))
        arguments = TrainingArguments(str(tmp_path), use_cpu=True, per_device_train_batch_size=2, report_to=[])
        return FeatureMaker(model, collator, tmp_path / "kept", facts, arguments, told.append).make("train", clips)

    told: list[int] = []
    first = make()
    again = make()
    assert told == [0, 2, 2, 4] and len(list((tmp_path / "kept").iterdir())) == 1
    np.testing.assert_array_equal(first.take(np.arange(4)), again.take(np.arange(4)))
    for number, other in enumerate(({"seed": 1}, {"weighted": False}, {"rate": 16000}, {"tracks": "others"}), start=2):
        found = make(**other)
        assert len(list((tmp_path / "kept").iterdir())) == number
        assert found.take(np.arange(4)).shape == (4, 1 if other == {"weighted": False} else 3, 32)
        same = other == {"tracks": "others"}
        assert np.array_equal(found.take(np.arange(4))[:, -1], first.take(np.arange(4))[:, -1]) == (same or "weighted" in other)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_features_are_kept_of_a_frozen_encoder_alone(method):
    assert FinetuneSettings(model=ModelSettings(method=method)).data.cached_clips == 0
    with pytest.raises(InputError, match="data.cached_clips=3: features change while the encoder is trained"):
        FinetuneSettings(model=ModelSettings(method=method), data=LabelledDataSettings(cached_clips=3))


def test_features_that_are_no_numbers_end_a_run_with_the_name_of_the_track(given, tmp_path, monkeypatch):
    original = FeatureMaker._encode
    monkeypatch.setattr(FeatureMaker, "_encode", lambda self, batch: original(self, batch) * np.nan)
    with pytest.raises(InputError, match=r"model.base gives NaN or infinity for a clip of (calm|wild)/\d.wav"):
        run(*given, tmp_path / "run")
