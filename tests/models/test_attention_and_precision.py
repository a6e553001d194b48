import copy

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mert_hf import MERTConfig, MERTForPreTraining, MERTModel
from mert_hf.models.modeling_mert import relaxed_attention_forward


def quiet(config: MERTConfig) -> MERTConfig:
    """The configuration without anything random in training."""
    for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"):
        setattr(config, name, 0.0)
    return config


@pytest.fixture
def model(tiny_config) -> MERTModel:
    torch.manual_seed(0)
    tiny_config.attention_relax = 32.0
    return MERTModel(quiet(tiny_config)).eval()


# what torch 2.14 compiles of flex_attention for a CPU with AVX2 alone gives other numbers, or NaN, also outside of this package
compiled = pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "AVX2", reason="torch's kernel is wrong on this CPU")


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "relaxed", pytest.param("flex_attention", marks=compiled)])
def test_all_implementations_give_what_sdpa_gives(model, attention):
    waveform = torch.randn(2, 8000)
    assert model.config._attn_implementation == "sdpa"  # also where the checkpoint carries attention_relax
    expected = model(waveform).last_hidden_state
    model.set_attn_implementation(attention)
    torch.testing.assert_close(model(waveform).last_hidden_state, expected, atol=2e-6, rtol=0)


def test_flex_attention_is_refused_where_its_kernel_is_wrong(model, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    model.set_attn_implementation("flex_attention")
    with pytest.raises(ValueError, match=r"wrong numbers on this CPU \(AVX2\); set_attn_implementation\('sdpa'\) is exact"):
        model(torch.randn(1, 8000))
    model.set_attn_implementation("sdpa")
    assert model(torch.randn(1, 8000)).last_hidden_state.isfinite().all()


def test_flash_attention_can_be_configured():
    """It runs on GPUs only; here it is registered and declared, not run."""
    assert MERTModel._supports_flash_attn
    assert "flash_attention_2" in ALL_ATTENTION_FUNCTIONS


def heads(scale: float, dtype: torch.dtype):
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.config = MERTConfig(attention_relax=32.0)
    query, key, value = (scale * torch.randn(2, 4, 50, 64) for _ in range(3))
    return module, query.to(dtype), key.to(dtype), (value / scale).to(dtype)


def test_relaxed_attention_is_exact_in_float32():
    module, query, key, value = heads(1.0, torch.float32)
    ours, weights = relaxed_attention_forward(module, query, key, value, None)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 50))


def test_relaxed_attention_is_finite_where_plain_float16_overflows():
    module, query, key, value = heads(60.0, torch.float16)
    plain = torch.matmul(query, key.transpose(2, 3)) * 64**-0.5
    assert plain.isinf().any()
    query.requires_grad_(True)
    ours, _ = relaxed_attention_forward(module, query, key, value, None)
    ours.float().square().sum().backward()
    assert ours.isfinite().all()
    assert query.grad.isfinite().all()
    exact = torch.nn.functional.scaled_dot_product_attention(query.float(), key.float(), value.float()).transpose(1, 2)
    torch.testing.assert_close(ours.float(), exact, atol=0.1, rtol=0.05)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.15), (torch.float16, 0.02)])
def test_half_precision_is_finite_and_close(tiny_config, dtype, tolerance):
    # of fewer than 16 channels a group, torch 2.14 on CPUs with AMX computes another convolution in bfloat16
    tiny_config.num_conv_pos_embedding_groups = 2
    torch.manual_seed(0)
    model = MERTModel(quiet(tiny_config)).eval()
    waveform = 0.1 * torch.randn(2, 8000)
    expected = model(waveform).last_hidden_state
    mask = torch.ones(2, 8000, dtype=torch.long)
    for attention_mask in (None, mask):
        halved = copy.deepcopy(model).to(dtype)(waveform.to(dtype), attention_mask=attention_mask).last_hidden_state
        assert halved.dtype == dtype
        assert halved.isfinite().all()
        assert float((halved.float() - expected).abs().mean()) < tolerance


