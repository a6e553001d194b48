import math

import numpy as np
import pytest
import torch
from support.sounds import make_tones
from transformers import AutoModel, AutoModelForPreTraining, HubertConfig, HubertModel

from mert_hf import MERTConfig, MERTForPreTraining, MERTForSequenceClassification, MERTModel


@pytest.fixture
def batch(tiny_config):
    torch.manual_seed(0)
    model = MERTForPreTraining(tiny_config).eval()
    frames = model.count_frames(8000)
    return model, {
        "input_values": 0.1 * torch.randn(3, 8000),
        "mask_time_indices": torch.rand(3, frames) < 0.5,
        "labels": torch.stack([torch.randint(0, 16, (3, frames)), torch.randint(0, 12, (3, frames))], dim=1),
        "cqt_labels": torch.rand(3, frames, 24),
    }


@pytest.mark.parametrize(("samples", "frames"), [(120000, 374), (122880, 383), (24000, 74), (400, 1), (399, 0)])
def test_frame_counts_are_those_of_the_official_models(tiny_config, samples, frames):
    model = MERTModel(tiny_config).eval()
    assert model.count_frames(samples) == frames
    if frames:
        assert model(torch.randn(1, samples)).last_hidden_state.shape == (1, frames, 32)


@pytest.mark.parametrize("stable", [False, True])
def test_encoder_computes_what_hubert_computes(tiny_config, stable):
    tiny_config.do_stable_layer_norm = stable
    model = MERTModel(tiny_config).eval()
    hubert = HubertModel(HubertConfig.from_dict({**tiny_config.to_dict(), "model_type": "hubert"})).eval()
    hubert.load_state_dict(model.state_dict())
    waveform = torch.randn(2, 8000)
    ours, theirs = model(waveform, output_hidden_states=True), hubert(waveform, output_hidden_states=True)
    assert len(ours.hidden_states) == 3
    torch.testing.assert_close(ours.last_hidden_state, theirs.last_hidden_state)
    for mine, other in zip(ours.hidden_states[:-1], theirs.hidden_states[:-1], strict=True):
        torch.testing.assert_close(mine, other)
    # the official convention: the last state is normalised, also in pre-norm models
    torch.testing.assert_close(ours.hidden_states[-1], ours.last_hidden_state)


@torch.no_grad()
def test_losses_equal_the_formulas_written_out_frame_by_frame(batch):
    """Facts: sum over codebooks of the mean cross-entropy of cosine / 0.1, + 1 * MSE of the spectrum, + 10 * mean square."""
    model, inputs = batch
    out = model(**inputs)
    encoded = model.mert(inputs["input_values"], mask_time_indices=inputs["mask_time_indices"])
    states, mask = encoded.last_hidden_state, inputs["mask_time_indices"]
    weight, bias = model.code_head.projection.weight.double(), model.code_head.projection.bias.double()
    tables = [model.code_head.code_embeddings[:16].double(), model.code_head.code_embeddings[16:].double()]
    code_loss, right, errors = 0.0, [0, 0], []
    frames = [(clip, frame) for clip in range(3) for frame in range(mask.shape[1]) if mask[clip, frame]]
    for book in range(2):
        total = 0.0
        for clip, frame in frames:
            projected = (weight @ states[clip, frame].double() + bias)[8 * book : 8 * book + 8]
            scores = [float(projected @ code / (projected.norm() * code.norm())) / 0.1 for code in tables[book]]
            label = int(inputs["labels"][clip, book, frame])
            total += math.log(sum(math.exp(score) for score in scores)) - scores[label]
            right[book] += scores.index(max(scores)) == label
        code_loss += total / len(frames)
    for clip, frame in frames:
        predicted = model.cqt_head.weight.double() @ states[clip, frame].double() + model.cqt_head.bias.double()
        errors.append(float(((predicted - inputs["cqt_labels"][clip, frame].double()) ** 2).mean()))
    cqt_loss = sum(errors) / len(frames)
    penalty = float((encoded.extract_features.double() ** 2).mean())
    assert out.num_masked_frames == len(frames)
    assert float(out.code_loss) == pytest.approx(code_loss, rel=1e-5)
    assert float(out.cqt_loss) == pytest.approx(cqt_loss, rel=1e-5)
    assert float(out.feature_penalty) == pytest.approx(penalty, rel=1e-5)
    assert float(out.loss) == pytest.approx(code_loss + cqt_loss + 10 * penalty, rel=1e-5)
    assert out.code_accuracy.tolist() == pytest.approx([count / len(frames) for count in right])


def test_weights_of_the_losses_are_fields_of_the_configuration(batch):
    model, inputs = batch
    model.config.code_loss_weight, model.config.cqt_loss_weight, model.config.feature_penalty_weight = 0.5, 3.0, 7.0
    out = model(**inputs)
    torch.testing.assert_close(out.loss, 0.5 * out.code_loss + 3 * out.cqt_loss + 7 * out.feature_penalty)


