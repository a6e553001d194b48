"""The one frozen encoder against models called by hand, and fingerprints against those of the code before it."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch
from support.encoders import MODELS, SIZES
from support.sounds import make_tones
from transformers import Wav2Vec2FeatureExtractor

from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.encoding.normalisation import normalise_clips
from mert_hf.probing.features.encoders import FrozenModel, load_encoder
from mert_hf.teachers import ParallelKMeansTeacher
from mert_hf.teachers.features import HiddenStatesFeature

# Computed by commit bec028e, where probing and teachers had a frozen model each.
WEIGHTS = "9decc7d11553d849a0a8e5a95227c941b311776545b7122e28f4cdd1b9345313"
TEACHER = "507b844f2a380b5ae2d9aa5fca37ab1fb98b06a2b32343b25feafeaa89497bcd"
RATE = 24000
CLIPS = torch.stack([0.1 * torch.from_numpy(make_tones(0.5, RATE, seed)) + 0.01 * seed for seed in range(3)])


def make(kind: str):
    torch.manual_seed(0)
    config_class, model_class, changes = MODELS[kind]
    return model_class(config_class(**{**SIZES, **changes}))


def extractor(do_normalize: bool = True, rate: int = RATE) -> Wav2Vec2FeatureExtractor:
    return Wav2Vec2FeatureExtractor(sampling_rate=rate, do_normalize=do_normalize)


def count_up(tensor: torch.Tensor, number: int = 0) -> None:
    """Numbers that no release of torch draws otherwise."""
    tensor.copy_(((torch.arange(tensor.numel()) * 31 + 7 * number) % 97 - 48).view(tensor.shape) / 480)


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A model and its folder, named without its place: it is in a teacher's fingerprint."""
    monkeypatch.chdir(tmp_path)
    model = make("mert")
    for number, (_, tensor) in enumerate(sorted(model.state_dict().items())):
        count_up(tensor, number)
    model.save_pretrained("encoder")
    extractor().save_pretrained("encoder")
    return model


def test_kept_features_are_found_again(counted):
    for encoder, config in (
        (FrozenModel(counted, extractor(), "given"), counted.config),
        (load_encoder("encoder"), type(counted).from_pretrained("encoder").config),
    ):
        digest = hashlib.sha256(json.dumps(config.to_diff_dict(), sort_keys=True, default=str).encode()).hexdigest()
        assert encoder.fingerprint == {"weights": WEIGHTS, "config": digest, "normalises": True, "sampling_rate": RATE}
        assert (encoder.layers, encoder.hidden_size, encoder.frame_rate) == (("0", "1", "2", "3"), 32, 75.0)
        assert encoder.first_frame_s == 400 / 2 / RATE


def test_labels_that_a_teacher_stored_are_its_own(counted):
    options = {"hidden_states": {"folder": "encoder", "layer": 1}}
    teacher = ParallelKMeansTeacher([4], ["hidden_states"], options)
    count_up(teacher.centroids_0)
    assert teacher.fingerprint() == TEACHER
    teacher(CLIPS)
    assert teacher.fingerprint() == TEACHER


def test_clips_are_scaled_as_transformers_does():
    clips = torch.cat([CLIPS, 0.001 * CLIPS[:1] + 0.1, torch.zeros(1, CLIPS.shape[1])])
    expected = np.stack(extractor()(list(clips.numpy()), sampling_rate=RATE)["input_values"])
    np.testing.assert_allclose(normalise_clips(clips), expected, atol=2e-4)
    np.testing.assert_allclose(normalise_clips(clips[:3]), expected[:3], atol=2e-6)
    assert not normalise_clips(clips)[-1].any()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("do_normalize", [False, True])
def test_hidden_states_are_those_of_the_model_called_by_hand(kind, do_normalize):
    model = make(kind)
    heard = extractor(do_normalize)(list(CLIPS.numpy()), sampling_rate=RATE, return_tensors="pt")["input_values"]
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(heard, output_hidden_states=True).hidden_states
    found = FrozenEncoder(model.train(), extractor(do_normalize), kind)(CLIPS)
    assert model.training and len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert not one.requires_grad
        torch.testing.assert_close(one, other, atol=2e-5 if do_normalize else 2e-6, rtol=0)


@pytest.mark.parametrize("kind", MODELS)
def test_layers_up_to_one_are_the_same_numbers_and_no_others_are_computed(kind):
    model = make(kind)
    whole = FrozenEncoder(model, extractor(), kind)(CLIPS)
    ran: list[int] = []
    for number, layer in enumerate(model.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    for deepest in range(4):
        ran.clear()
        found = FrozenEncoder(model, extractor(), kind, deepest=deepest)(CLIPS)
        assert ran == list(range(max(deepest, 1)))  # the first layer tells what enters it
        for layer in range(deepest + 1):
            assert torch.equal(found[layer], whole[layer]), (deepest, layer)


def test_a_teacher_computes_no_deeper_than_its_layer_and_follows_where_it_is_moved(counted):
    feature = HiddenStatesFeature(RATE, 320, "encoder", 1)
    ran: list[int] = []
    for number, layer in enumerate(feature.model.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    feature.bfloat16()  # as `.to(device)` moves it: what computed before has other weights
    heard = normalise_clips(CLIPS).bfloat16()
    found = feature(CLIPS)
    assert ran == [0]
    with torch.no_grad():
        expected = counted.bfloat16().eval()(heard, output_hidden_states=True).hidden_states[1]
    assert torch.equal(found, expected.float())


def test_rates_that_differ_are_refused_by_everybody(tmp_path):
    make("mert").save_pretrained(tmp_path)
    extractor(rate=16000).save_pretrained(tmp_path)
    for load in (MusicEncoder, load_encoder, lambda folder: HiddenStatesFeature(16000, 320, folder, 1)):
        with pytest.raises(InputError, match="made for 24000 Hz, its feature extractor says 16000 Hz; mend"):
            load(str(tmp_path))
