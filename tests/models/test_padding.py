"""Padded clips give the features they give alone: in every layer, for any mix of lengths, also in training."""

import pytest
import torch

from mert_hf import MERTConfig, MERTForPreTraining, MERTModel

LENGTHS = [16000, 400, 7001, 12345, 719]
VARIANTS = {
    "post_norm": {},
    "pre_norm": {"do_stable_layer_norm": True},
    "deepnorm": {"deepnorm": True},
    "layer_normalised_convolutions": {"feat_extract_norm": "layer", "conv_bias": True},
    "constant_q_input": {"feature_extractor_cqt": True, "feature_extractor_cqt_bins": 42},
}


def make(variant: str, attention="sdpa", **changes) -> MERTModel:
    torch.manual_seed(0)
    config = MERTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        **{**VARIANTS[variant], **changes},
    )
    return MERTModel._from_config(config, attn_implementation=attention).eval()


def batch():
    generator = torch.Generator().manual_seed(1)
    clips = [0.3 * torch.randn(length, generator=generator) for length in LENGTHS]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = (torch.arange(padded.shape[1]) < torch.tensor(LENGTHS)[:, None]).int()
    return clips, padded, mask


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager", "relaxed"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_equals_the_clip_alone(variant, attention):
    model = make(variant, attention, attention_relax=16.0)
    clips, padded, mask = batch()
    together = model(padded, attention_mask=mask, output_hidden_states=True).hidden_states
    for clip, waveform in enumerate(clips):
        alone = model(waveform[None], output_hidden_states=True).hidden_states
        for layer, (states, expected) in enumerate(zip(together, alone, strict=True)):
            frames = expected.shape[1]
            worst = float((states[clip, :frames] - expected[0]).abs().max())
            assert worst <= 2e-5 * max(1.0, float(expected.std())), (layer, clip, worst)


@torch.no_grad()
def test_what_stands_in_the_padding_does_not_matter():
    model = make("post_norm")
    _, padded, mask = batch()
    dirty = torch.where(mask.bool(), padded, 5.0 * torch.randn_like(padded))
    clean, other = (model(values, attention_mask=mask).last_hidden_state for values in (padded, dirty))
    frames = model._get_feature_vector_attention_mask(clean.shape[1], mask)
    torch.testing.assert_close(other[frames], clean[frames], atol=2e-5, rtol=0)


@torch.no_grad()
def test_without_a_mask_nothing_changes_and_the_switch_restores_the_official_behaviour():
    model, official = make("post_norm"), make("post_norm", padding_invariant=False)
    _, padded, mask = batch()
    assert torch.equal(model(padded).last_hidden_state, official(padded).last_hidden_state)
    ours, theirs = (one(padded, attention_mask=mask).last_hidden_state for one in (model, official))
    assert float((ours - theirs)[1, :1].abs().max()) > 0.1  # the shortest clip, which the official code spoils most


def test_gradients_equal_those_of_the_clips_alone():
    clips, padded, mask = batch()
    gradients = []
    for together in (True, False):
        model = make("post_norm", layerdrop=0.0, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0).train()
        if together:
            states = model(padded, attention_mask=mask, mask_time_indices=torch.zeros(5, 49, dtype=torch.bool))
            frames = model._get_feature_vector_attention_mask(49, mask)
            states.last_hidden_state[frames].square().sum().backward()
        else:
            for waveform in clips:
                no_mask = torch.zeros(1, model.count_frames(len(waveform)), dtype=torch.bool)
                model(waveform[None], mask_time_indices=no_mask).last_hidden_state.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(gradient.norm()) for gradient in gradients[1].values())
    for name, gradient in gradients[1].items():
        assert float((gradients[0][name] - gradient).norm()) <= 1e-4 * max(float(gradient.norm()), 1e-2 * largest), name


def test_the_pre_training_loss_does_not_see_padding():
    torch.manual_seed(0)
    base = make("post_norm").config
    base.codebook_sizes, base.cqt_bins = [8], 12
    model = MERTForPreTraining(base).eval()
    waveform, frames = torch.randn(1, 8000), 24
    inputs = {
        "mask_time_indices": torch.rand(1, frames) < 0.5,
        "labels": torch.randint(0, 8, (1, 1, frames)),
        "cqt_labels": torch.rand(1, frames, 12),
    }
    alone = model(waveform, **inputs)
    grow = torch.nn.functional.pad
    padded = model(
        grow(waveform, (0, 4000)),
        attention_mask=grow(torch.ones(1, 8000), (0, 4000)),
        mask_time_indices=grow(inputs["mask_time_indices"], (0, 13), value=True),
        labels=grow(inputs["labels"], (0, 13)),
        cqt_labels=grow(inputs["cqt_labels"], (0, 0, 0, 13)),
    )
    assert padded.num_masked_frames == alone.num_masked_frames
    torch.testing.assert_close(padded.loss, alone.loss, atol=1e-4, rtol=1e-5)
