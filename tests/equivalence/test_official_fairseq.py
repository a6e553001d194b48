"""Losses and gradients of the official fairseq model and criterion on tiny models, through the converted checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mert_hf import MERTForPreTraining
from mert_hf.conversion.checkpoints import rename
from mert_hf.conversion.fairseq import RENAMINGS, convert_fairseq_checkpoint
from mert_hf.teachers import CQTTeacher

GOLDEN = Path(__file__).parent / "golden"
RELATIVE = 1e-4


@pytest.fixture(scope="module", params=["fairseq_95m_like", "fairseq_330m_like"])
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert_fairseq_checkpoint(GOLDEN / request.param / "checkpoint.pt", folder)
    golden = load_file(GOLDEN / request.param / "golden.safetensors")
    meta = json.loads((GOLDEN / request.param / "meta.json").read_text())
    inputs = {
        "input_values": golden["waveform"],
        "mask_time_indices": golden["mask_indices"].bool(),
        "labels": golden["codes"].permute(1, 0, 2).long(),
        "cqt_labels": CQTTeacher(backend="nnaudio")(golden["waveform"]),
    }
    return MERTForPreTraining.from_pretrained(folder).eval(), inputs, golden, meta


def assert_losses(out, golden, prefix=""):
    size = float(golden["sample_size"])
    assert float(out.num_masked_frames) == size
    for ours, theirs in (
        (out.code_loss, golden[f"{prefix}ce_sum_per_codebook"].sum() / size),
        (out.cqt_loss, golden[f"{prefix}cqt_loss"]),
        (out.feature_penalty, golden[f"{prefix}features_pen"]),
        (out.loss, golden[f"{prefix}total_loss_sum"] / size),
    ):
        assert float(ours) == pytest.approx(float(theirs), rel=RELATIVE)


@torch.no_grad()
def test_losses_and_accuracy(case):
    model, inputs, golden, _ = case
    out = model(**inputs)
    assert_losses(out, golden)
    correct = (out.code_accuracy * float(golden["sample_size"])).round().long()
    assert correct.tolist() == golden["correct_per_codebook"].tolist()


@torch.no_grad()
def test_losses_of_the_mixed_clips_with_the_clean_targets(case):
    model, inputs, golden, _ = case
    assert_losses(model(**{**inputs, "input_values": golden["mix.waveform_after"]}), golden, "mix.")


@torch.no_grad()
def test_labels_without_offset_give_the_other_loss(case):
    """The stored loss for raw codes, which lies far enough away (in nats) for a wrong offset to show."""
    model, inputs, golden, _ = case
    raw = model(**{**inputs, "labels": inputs["labels"] - 4}).code_loss
    expected = float(golden["raw_codes_no_offset.ce_sum_per_codebook"].sum() / float(golden["sample_size"]))
    assert float(raw) == pytest.approx(expected, abs=1e-3)
    assert abs(float(model(**inputs).code_loss) - expected) > 1e-2


@torch.no_grad()
def test_encoder_states(case):
    model, inputs, golden, _ = case
    outputs = model.mert(**{name: inputs[name] for name in ("input_values", "mask_time_indices")})
    torch.testing.assert_close(outputs.extract_features, golden["conv_features"], atol=2e-5, rtol=0)
    torch.testing.assert_close(outputs.last_hidden_state, golden["encoder_final"], atol=2e-5, rtol=0)
    unmasked = model.mert(inputs["input_values"], output_hidden_states=True)
    torch.testing.assert_close(unmasked.last_hidden_state, golden["nomask.final"], atol=2e-5, rtol=0)
    for layer in range(model.config.num_hidden_layers - 1):
        torch.testing.assert_close(unmasked.hidden_states[layer + 1], golden[f"nomask.layer.{layer}"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_logits_and_constant_q_targets(case):
    model, inputs, golden, _ = case
    mask = inputs["mask_time_indices"]
    rows = golden["cqt_target_masked_rows"]
    torch.testing.assert_close(inputs["cqt_labels"][:, : mask.shape[1]][mask][: len(rows)], rows, atol=1e-5, rtol=1e-4)
    frames = golden["encoder_final"][mask][:4]
    logits = model.code_head(frames)[0]
    # fairseq puts the positive first and takes it out of its place
    stored = golden["logits_book0_first4"]
    labels = inputs["labels"].mT[:, : mask.shape[1]][mask][:4, 0] + 4
    torch.testing.assert_close(logits.gather(1, labels[:, None]), stored[:, :1], atol=2e-5, rtol=0)
    others = torch.ones_like(logits, dtype=torch.bool).scatter(1, labels[:, None], False)
    torch.testing.assert_close(logits[others], stored[:, 1:][others], atol=2e-5, rtol=0)


def test_gradients(case):
    model, inputs, golden, meta = case
    model.train()  # dropout is 0 in these models; the gradient's factor counts in training
    model.zero_grad()
    model(**inputs).loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.eval()
    assert {rename(name, RENAMINGS) for name in meta["grad_norms"]} == set(gradients)
    for name, norm in meta["grad_norms"].items():
        assert float(gradients[rename(name, RENAMINGS)].norm()) == pytest.approx(norm, rel=RELATIVE, abs=1e-6), name
    stored = {name.removeprefix("grad."): tensor for name, tensor in golden.items() if name.startswith("grad.")}
    assert len(stored) == 11
    for name, gradient in stored.items():
        error = (gradients[rename(name, RENAMINGS)] - gradient).norm() / gradient.norm()
        assert float(error) < RELATIVE, name
