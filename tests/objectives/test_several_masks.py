"""Several masks a clip: what is computed once is what would be computed for each mask, loss and gradient included."""

import pytest
import torch
from support.multiview_runs import make_data2vec
from support.small_runs import make_objective
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.objectives.data2vec import regression_errors
from mert_hf.objectives.masking import MaskingSettings
from mert_hf.objectives.mixture import NoiseMixture

MASKS = 3
STILL = dict(hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0)
families = pytest.mark.parametrize("mert2", [False, True], ids=["MERT", "MERT-v2"])


def make_clips(count: int = 3, rate: int = 24000) -> torch.Tensor:
    return torch.stack([torch.from_numpy(make_tones(1.0, rate, seed)) for seed in range(count)])


def make(mert2: bool, mixed: bool = False):
    """Masked prediction of double precision that hears each clip under three masks."""
    objective = make_objective(mert2=mert2, **({} if mert2 else STILL)).double().train()
    objective.masking = MaskingSettings(masks=MASKS)
    if not mixed:
        objective.mixture = NoiseMixture(probability=0.0)
    return objective


def to_double(batch: dict) -> dict:
    return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}


def find_gradient(objective, batches: list[dict]) -> tuple[dict, dict]:
    """Logs and gradient of a global batch in parts."""
    counts = [objective.count(batch) for batch in batches]
    totals = {name: sum(count[name] for count in counts) for name in counts[0]}
    outputs = [objective(batch, totals) for batch in batches]
    objective.zero_grad()
    sum(output.loss for output in outputs).backward()
    gradient = {name: value.grad.clone() for name, value in objective.named_parameters() if value.grad is not None}
    return {name: sum(output.logs[name] for output in outputs) for name in outputs[0].logs}, gradient


def assert_same(found: tuple[dict, dict], expected: tuple[dict, dict]) -> None:
    for name, value in expected[0].items():
        exact = value.dtype == torch.float64  # the accuracy is counted in float32
        torch.testing.assert_close(found[0][name], value, rtol=1e-9 if exact else 1e-6, atol=0)
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        assert (found[1][name] - value).norm() <= 1e-9 * value.norm() + 1e-15, name


@families
def test_clips_heard_once_give_what_clips_heard_for_each_mask_give(mert2):
    objective = make(mert2)
    objective.model.config.feature_penalty_weight = 10.0
    objective.model.config.unmasked_loss_weight, objective.model.config.cqt_standardise = 0.5, True
    batch = to_double(objective.prepare(make_clips(), Draws(3)))
    assert [len(value) for value in batch.values()] == [3, 9, 9, 9]
    repeated = {**batch, "input_values": batch["input_values"].repeat(MASKS, 1)}
    assert_same(find_gradient(objective, [batch]), find_gradient(objective, [repeated]))


@families
def test_the_global_batch_is_exact_however_clips_are_dealt_out(mert2):
    objective = make(mert2)
    batch = to_double(objective.prepare(make_clips(4), Draws(3)))
    shares = torch.tensor([0.1, 0.9, 0.5, 0.3]).repeat(MASKS)[:, None]  # so that parts count for more or less
    batch["mask_time_indices"] &= torch.rand(batch["mask_time_indices"].shape) < shares
    rows = torch.arange(4 * MASKS) % 4
    parts = [
        {name: value[:4][clips] if name == "input_values" else value[torch.isin(rows, clips)] for name, value in batch.items()}
        for clips in (torch.tensor([0]), torch.tensor([1, 2, 3]))
    ]
    assert_same(find_gradient(objective, parts), find_gradient(objective, [batch]))


@families
def test_masks_of_padded_clips(mert2):
    """Padding is repeated with its clips, and counts in no loss."""
    model = make(mert2).model.eval()
    clips, mask = make_clips(2).double(), torch.ones(2, 24000)
    clips[1, 15000:] = mask[1, 15000:] = 0
    frames = model.count_frames(24000)
    given = {
        "mask_time_indices": torch.rand(4, frames, generator=torch.Generator().manual_seed(0)) < 0.5,
        "labels": torch.randint(0, 12, (4, 2, frames)),
        "cqt_labels": torch.rand(4, frames, 24).double(),
    }
    found = model(clips, attention_mask=mask, **given)
    expected = model(clips.repeat(2, 1), attention_mask=mask.repeat(2, 1), **given)
    assert found.num_masked_frames == expected.num_masked_frames < given["mask_time_indices"].sum()
    for name in ("loss", "code_loss", "cqt_loss", "feature_penalty", "last_hidden_state"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"mask_time_indices must be a bool tensor of shape \(batch, frames\) = \(2, "):
        model(clips, mask_time_indices=given["mask_time_indices"][:3])


def test_teachers_are_asked_once_and_mixtures_and_masks_drawn_anew():
    objective, asked = make(mert2=True, mixed=True).float(), []
    for teacher in (objective._teachers.codes, objective._teachers.spectrum):
        teacher.register_forward_hook(lambda _module, given, _output: asked.append(len(given[0])))
    clips = make_clips(4)
    batch = objective.prepare(clips, Draws(3))
    assert asked == [4, 4]
    assert torch.equal(batch["labels"][4:8], batch["labels"][:4])
    assert torch.equal(batch["cqt_labels"][8:], batch["cqt_labels"][:4])
    heard, hidden = (batch[name].unflatten(0, (MASKS, 4)) for name in ("input_values", "mask_time_indices"))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(heard[one], heard[other])
        assert (hidden[one] != hidden[other]).any(1).all()
    assert len(set(batch["mask_time_indices"].sum(1).tolist())) == 1
    alone = objective.eval().prepare(clips, Draws(3))  # as validation hears them
    assert torch.equal(alone["input_values"], clips)
    assert len(alone["mask_time_indices"]) == len(alone["labels"]) == 4


def test_data2vec_asks_its_teacher_once():
    """By hand: each mask alone, against targets of its own."""
    objective, asked = make_data2vec().train(), []
    objective.masking = MaskingSettings(0.65, 5, 1, MASKS)
    objective.teacher.copies[0].register_forward_hook(lambda _module, given, _output: asked.append(len(given[0])))
    batch = objective.prepare(make_clips(rate=16000), Draws(0))
    assert [len(value) for value in batch.values()] == [3, 9]
    loss = objective(batch, objective.count(batch)).loss
    assert asked == [3]
    model, errors = objective.model, []
    for mask in batch["mask_time_indices"].split(3):
        features = model.feature_projection(model.feature_extractor(batch["input_values"]).mT)[0]
        targets = objective.compute_targets(features)[mask]
        states = model(batch["input_values"], mask_time_indices=mask).last_hidden_state
        errors.append(regression_errors(objective.head(states[mask]), targets, objective.settings.beta))
    torch.testing.assert_close(loss, torch.cat(errors).mean())
    assert len(objective.eval().prepare(make_clips(rate=16000), Draws(0))["mask_time_indices"]) == 3


def test_no_mask_is_refused():
    with pytest.raises(InputError, match=r"masking\.masks"):
        MaskingSettings(masks=0)
