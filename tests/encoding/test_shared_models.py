"""Models that belong to somebody else: every call gives its own layers, and leaves the model as it was."""

import copy
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from support.encoders import MODELS, SIZES
from support.sounds import make_tones
from transformers import Wav2Vec2FeatureExtractor, pipeline

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForSequenceClassification
from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.models.views_mert import view_of
from mert_hf.probing.features.encoders import FrozenModel

CLIP = make_tones(0.2, 24000)


def make_model(kind: str = "mert"):
    torch.manual_seed(0)
    config_class, model_class, changes = MODELS[kind]
    model = model_class(config_class(**{**SIZES, **changes}))
    extractor = MERTFeatureExtractor() if kind.startswith("mert") else Wav2Vec2FeatureExtractor(sampling_rate=24000)
    return model, extractor


def encode(encoder: MusicEncoder, layers, **options) -> np.ndarray:
    options = {"pool": None, "normalize": False, "sampling_rate": 24000, "progress": False} | options
    return encoder.encode(CLIP, layers=layers, **options)


def states_by_hand(model, extractor) -> np.ndarray:
    inputs = extractor(CLIP, sampling_rate=24000, return_tensors="pt")["input_values"]
    with torch.no_grad():
        return torch.cat(copy.deepcopy(model).float().eval()(inputs, output_hidden_states=True).hidden_states).numpy()


def everything(model) -> dict:
    tensors = {name: (tensor.clone(), tensor.requires_grad) for name, tensor in model.state_dict(keep_vars=True).items()}
    modes = {name: (module.training, len(module._forward_hooks)) for name, module in model.named_modules()}
    return {"tensors": tensors, "modes": modes, "config": model.config.to_dict()}


def require_same(before: dict, after: dict):
    assert before["modes"] == after["modes"] and before["config"] == after["config"]
    assert before["tensors"].keys() == after["tensors"].keys()
    for name, (tensor, needs_gradient) in before["tensors"].items():
        found, now_needs = after["tensors"][name]
        assert found.dtype == tensor.dtype and found.device == tensor.device and needs_gradient == now_needs, name
        assert torch.equal(found, tensor), name


@pytest.mark.parametrize("kind", ["mert", "mert_pre_norm", "wavlm"])
def test_every_ordered_pair_of_layers_gives_what_the_model_gives_by_hand(kind):
    model, extractor = make_model(kind)
    expected, encoder = states_by_hand(model, extractor), MusicEncoder(model, extractor, device="cpu")
    choices = [0, 1, 2, 3, "all"]
    # a walk in which each follows each once: 0, 0 1, 0 2, 0 3, 0 all, 1, 1 2, ...
    walk = [place for one in range(5) for place in (one, *(step for other in range(one + 1, 5) for step in (one, other)))]
    walk.append(0)
    assert len(set(itertools.pairwise(walk))) == 25
    for place in walk:
        layers = choices[place]
        wanted = expected if layers == "all" else expected[layers]
        np.testing.assert_allclose(encode(encoder, layers), wanted, atol=2e-6, err_msg=str(layers))


@pytest.mark.parametrize("hears_first", [False, True])
def test_four_threads_on_one_encoder(hears_first):
    model, extractor = make_model("mert_pre_norm")
    if hears_first:  # transformers installs what captures the layers at this call, and never again
        model.eval()(torch.from_numpy(CLIP)[None], output_hidden_states=True)
    expected, encoder = states_by_hand(model, extractor), MusicEncoder(model, extractor, device="cpu")
    before, together = everything(model), threading.Barrier(4)

    def work(layer: int) -> list[np.ndarray]:
        together.wait()
        return [encode(encoder, layer) for _ in range(3)]

    with ThreadPoolExecutor(4) as threads:
        for layer, found in enumerate(threads.map(work, range(4))):
            for frames in found:
                np.testing.assert_allclose(frames, expected[layer], atol=2e-6)
    require_same(before, everything(model))


@pytest.mark.parametrize("kind", ["mert", "mert_pre_norm", "wavlm"])
def test_a_bfloat16_model_in_training_is_left_as_it_is(kind):
    model, extractor = make_model(kind)
    model.bfloat16().train()
    model.encoder.layers[0].requires_grad_(False)
    before = everything(model)
    expected = states_by_hand(model, extractor)
    encoder = MusicEncoder(model, extractor, device="cpu")
    for layers in (1, "all", 0):
        np.testing.assert_allclose(encode(encoder, layers), expected if layers == "all" else expected[layers], atol=2e-5)
    require_same(before, everything(model))


def test_the_pipeline_draws_neither_dropout_nor_masks_of_a_model_in_training():
    model, extractor = make_model()
    expected = states_by_hand(model, extractor)
    extract = pipeline("feature-extraction", model=model.train(), feature_extractor=extractor, device="cpu")
    for _ in range(2):
        np.testing.assert_allclose(extract(CLIP, return_tensors=True)[0], expected[-1], atol=2e-6)
    assert model.training


