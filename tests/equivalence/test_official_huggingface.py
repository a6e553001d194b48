"""Outputs of the official Hub code on tiny models with random weights (golden/*/meta.json: seed, versions, noise)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from mert_hf import MERTModel

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(folder.name for folder in GOLDEN.glob("hf_*"))
TOLERANCE = 3e-5  # another thread count or kernel alone moves states by 1e-5, a processor without AVX-512 by up to 2.3e-5


def load(case: str, **changes):
    model = AutoModel.from_pretrained(GOLDEN / case, padding_invariant=False, **changes)
    assert type(model) is MERTModel
    return model.eval(), load_file(GOLDEN / case / "golden.safetensors")


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def test_all_six_cases_are_there():
    assert len(CASES) == 6


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_every_hidden_state(case, attention):
    model, golden = load(case, attn_implementation=attention)
    outputs = model(golden["input_values"], attention_mask=golden.get("attention_mask"), output_hidden_states=True)
    layers = [name for name in golden if name.startswith("hidden_states.")]
    assert len(outputs.hidden_states) == len(layers) == model.config.num_hidden_layers + 1
    for layer, states in enumerate(outputs.hidden_states):
        assert difference(states, golden[f"hidden_states.{layer}"]) < TOLERANCE, f"layer {layer}"
    assert difference(outputs.last_hidden_state, golden["last_hidden_state"]) < TOLERANCE
    if "extract_features" in golden:
        assert difference(outputs.extract_features, golden["extract_features"]) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("case", [case for case in CASES if "padded" not in case])
def test_masked_frames(case):
    model, golden = load(case)
    masked = model(golden["input_values"], mask_time_indices=golden["mask_time_indices"].bool()).last_hidden_state
    assert difference(masked, golden["masked.last_hidden_state"]) < TOLERANCE


@torch.no_grad()
def test_attention_weights():
    model, golden = load("hf_1_post_ln_24k", attn_implementation="eager")
    first_second = golden["input_values"][:1, : int(golden["attn.input_samples"])]
    attentions = model(first_second, output_attentions=True).attentions
    assert len(attentions) == 3
    assert difference(attentions[0], golden["attn.layer0"]) < TOLERANCE


@torch.no_grad()
def test_constant_q_input():
    model, golden = load("hf_4_input_cqt_16k")
    assert difference(model.feature_extractor_cqt(golden["input_values"]), golden["cqt_features"]) < TOLERANCE


@torch.no_grad()
def test_padded_clips_without_a_mask_and_alone():
    model, golden = load("hf_5_padded_batch_24k")
    assert difference(model(golden["input_values"]).last_hidden_state, golden["nomask.last_hidden_state"]) < TOLERANCE
    frames = model._get_feature_vector_attention_mask(112, golden["attention_mask"])
    assert torch.equal(frames, golden["frame_attention_mask"].bool())
    for clip, samples in enumerate(golden["attention_mask"].sum(1).tolist()):
        alone = model(golden["input_values"][clip : clip + 1, :samples]).last_hidden_state[0]
        assert difference(alone, golden[f"single.{clip}.last_hidden_state"]) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_old_names_in_a_bin_and_new_ones_in_safetensors_give_the_same_model(case, tmp_path):
    weights = torch.load(GOLDEN / case / "pytorch_model.bin", weights_only=True)
    assert "encoder.pos_conv_embed.conv.weight_g" in weights
    from_bin, golden = load(case)
    from_bin.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    again = MERTModel.from_pretrained(tmp_path).eval()
    for name, tensor in from_bin.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert len(saved) == len(weights)
    # safetensors with the old names, as the conversion requests on the Hub hold them
    (tmp_path / "old").mkdir()
    from_bin.config.save_pretrained(tmp_path / "old")
    save_file(weights, tmp_path / "old" / "model.safetensors", metadata={"format": "pt"})
    old = MERTModel.from_pretrained(tmp_path / "old").eval()
    states = old(golden["input_values"], attention_mask=golden.get("attention_mask")).last_hidden_state
    assert difference(states, golden["last_hidden_state"]) < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_nothing_stays_at_its_initial_value(case):
    """Every parameter and buffer comes from the file, whatever the random state; there are no others."""
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model, loaded = MERTModel.from_pretrained(GOLDEN / case, output_loading_info=True)
        assert not any(loaded[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
        models.append(dict([*model.named_parameters(), *model.named_buffers()]))
    weights = torch.load(GOLDEN / case / "pytorch_model.bin", weights_only=True)
    renamed = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    expected = {}
    for name, tensor in weights.items():
        stem, _, last = name.rpartition(".")
        expected[f"{stem}.{renamed.get(last, last)}" if stem else last] = tensor
    assert set(models[0]) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(models[0][name], tensor), name
        assert torch.equal(models[1][name], tensor), name


def test_configurations_are_read_as_they_are():
    for case in CASES:
        config = AutoConfig.from_pretrained(GOLDEN / case)
        written = json.loads((GOLDEN / case / "config.json").read_text())
        for name in ("hidden_size", "num_hidden_layers", "deepnorm", "attention_relax", "sample_rate", "conv_dim"):
            assert getattr(config, name) == written[name]