def test_unmasked_frames_and_ignored_labels_do_not_count(batch):
    model, inputs = batch
    before = model(**inputs)
    unmasked = ~inputs["mask_time_indices"]
    labels = inputs["labels"].clone()
    labels.mT[unmasked] = 5
    inputs["cqt_labels"][unmasked] = 1e6
    after = model(**{**inputs, "labels": labels})
    torch.testing.assert_close(after.loss, before.loss)
    half = inputs["labels"].clone()
    half[:, 1] = -100
    ignored = model(**{**inputs, "labels": half})
    assert ignored.code_loss < before.code_loss
    assert torch.isnan(ignored.code_accuracy).tolist() == [False, True]


def test_code_offset_shifts_the_labels(batch):
    model, inputs = batch
    inputs["labels"] = inputs["labels"] % 8
    expected = model(**{**inputs, "labels": inputs["labels"] + 4}).code_loss
    model.code_head.code_offset = 4
    torch.testing.assert_close(model(**inputs).code_loss, expected)


def test_longer_labels_are_cut_and_shorter_ones_refused(batch):
    model, inputs = batch
    expected = model(**inputs).loss
    longer = {
        "labels": torch.nn.functional.pad(inputs["labels"], (0, 2)),
        "cqt_labels": torch.nn.functional.pad(inputs["cqt_labels"], (0, 0, 0, 3)),
    }
    torch.testing.assert_close(model(**{**inputs, **longer}).loss, expected)
    for name, cut in (("labels", inputs["labels"][..., :-1]), ("cqt_labels", inputs["cqt_labels"][:, :-1])):
        with pytest.raises(ValueError, match=f"{name} has 23 frames, fewer than the 24 of the model"):
            model(**{**inputs, name: cut})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_time_indices": None}, "mask_time_indices is required"),
        ({"mask_time_indices": torch.zeros(3, 24)}, "bool tensor"),
        ({"mask_time_indices": torch.zeros(3, 23, dtype=torch.bool)}, r"shape \(batch, frames\) = \(3, 24\)"),
        ({"labels": torch.zeros(3, 3, 24, dtype=torch.long)}, "2 codebooks"),
        ({"labels": torch.full((3, 2, 24), 12)}, r"label 12 .* is outside codebook 1 of 12 classes"),
        ({"cqt_labels": torch.zeros(3, 24, 25)}, "24 bins"),
    ],
)
def test_refuses_what_does_not_fit(batch, change, message):
    model, inputs = batch
    with pytest.raises(ValueError, match=message):
        model(**{**inputs, **change})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_values": torch.zeros(2, 2, 8000)}, r"mono; got torch.float32 of shape \(2, 2, 8000\)"),
        ({"input_values": torch.zeros(2, 8000, dtype=torch.int16)}, "must be floating point"),
        ({"input_values": torch.zeros(2, 399)}, "clips of 399 samples are too short"),
        ({"input_values": torch.zeros(2, 8000), "attention_mask": torch.ones(2, 24)}, r"samples, not frames\); got \(2, 24\)"),
    ],
)
def test_the_encoder_names_inputs_it_cannot_take(tiny_config, arguments, message):
    with pytest.raises(ValueError, match=message):
        MERTModel(tiny_config).eval()(**arguments)


def test_hidden_states_are_never_short_of_a_layer(tiny_config):
    tiny_config.layerdrop = 0.5
    model = MERTModel(tiny_config).train()
    with pytest.raises(ValueError, match="while LayerDrop leaves out layers .*model.eval"):
        model(torch.zeros(1, 8000), output_hidden_states=True)
    model(torch.zeros(1, 8000))
    model.config.output_hidden_states = True  # asks as well as the call does, which goes first
    with pytest.raises(ValueError, match="while LayerDrop leaves out layers .*model.eval"):
        model(torch.zeros(1, 8000))
    assert model(torch.zeros(1, 8000), output_hidden_states=False).hidden_states is None
    assert len(model.eval()(torch.zeros(1, 8000)).hidden_states) == 3


def test_never_draws_masks_itself(batch):
    model, inputs = batch
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.layerdrop, model.config.attention_dropout = 0.0, 0.0
    for layer in model.mert.encoder.layers:
        layer.attention.dropout = 0.0
    model.train()
    first, second = (model(inputs["input_values"]).last_hidden_state for _ in range(2))
    torch.testing.assert_close(first, second)
    assert model(inputs["input_values"]).loss is None


def test_every_parameter_is_trained(batch):
    model, inputs = batch
    model(**inputs).loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # a key's bias shifts all scores of a query alike, which softmax does not see
    assert [name for name in without if "k_proj.bias" not in name] == []


@torch.no_grad()
def test_initialisation_is_fairseqs():
    torch.manual_seed(0)
    model = MERTForPreTraining(MERTConfig(num_hidden_layers=1, hidden_size=768, conv_dim=[512] * 7))
    conv = model.mert.encoder.pos_conv_embed.conv
    assert conv.weight.std() == pytest.approx(math.sqrt(4 / (128 * 768)), rel=0.02)
    assert conv.bias.abs().max() == 0
    assert model.mert.encoder.layers[0].feed_forward.intermediate_dense.weight.std() == pytest.approx(0.02, rel=0.02)
    assert model.mert.feature_projection.projection.weight.abs().max() == pytest.approx(1 / math.sqrt(512), rel=0.01)
    assert model.code_head.projection.weight.abs().max() == pytest.approx(1 / math.sqrt(768), rel=0.01)
    embeddings = model.code_head.code_embeddings
    assert 0 <= embeddings.min() < 0.01 < 0.99 < embeddings.max() <= 1