def test_layers_that_nobody_asked_for_are_not_computed():
    model, extractor = make_model()
    ran: list[int] = []
    for number, layer in enumerate(model.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    encoder = MusicEncoder(model, extractor, device="cpu")
    for layers, expected in ((0, [0]), (1, [0]), ([0, 2], [0, 1]), (3, [0, 1, 2])):  # the first tells what enters it
        ran.clear()
        encode(encoder, layers)
        assert ran == expected


def test_hooks_of_others_are_called_on_their_own_objects():
    class Recorder:
        def __init__(self):
            self.lock, self.seen = threading.Lock(), []  # a lock cannot be copied

        def hear(self, module, inputs, output):
            self.seen.append(output.shape)
            module.kept = output * torch.ones((), requires_grad=True)  # a graph cannot be copied either

    model, extractor = make_model()
    recorder = Recorder()
    model.feature_projection.register_forward_hook(recorder.hear)
    expected = states_by_hand(make_model()[0], extractor)
    model.train()(torch.from_numpy(CLIP)[None])
    np.testing.assert_allclose(encode(MusicEncoder(model, extractor, device="cpu"), 2), expected[2], atol=2e-6)
    assert len(recorder.seen) == 2


def test_who_trains_the_model_between_two_calls_hears_it():
    for dtype in ("float32", "bfloat16"):
        model, extractor = make_model()
        encoder = MusicEncoder(model, extractor, device="cpu", dtype=dtype)
        encode(encoder, 2)
        with torch.no_grad():
            model.encoder.layers[0].attention.out_proj.weight.add_(0.5)
        fresh = MusicEncoder(copy.deepcopy(model), extractor, device="cpu", dtype=dtype)
        np.testing.assert_array_equal(encode(encoder, 2), encode(fresh, 2))


def test_weights_are_shared_where_nothing_must_be_cast():
    model, _ = make_model()
    shared = view_of(model, "cpu", torch.float32).encoder.layers[0].attention.q_proj.weight
    assert shared.data_ptr() == model.encoder.layers[0].attention.q_proj.weight.data_ptr()
    assert view_of(model.double(), "cpu", torch.float32).dtype == torch.float32 and model.dtype == torch.float64


def test_heads_adapters_and_wrappers_give_the_features_of_the_encoder_in_them():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    classifier, extractor = MERTForSequenceClassification(MERTConfig(**SIZES)), MERTFeatureExtractor()
    expected = states_by_hand(classifier.mert, extractor)
    adapted = peft.get_peft_model(copy.deepcopy(classifier), peft.LoraConfig(target_modules=["q_proj"], r=2))
    inner = copy.deepcopy(classifier.mert)
    inner.encoder = torch.compile(inner.encoder, backend="eager")
    wrapped = {
        "head": classifier,
        "peft": adapted,  # LoRA begins as the identity
        "compiled": torch.compile(classifier.mert, backend="eager"),
        "compiled inside": inner,
        "compiled peft": torch.compile(adapted, backend="eager"),
        "parallel": torch.nn.DataParallel(classifier),
    }
    for name, model in wrapped.items():
        for layers in (1, "all"):
            found = encode(MusicEncoder(model, extractor, device="cpu"), layers)
            np.testing.assert_allclose(found, expected if layers == "all" else expected[layers], atol=2e-6, err_msg=name)
        if name != "parallel":  # transformers itself takes none
            extract = pipeline("feature-extraction", model=model, feature_extractor=extractor, device="cpu")
            np.testing.assert_allclose(extract(CLIP, return_tensors=True)[0], expected[-1], atol=2e-6, err_msg=name)
    with torch.no_grad():
        adapted.get_base_model().mert.encoder.layers[0].attention.q_proj.lora_B["default"].weight.fill_(0.5)
    assert np.abs(encode(MusicEncoder(adapted, extractor, device="cpu"), 1) - expected[1]).max() > 1e-3
    with pytest.raises(InputError, match=r"Linear is a Linear; a model of transformers is needed"):
        MusicEncoder(torch.nn.Linear(2, 2), extractor)


def test_judging_leaves_a_model_as_it_is():
    model, extractor = make_model()
    model.bfloat16().train()
    before = everything(model)
    FrozenModel(model, extractor, "a model")
    require_same(before, everything(model))


def test_a_head_on_all_layers_leaves_the_configuration_to_its_owner():
    config = MERTConfig(**SIZES, use_weighted_layer_sum=True, layerdrop=0.3)
    model = MERTForSequenceClassification(config)
    assert (config.layerdrop, model.mert.config.layerdrop) == (0.3, 0.0)
