"""Token dropping: frames that are left out are heard by nobody, and the loss is that of the two parts of each clip."""

import math

import pytest
import torch
from support.small_runs import MERT2_MODEL
from support.sounds import make_tones

from mert_hf import MERT2Config, MERT2Model
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws, generator
from mert_hf.models.conformer_mert2 import rotary_table
from mert_hf.objectives import TokenDropping
from mert_hf.objectives.multiview import MultiViewSettings
from mert_hf.objectives.token_dropping import draw_kept_frames
from mert_hf.pretraining.settings import PretrainSettings


@pytest.fixture
def model() -> MERT2Model:
    """With norms and biases that do something."""
    torch.manual_seed(0)
    made = MERT2Model(MERT2Config(**MERT2_MODEL)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def make_clips(count: int = 3) -> torch.Tensor:
    return torch.stack([torch.from_numpy(make_tones(1.6, 24000, seed)) for seed in range(count)])


@torch.no_grad()
def test_frames_that_are_left_out_are_padding_between_those_that_are_kept(model):
    """By hand, at full length: nobody looks at them, convolutions hear zeros, positions stay."""
    clips = make_clips(2)
    subsampled = model(clips).extract_features
    frames = subsampled.shape[1]
    kept = draw_kept_frames(2, frames, 0.3, generator(0, "test"))
    heard = torch.zeros(2, frames, dtype=torch.bool).scatter(1, kept, True)
    states, rotary = subsampled, rotary_table(frames, 16, model.config.rotary_embedding_base, clips.device, torch.float32)
    for layer in model.layers:
        states = layer(states, rotary, heard[:, None, None].expand(-1, 1, frames, -1), heard.unsqueeze(-1).float())
    outputs = model(clips, kept_frames=kept, output_hidden_states=True)
    expected = states[heard].view(2, kept.shape[1], -1)
    torch.testing.assert_close(outputs.last_hidden_state, expected, rtol=1e-4, atol=1e-5)
    assert [len(states[0]) for states in outputs.hidden_states] == [kept.shape[1]] * 3
    whole = model(clips, kept_frames=torch.arange(frames).expand(2, -1)).last_hidden_state
    torch.testing.assert_close(whole, model(clips).last_hidden_state, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_several_parts_of_a_clip_are_those_of_each(model):
    clips = make_clips(2)
    kept = draw_kept_frames(6, 40, 0.2, generator(0, "test"))
    together = model(clips, kept_frames=kept).last_hidden_state
    for part, found in zip(kept.split(2), together.split(2), strict=True):
        # the convolutions are cut behind the last frame that any clip keeps
        torch.testing.assert_close(found, model(clips, kept_frames=part).last_hidden_state, rtol=1e-4, atol=1e-5)


def test_kept_frames_that_do_not_fit_are_refused(model):
    clips = make_clips(2)
    wrong_rows, no_frames = torch.zeros(3, 2).long(), torch.zeros(2, 0).long()
    for kept in (wrong_rows, torch.full((2, 2), 40), torch.full((2, 2), -1), torch.zeros(2, 2), no_frames):
        with pytest.raises(ValueError, match="kept_frames must be an int64 tensor .* within 0 and 39, batch 2"):
            model(clips, kept_frames=kept)
    with pytest.raises(ValueError, match="neither attention_mask nor mask_time_indices"):
        model(clips, attention_mask=torch.ones_like(clips), kept_frames=torch.zeros(2, 2).long())


def test_parts_are_drawn_evenly():
    kept = draw_kept_frames(4000, 20, 0.25, generator(0, "test"))
    assert kept.shape == (4000, 5) and kept.dtype == torch.int64
    assert (kept.diff(dim=1) > 0).all() and 0 <= kept.min() <= kept.max() <= 19
    counts = kept.flatten().bincount(minlength=20)
    assert (counts - 1000).abs().max() < 5 * math.sqrt(1000 * 0.75)
    assert draw_kept_frames(2, 3, 0.1, generator(0, "test")).shape == (2, 1)


def test_the_loss_is_nt_xent_of_the_means_of_both_parts(model):
    objective = TokenDropping(model, 100, head=(16, 8), temperature=0.2, kept=0.3).eval()
    clips = make_clips(3)
    batch = objective.prepare(clips, Draws(4))
    assert torch.equal(batch["kept_frames"], objective.train().prepare(clips, Draws(4))["kept_frames"])
    objective.eval()
    assert batch["kept_frames"].shape == (6, 12) and len({tuple(row) for row in batch["kept_frames"].tolist()}) == 6
    loss, logs = objective(batch, objective.count(batch))
    parts = [model(clips, kept_frames=rows).last_hidden_state.mean(1) for rows in batch["kept_frames"].split(3)]
    with torch.no_grad():
        vectors = torch.cat([objective.head(part) for part in parts]).double()
    vectors = [(vector / vector.norm()).tolist() for vector in vectors]
    total = 0.0
    for i, one in enumerate(vectors):
        powers = [math.exp(sum(a * b for a, b in zip(one, other, strict=True)) / 0.2) for other in vectors]
        total -= math.log(powers[(i + 3) % 6] / (sum(powers) - powers[i]))
    assert float(loss.detach()) == pytest.approx(total / 6, rel=1e-5)
    assert {"embedding_std", "embedding_rank", "partner_cosine", "other_cosine"} < set(logs)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in objective.parameters())


def test_spectrum_and_subsampler_work_once_for_both_parts(model):
    objective, heard = TokenDropping(model, 100, head=(16, 8)), []
    for part in (model.subsampling_module, model.layers[0]):
        part.register_forward_hook(lambda _module, given, _output: heard.append(tuple(given[0].shape[:2])))
    batch = objective.prepare(make_clips(3), Draws(4))
    objective(batch, objective.count(batch))
    assert heard == [(3, 160), (6, 4)]


def test_what_cannot_be_trained_is_refused(model):
    with pytest.raises(InputError, match="multiview.encoder=resnet cannot leave out frames, .* give mert2"):
        PretrainSettings(objective="token_dropping")
    with pytest.raises(InputError, match="multiview.options.keep is no argument of token_dropping; did you mean kept"):
        PretrainSettings(objective="token_dropping", multiview=MultiViewSettings("mert2", options={"keep": 0.5}))
    settings = PretrainSettings(objective="token_dropping", multiview=MultiViewSettings("mert2", options={"kept": 0.0}))
    with pytest.raises(InputError, match=r"multiview.options: kept=0.0 must lie above 0"):
        TokenDropping.from_settings(settings, model, None)
    assert settings.update_audio_s() == settings.training.batch_size * settings.data.crop_s  # one crop of a track
    objective = TokenDropping(model, 100, head=(16, 8)).eval()
    with pytest.raises(InputError, match=r"takes clips, \(batch, samples\); got \(2, 2, 24000\)"):
        objective.prepare(torch.zeros(2, 2, 24000), Draws(0))
    alone = objective.prepare(make_clips(1), Draws(0))
    with pytest.raises(InputError, match="use --training.batch_size 2 or more"):
        objective(alone, objective.count(alone))