def test_saved_folder_loads_with_the_auto_classes(batch, tmp_path, caplog):
    model, inputs = batch
    model.save_pretrained(tmp_path)
    again = AutoModelForPreTraining.from_pretrained(tmp_path).eval()
    base = AutoModel.from_pretrained(tmp_path).eval()
    assert (type(again), type(base)) == (MERTForPreTraining, MERTModel)
    expected = model.state_dict()
    assert set(again.state_dict()) == set(expected)
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    for name, tensor in base.state_dict().items():
        torch.testing.assert_close(tensor, expected["mert." + name], rtol=0, atol=0)
    waveform = inputs["input_values"]
    torch.testing.assert_close(base(waveform).last_hidden_state, model(waveform).last_hidden_state)


@torch.no_grad()
def test_losses_are_finite_in_bfloat16(batch):
    model, inputs = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**inputs)
    full = model(**inputs)
    assert out.code_loss.dtype == torch.float32
    assert float(out.loss) == pytest.approx(float(full.loss), rel=0.05)


@pytest.mark.parametrize("heads", [MERTModel, MERTForPreTraining, MERTForSequenceClassification])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (np.zeros((2, 8000), np.float32), None), "input_values must be a tensor; got ndarray"),
        (lambda: ([[0.1] * 8000], None), "input_values must be a tensor; got list"),
        (lambda: (None, None), "input_values is missing"),
        (lambda: (torch.zeros(2, 8000, dtype=torch.int64), None), "must be floating point of shape"),
        (lambda: (torch.zeros(2, 1, 8000), None), r"got torch.float32 of shape \(2, 1, 8000\)"),
        (lambda: (torch.zeros(0, 8000), None), r"of shape \(0, 8000\)"),
        (lambda: (torch.zeros(2, 8000), np.ones((2, 8000))), "attention_mask must be a tensor; got ndarray"),
        (lambda: (torch.zeros(2, 8000), torch.ones(2, 24)), "attention_mask must have the shape of input_values"),
        (lambda: (torch.zeros(2, 8000), torch.zeros(2, 8000)), "clips of 0 samples are too short"),
        (lambda: (torch.zeros(2, 8000), torch.ones(2, 8000).tril(300)), "clips of 301 samples are too short"),
        (lambda: (torch.zeros(2, 8000), torch.ones(2, 8000).flip(1).triu(4000)), "lies on the right of every clip"),
        (lambda: (torch.zeros(2, 8000), torch.full((2, 8000), 0.5)), "must be 1 for audio and 0 for padding"),
    ],
)
def test_what_is_no_batch_of_waveforms_is_told_in_one_line(tiny_config, heads, make, message):
    values, mask = make()
    with pytest.raises(ValueError, match=message) as told:
        heads(tiny_config).eval()(values, attention_mask=mask)
    assert "\n" not in str(told.value)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float16, torch.float32, torch.uint8])
def test_a_mask_of_any_type_is_the_same_mask(tiny_config, dtype):
    torch.manual_seed(0)
    model, waveform = MERTForSequenceClassification(tiny_config).eval(), torch.randn(2, 8000)
    mask = torch.ones(2, 8000, dtype=torch.long)
    mask[1, 5001:] = 0
    expected = model(waveform, attention_mask=mask).logits
    torch.testing.assert_close(model(waveform, attention_mask=mask.to(dtype)).logits, expected, atol=0, rtol=0)


@torch.no_grad()
def test_a_constant_q_input_may_be_computed_fast(tiny_config):
    """To its tolerance: exact where a configuration says nothing, as published ones do."""
    tiny_config.feature_extractor_cqt, tiny_config.feature_extractor_cqt_bins = True, 84
    assert tiny_config.feature_extractor_cqt_tolerance == 0
    torch.manual_seed(0)
    exact = MERTModel(tiny_config).eval()
    tiny_config.feature_extractor_cqt_tolerance = 1e-3
    fast = MERTModel(tiny_config).eval()
    fast.load_state_dict(exact.state_dict())
    assert (exact.feature_extractor_cqt.first_short, fast.feature_extractor_cqt.first_short > 0) == (0, True)
    clip = torch.from_numpy(make_tones(2.0, 24000))[None]
    spectra = [model.feature_extractor_cqt(clip) for model in (exact, fast)]
    assert 0 < float((spectra[1] - spectra[0]).norm()) < 1e-3 * float(spectra[0].norm())
    states = [model(clip).last_hidden_state for model in (exact, fast)]
    assert float((states[1] - states[0]).norm()) < 1e-2 * float(states[0].norm())