@torch.no_grad()
def test_the_encoder_compiles_without_a_graph_break(model):
    states = torch.randn(2, 24, 32)
    compiled = torch.compile(model.encoder, fullgraph=True, backend="aot_eager")
    expected = model.encoder(states).last_hidden_state
    torch.testing.assert_close(compiled(states).last_hidden_state, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_reaches_the_convolutions_and_changes_no_gradient(tiny_config, reentrant):
    torch.manual_seed(0)
    model = MERTForPreTraining(quiet(tiny_config)).train()
    inputs = {
        "input_values": torch.randn(2, 8000),
        "mask_time_indices": torch.rand(2, 24) < 0.5,
        "labels": torch.randint(0, 12, (2, 2, 24)),
        "cqt_labels": torch.rand(2, 24, 24),
    }
    model(**inputs).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    calls = []
    first = model.mert.feature_extractor.conv_layers[0]
    first.conv.register_forward_hook(lambda *_: calls.append(1))
    model(**inputs).loss.backward()
    assert len(calls) == 2  # once forward, once again for the backward pass
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("factor", [0.1, 0.0])
def test_feature_grad_mult_scales_the_gradient_of_the_convolutions_alone(tiny_config, factor):
    torch.manual_seed(0)
    model = MERTModel(quiet(tiny_config)).train()
    waveform, no_mask = torch.randn(1, 8000), torch.zeros(1, 24, dtype=torch.bool)
    states = model(waveform, mask_time_indices=no_mask).last_hidden_state
    states[..., 0].sum().backward()
    convolution, projection = model.feature_extractor.conv_layers[3].conv.weight, model.feature_projection.projection.weight
    before = convolution.grad.clone(), projection.grad.clone()
    model.zero_grad()
    model.config.feature_grad_mult = factor
    scaled = model(waveform, mask_time_indices=no_mask).last_hidden_state
    torch.testing.assert_close(scaled, states)
    scaled[..., 0].sum().backward()
    torch.testing.assert_close(projection.grad, before[1])
    if factor == 0:
        assert convolution.grad is None
    else:
        torch.testing.assert_close(convolution.grad, factor * before[0])


def test_deepnorm_starts_with_smaller_weights_and_loads_unchanged(tmp_path):
    torch.manual_seed(0)
    model = MERTModel(MERTConfig(num_hidden_layers=2, deepnorm=True))
    divisor = (8 * 2) ** 0.25
    layer = model.encoder.layers[0]
    assert layer.skip_weight == pytest.approx(4**0.25)
    scaled = (layer.attention.v_proj, layer.attention.out_proj)
    scaled += (layer.feed_forward.intermediate_dense, layer.feed_forward.output_dense)
    for linear in scaled:
        assert float(linear.weight.detach().std()) == pytest.approx(0.02 / divisor, rel=0.01)
        assert float(linear.bias.detach().abs().max()) == 0
    for linear in (layer.attention.q_proj, layer.attention.k_proj):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.01)
    model.save_pretrained(tmp_path)
    again = MERTModel.from_pretrained(tmp_path)
    assert torch.equal(again.encoder.layers[1].attention.v_proj.weight, model.encoder.layers[1].attention.v_proj.weight)


def test_loading_through_the_meta_device_and_a_device_map_keeps_everything(tiny_config, tmp_path):
    tiny_config.feature_extractor_cqt, tiny_config.feature_extractor_cqt_bins = True, 42
    torch.manual_seed(0)
    model = MERTModel(tiny_config).eval()
    model.save_pretrained(tmp_path)
    waveform = torch.randn(1, 8000)
    expected = model(waveform).last_hidden_state
    with torch.device("meta"):
        empty = MERTModel(tiny_config)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    for arguments in ({}, {"device_map": "cpu"}, {"device_map": {"": "cpu"}, "dtype": torch.float32}):
        loaded = MERTModel.from_pretrained(tmp_path, **arguments).eval()
        torch.testing.assert_close(loaded(waveform).last_hidden_state, expected)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (MERTConfig.mert_95m, 94_371_712),
        (MERTConfig.mert_330m, 315_428_992),
        (MERTConfig.mert_v0, 94_371_712),
    ],
)
def test_presets_have_the_published_number_of_parameters(make, parameters):
    with torch.device("meta"):
        model = MERTModel(make())
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["none", "bool", "infinite", "smallest", "slopes"])
def test_relaxed_attention_and_its_gradient_are_those_of_sdpa_for_every_divisor_and_mask(kind, dtype):
    """Three clips: whole, padded, and of padding alone."""
    audible = (torch.arange(9) < torch.tensor([9, 4, 0])[:, None])[:, None, None].expand(3, 1, 9, 9)
    masks = {
        "none": None,
        "bool": audible,
        "infinite": torch.zeros(3, 1, 9, 9).masked_fill(~audible, -torch.inf),
        "smallest": torch.zeros(3, 1, 9, 9, dtype=dtype).masked_fill(~audible, torch.finfo(dtype).min),
        "slopes": -0.3 * torch.arange(9.0).expand(3, 1, 9, 9),
    }
    mask = masks[kind] if kind in ("none", "bool") else masks[kind].to(dtype)
    torch.manual_seed(0)
    given = [torch.randn(3, 2, 9, 16).to(dtype).requires_grad_() for _ in range(3)]
    expected = torch.nn.functional.scaled_dot_product_attention(*given, attn_mask=mask).transpose(1, 2)
    # where every key has the smallest number, sdpa's own gradient is rounded away
    counted = slice(2) if kind == "smallest" else slice(3)
    gradients = torch.autograd.grad(expected[counted].float().square().sum(), given)
    tolerance = {torch.float32: 2e-6, torch.float64: 1e-12, torch.bfloat16: 0.02, torch.float16: 5e-3}[dtype]
    module = torch.nn.Module()
    for relax in (-1.0, -1, 0.5, 1.0, 32.0, 1000.0):
        module.config = MERTConfig(attention_relax=relax)
        found, _ = relaxed_attention_forward(module, *given, mask)
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
        ours = torch.autograd.grad(found[counted].float().square().sum(), given)
        for gradient, wanted in zip(ours, gradients, strict=True):
            torch.testing.assert_close(gradient, wanted, atol=4 * tolerance, rtol=4 * tolerance)


@torch.no_grad()
def test_relaxed_attention_of_the_whole_model_hears_no_padding(tiny_config):
    torch.manual_seed(0)
    model = MERTModel(quiet(tiny_config)).eval()  # attention_relax is -1, the default
    waveform, mask = torch.randn(2, 8000), torch.ones(2, 8000, dtype=torch.long)
    mask[1, 4000:] = 0
    expected = model(waveform, attention_mask=mask).last_hidden_state
    model.set_attn_implementation("relaxed")
    found = model(waveform, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[0], expected[0], atol=2e-6, rtol=0)
    torch.testing.assert_close(found[1, :12], expected[1, :12], atol=2e-6, rtol=0)
