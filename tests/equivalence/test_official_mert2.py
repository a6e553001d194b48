"""Outputs of the official code of MERT-v2, tiny models of random weights (golden/mert2_*/meta.json: seed, versions, noise)."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, Wav2Vec2FeatureExtractor

from mert_hf import MERT2Config, MERT2Model
from mert_hf.models.conformer_mert2 import rotary_table

GOLDEN = Path(__file__).parent / "golden"
CASES = ("mert2_1_single", "mert2_2_odd", "mert2_3_padded", "mert2_5_long")
TOLERANCE = 2e-5
CLIPS_OF_ODD = ("", "short1025.", "short1919.", "short1920.", "odd3839.")


def golden_of(case: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / case / "golden.safetensors")


def load(case: str, **options) -> MERT2Model:
    model = AutoModel.from_pretrained(GOLDEN / case, **options)
    assert type(model) is MERT2Model
    return model.eval()


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).abs().max())


def inputs_of(golden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if "input_int16" in golden:
        return {"input_values": (golden["input_int16"].float() / 32768)[None]}
    return {name: golden[name] for name in ("input_values", "attention_mask") if name in golden}


def assert_states(outputs, golden: dict[str, torch.Tensor], prefix: str = "", tolerance: float = TOLERANCE) -> None:
    count = sum(name.startswith(f"{prefix}hidden_states.") for name in golden)
    assert count == len(outputs.hidden_states) > 1
    for layer, states in enumerate(outputs.hidden_states):
        assert difference(states, golden[f"{prefix}hidden_states.{layer}"]) < tolerance, (prefix, layer)
    assert difference(outputs.last_hidden_state, golden[f"{prefix}last_hidden_state"]) < tolerance
    assert outputs.hidden_states[-1] is outputs.last_hidden_state


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
@pytest.mark.parametrize("case", CASES)
def test_every_hidden_state(case, attention):
    model, golden = load(case, attn_implementation=attention), golden_of(case)
    outputs = model(**inputs_of(golden), output_hidden_states=True)
    assert_states(outputs, golden)
    if "subsampling.2" in golden:
        assert difference(outputs.extract_features, golden["subsampling.2"]) < TOLERANCE
    if "attention_mask" in golden:
        assert torch.equal(outputs.feature_attention_mask, golden["feature_attention_mask"].bool())


@torch.no_grad()
def test_every_part_of_the_first_case():
    model, golden, found = load("mert2_1_single"), golden_of("mert2_1_single"), {}

    def keep(name):
        return lambda _module, _inputs, output: found.setdefault(name, output[0] if isinstance(output, tuple) else output)

    stages, block = model.subsampling_module, model.layers[0]
    first = stages[0].convnext_layers[0]
    parts = {
        "mel": model.feature_extractor,
        **{f"subsampling.{number}": stage for number, stage in enumerate(stages)},
        "subsampling.0.layer.0.depthwise": first.depthwise_block["1"],
        "subsampling.0.layer.0.grn": first.pointwise_block["3"],
        "subsampling.1.resampled": stages[1].resampling_layer["2"],
        **{f"layer.0.{name}": getattr(block, name) for name in ("ffn1", "attn", "conv_module", "ffn2")},
    }
    for name, part in parts.items():
        part.register_forward_hook(keep(name))
    model(golden["input_values"])
    for name in parts:
        ours = found[name]
        ours = ours if ours.shape == golden[name].shape else ours.mT  # of convolutions, channels come first
        assert difference(ours, golden[name]) < TOLERANCE, name
    frames, head_size = golden["rotary.cos"].shape[-2:]
    for ours, name in zip(rotary_table(frames, head_size, 10_000, "cpu", torch.float32), ("cos", "sin"), strict=True):
        assert difference(ours, golden[f"rotary.{name}"].reshape(frames, head_size)) < 1e-6, name


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS_OF_ODD)
def test_clips_of_odd_lengths_and_a_configuration_unlike_the_published_one(clip):
    model, golden = load("mert2_2_odd"), golden_of("mert2_2_odd")
    outputs = model(golden[f"{clip}input_values"], output_hidden_states=True)
    assert_states(outputs, golden, clip)
    assert difference(model.feature_extractor(golden[f"{clip}input_values"]), golden[f"{clip}mel"]) < 1e-4
    assert difference(outputs.extract_features, golden[f"{clip}subsampling.2"]) < TOLERANCE


@torch.no_grad()
def test_padded_clips_give_what_they_give_alone_in_one_pass_whatever_the_padding_is():
    model, golden = load("mert2_3_padded"), golden_of("mert2_3_padded")
    passes = []
    model.layers[0].register_forward_hook(lambda *_: passes.append(1))
    given, mask = golden["input_values"], golden["attention_mask"]
    outputs = model(given, attention_mask=mask, output_hidden_states=True)
    assert len(passes) == 1
    for clip, frames in enumerate(golden["feature_attention_mask"].sum(1).tolist()):
        alone = {name.removeprefix(f"single.{clip}."): value for name, value in golden.items() if f"single.{clip}." in name}
        for layer, states in enumerate(outputs.hidden_states):
            assert difference(states[clip : clip + 1, :frames], alone[f"hidden_states.{layer}"]) < TOLERANCE
            assert not states[clip, frames:].any()
        assert difference(outputs.extract_features[clip : clip + 1, :frames], alone["subsampling"]) < TOLERANCE
    filled = given.masked_fill(mask == 0, 1e4)
    assert torch.equal(model(filled, attention_mask=mask).last_hidden_state, outputs.last_hidden_state)
    assert difference(model(given).last_hidden_state, golden["nomask.last_hidden_state"]) < TOLERANCE
    middle = given[1:2]
    both = torch.cat([middle, middle.flip(1)])
    both[1] = 0
    both[1, : int(mask[1].sum())] = given[1, : int(mask[1].sum())].flip(0)
    equal = model(torch.cat([middle, both[1:], given[2:]]), attention_mask=mask[[1, 1, 2]]).last_hidden_state
    assert difference(equal[1, : len(golden["equal.last_hidden_state.1"])], golden["equal.last_hidden_state.1"]) < TOLERANCE


@torch.no_grad()
def test_the_front_end_at_its_published_size():
    config = AutoConfig.from_pretrained(GOLDEN / "mert2_4_frontend")
    ours, theirs = MERT2Config.mert2_full_song().to_dict(), config.to_dict()
    apart = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    assert apart <= {"_name_or_path", "architectures", "auto_map", "dtype", "transformers_version"}
    with torch.device("meta"):
        model = MERT2Model(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 632_295_808
    assert len(model.state_dict()) == 876
    front = model.feature_extractor.to_empty(device="cpu")
    fresh = copy.deepcopy(front)
    fresh.reset()
    weights = load_file(GOLDEN / "mert2_4_frontend" / "model.safetensors")
    front.load_state_dict({name.removeprefix("feature_extractor."): value for name, value in weights.items()})
    # the published tables, to the last bit
    assert torch.equal(fresh.spectrogram.window, front.spectrogram.window)
    assert torch.equal(fresh.mel_scale.fb, front.mel_scale.fb)
    golden = golden_of("mert2_4_frontend")
    music = golden["input_values"]
    power = front.power(functional.pad(music.unsqueeze(1), (1024, 1024), mode="reflect").squeeze(1))[0]
    torch.testing.assert_close(power[golden["power.frames"]], golden["power"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(power @ front.mel_scale.fb, golden["mel_power"], rtol=1e-4, atol=1e-3)
    assert difference(front(music), golden["mel"]) < 1e-4
    assert difference(front(music[:, :1025]), golden["shortest.mel"]) < 1e-4
    assert difference(front(torch.zeros(1, 4800)), golden["silence.mel"]) < 1e-4
    for name in ("odd", "tone"):  # without a noise floor, float32's own error is up to 0.24
        assert difference(front(golden[f"{name}.input_values"]), golden[f"{name}.mel"]) < 0.5
    decibels = front(music) * front.mel_std
    front.mel_std.copy_(golden["clamp.mel_std"])
    torch.testing.assert_close(front(music), decibels / front.mel_std.clamp(min=1e-5), rtol=1e-5, atol=1e-2)
    # divided by 1e-5 dB at the least: 20 are 2e-4 dB, and transforms differ by a third of that from one kind of CPU to the next
    torch.testing.assert_close(front(music)[0][:, [3, 90]], golden["clamp.mel.bins3_90"], rtol=1e-5, atol=20.0)


def test_the_gradient_of_every_parameter_that_is_there_also_with_checkpointing():
    golden = golden_of("mert2_1_single")
    for checkpointing in (False, True):
        model = load("mert2_1_single").train()
        if checkpointing:
            model.activation_checkpointing_enable()
        loss = (model(golden["input_values"]).last_hidden_state * golden["grad.probe"]).sum()
        loss.backward()
        assert loss.item() == pytest.approx(float(golden["grad.loss"]), rel=1e-5)
        parameters = dict(model.named_parameters())
        assert all(parameter.grad.isfinite().all() for parameter in parameters.values())
        names = [name for name in golden if name.removeprefix("grad.") in parameters]
        assert len(names) == 11
        for name in names:
            error = (parameters[name.removeprefix("grad.")].grad - golden[name]).norm()
            assert error < 1e-5 * golden[name].norm(), name


@torch.no_grad()
@pytest.mark.parametrize("how", ["cast", "loaded", "autocast"])
def test_bfloat16_with_a_front_end_that_stays_in_float32(how):
    golden = golden_of("mert2_1_single")
    model = load("mert2_1_single", dtype=torch.bfloat16) if how == "loaded" else load("mert2_1_single")
    model = model.to(torch.bfloat16) if how == "cast" else model
    assert all(buffer.dtype == torch.float32 for buffer in model.buffers())
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        outputs = model(golden["input_values"], output_hidden_states=True)
    if how == "autocast":
        assert difference(outputs.last_hidden_state, golden["autocast_bf16.last_hidden_state"]) < 0.15
        return
    for layer, states in enumerate(outputs.hidden_states):
        assert states.dtype == torch.bfloat16
        assert difference(states, golden[f"bf16.hidden_states.{layer}"]) < 0.15
    assert difference(model.feature_extractor(golden["input_values"]), golden["mel"]) < 1e-4


@pytest.mark.parametrize("cast", ["half", "double", "bfloat16"])
def test_a_cast_there_and_back_leaves_the_tables_as_they_were(cast):
    model = load("mert2_1_single")
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    getattr(model, cast)().float()
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [{}, {"device_map": "cpu"}, {"low_cpu_mem_usage": True}, {"device_map": {"": "cpu"}, "dtype": torch.float32}],
    ids=["plain", "device_map", "low_cpu_mem_usage", "device_map and dtype"],
)
def test_nothing_depends_on_memory_that_loading_leaves_uninitialised(options, tmp_path):
    """The official code keeps a table of rotary angles that no checkpoint holds: there, every load gave other features."""
    golden = golden_of("mert2_1_single")
    for load_again in range(3):
        del load_again
        dirty = [torch.full((2**18,), torch.nan) for _ in range(8)]  # what freed memory may hold
        del dirty
        model = AutoModel.from_pretrained(GOLDEN / "mert2_1_single", **options).eval()
        assert_states(model(golden["input_values"], output_hidden_states=True), golden)
    assert model._non_persistent_buffers_set == set()
    in_file = load_file(GOLDEN / "mert2_1_single" / "model.safetensors").keys()
    assert {name for name, _ in (*model.named_parameters(), *model.named_buffers())} == in_file
    model.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == in_file
    again = AutoModel.from_pretrained(tmp_path, **options).eval()
    assert torch.equal(again(golden["input_values"]).last_hidden_state, model(golden["input_values"]).last_hidden_state)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_a_published_repository_loads_as_it_is_and_none_of_its_code_runs(tmp_path, name):
    folder = tmp_path / "MERT-v2"
    shutil.copytree(GOLDEN / "mert2_1_single", folder)
    shutil.copy(GOLDEN / "mert2_4_frontend" / "preprocessor_config.json", folder)
    content = json.loads((folder / "config.json").read_text())
    content[name] = content.pop("torch_dtype")
    (folder / "config.json").write_text(json.dumps(content))
    for module in ("configuration_mert2", "modeling_mert2"):
        (folder / f"{module}.py").write_text("raise SystemExit('remote code was run')\n")
    assert type(AutoConfig.from_pretrained(folder)) is MERT2Config
    assert type(AutoModel.from_pretrained(folder)) is MERT2Model
    assert type(AutoFeatureExtractor.from_pretrained(folder)) is Wav2Vec2FeatureExtractor
    assert AutoModel.from_pretrained(folder).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, m: (x[:, :1024], None), "clips of 1024 samples are too short .* 1025 are needed"),
        (lambda x, m: (x[0], None), r"shape \(batch, samples\), mono; got torch.float32 of shape \(48000,\)"),
        (lambda x, m: (x.int(), None), "must be floating point"),
        (lambda x, m: (x.index_fill(1, torch.tensor([7]), torch.nan), None), "must be finite"),
        (lambda x, m: (x, m.flip(1)), "padding, which lies on the right"),
        (lambda x, m: (x, m * 0.5), "1 for audio and 0 for padding"),
        (lambda x, m: (x, m[:, :-1]), "must have the shape of input_values"),
        (lambda x, m: (x, (torch.arange(48000) < 1024).long().expand(3, -1)), "clips of 1024 samples are too short"),
        (lambda x, m: (x.numpy(), None), "must be a tensor"),
    ],
)
def test_what_the_official_code_refuses_is_refused(change, message):
    model, golden = load("mert2_3_padded"), golden_of("mert2_3_padded")
    waveforms, mask = change(golden["input_values"], golden["attention_mask"].long())
    with pytest.raises(ValueError, match=message):
        model(waveforms, attention_mask=mask)
