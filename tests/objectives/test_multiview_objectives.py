"""What holds of every multi-view objective, with either encoder."""

import logging
from pathlib import Path

import pytest
import torch
from support.multiview_runs import MULTIVIEW, make_data2vec, make_multiview, save_gradients
from support.small_runs import finish, start
from support.sounds import make_tones
from transformers import AutoModel

from mert_hf import MultiViewConfig, MultiViewModel
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.objectives import OBJECTIVES
from mert_hf.objectives.contrastive import nt_xent
from mert_hf.objectives.heads import Head

NAMES = sorted(MULTIVIEW)
WITH_TEACHER = ("byol", "clustering")


def make_pairs(count: int = 5, seconds: float = 1.5) -> torch.Tensor:
    clips = [torch.from_numpy(make_tones(2 * seconds, 16000, seed)) for seed in range(count)]
    return torch.stack(clips).view(count, 2, -1)


def run(objective, pairs):
    batch = objective.prepare(pairs, Draws(0))
    return objective(batch, objective.count(batch))


def test_sizes_are_those_of_the_comparison():
    assert sum(parameter.numel() for parameter in MultiViewModel(MultiViewConfig()).parameters()) == 2_800_392
    assert sum(parameter.numel() for parameter in Head(1024, (1024, 1024, 2048)).parameters()) == 4_198_400


@pytest.mark.parametrize("kind", ["resnet", "mert"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_encoder_and_not_the_teacher(name, kind):
    objective = make_multiview(name, kind).train()
    output = run(objective, make_pairs())
    output.loss.backward()
    for part, parameter in objective.named_parameters():
        if part.startswith("teacher."):
            assert not parameter.requires_grad
        elif "masked_spec_embed" not in part:
            assert parameter.grad is not None, part
            assert torch.isfinite(parameter.grad).all(), part
    assert any(parameter.grad.abs().max() > 0 for parameter in objective.encoder.parameters() if parameter.grad is not None)
    assert not any(value.requires_grad for value in output.logs.values())
    assert {"loss", "embedding_std", "embedding_rank"} <= set(output.logs)
    assert ("ema_distance" in output.logs) == hasattr(objective, "teacher")


def test_the_loss_is_that_of_the_projected_views():
    objective = make_multiview("contrastive").train()
    pairs = make_pairs()
    expected = nt_xent(*(objective.head(objective.encoder(view)) for view in pairs.unbind(1)))
    torch.testing.assert_close(run(objective, pairs).loss, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_pair_is_refused(name):
    objective = make_multiview(name).eval()
    with pytest.raises(InputError, match="compares the pairs of a batch and got one; use --training.batch_size 2"):
        run(objective, make_pairs(1))
    with pytest.raises(InputError, match=r"two crops of a track, \(batch, 2, samples\); got \(3, 8000\)"):
        objective.prepare(torch.zeros(3, 8000), Draws(0))


@pytest.mark.parametrize("name", NAMES)
def test_a_collapsed_encoder_is_named(name, caplog):
    objective = make_multiview(name).train()
    pooling = objective.encoder.model.pooling.c_proj
    torch.nn.init.zeros_(pooling.weight)
    torch.nn.init.ones_(pooling.bias)
    with caplog.at_level(logging.WARNING):
        run(objective, make_pairs())
        objective.after_step(0)
        assert not caplog.messages  # nothing is concluded of a network that has not learnt yet
        objective.steps.fill_(200)
        run(objective, make_pairs())
        objective.after_step(200)
        objective.after_step(201)
    said = [message for message in caplog.messages if "embedding_std" in message]
    assert len(said) == 1
    assert f"{OBJECTIVES[name].__name__} at update 200: embedding_std is" in said[0]
    assert "all clips get nearly the same embedding" in said[0]


def test_a_clustering_that_uses_few_prototypes_is_named(caplog):
    objective = make_multiview("clustering").train()
    objective.steps.fill_(200)
    run(objective, make_pairs())
    objective.after_step(200)
    assert not [message for message in caplog.messages if "prototypes_used" in message]
    objective.usage.zero_()[3] = 1.0
    objective.steps.fill_(210)
    run(objective, make_pairs())
    objective.after_step(210)
    assert any("prototypes_used" in message and "partial collapse" in message for message in caplog.messages)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_the_teacher_follows_as_its_schedule_says(name):
    """Momentum 0.996 at the first update, half way to 1 in the middle, 1 at the last of 100."""
    for step, momentum in ((0, 0.996), (49.5, 0.998), (99, 1.0)):
        objective = make_multiview(name)
        before = [value.clone() for value in objective.teacher.parameters()]
        followed = [*objective.encoder.parameters(), *objective.head.parameters()]
        with torch.no_grad():
            for value in followed:
                value.add_(1.0)
        objective.after_step(step)
        for old, now, student in zip(before, objective.teacher.parameters(), followed, strict=True):
            torch.testing.assert_close(now, momentum * old + (1 - momentum) * student, rtol=1e-5, atol=1e-6)


def test_clustering_centres_and_sharpens():
    objective = make_multiview("clustering", temperature_steps=10).train()
    logits = torch.cat([objective.teacher(view) for view in make_pairs().unbind(1)])
    run(objective, make_pairs())
    torch.testing.assert_close(objective.center, 0.1 * logits.mean(0))
    temperatures = []
    for step in (0, 5, 10, 50):
        objective.steps.fill_(step)
        temperatures.append(objective.teacher_temperature())
    assert temperatures == pytest.approx([0.02, 0.03, 0.04, 0.04])
    before = objective.center.clone()
    run(objective.eval(), make_pairs())
    assert torch.equal(objective.center, before)


def test_teachers_drop_nothing_out_but_take_the_statistics_of_their_batch():
    for name in WITH_TEACHER:
        teacher = make_multiview(name, "mert").teacher.train()
        for module in teacher.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5
        clips = make_pairs()[:, 0]
        torch.testing.assert_close(teacher(clips), teacher(clips), rtol=0, atol=0)
        norms = [module for module in teacher.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        assert norms and all(module.training for module in norms)


@pytest.mark.parametrize("kind", ["resnet", "mert"])
def test_what_is_published_loads_and_gives_the_same(kind, tmp_path):
    objective = make_multiview("byol", kind).eval()
    objective.export().save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path).eval()
    clips = make_pairs()[:, 0]
    with torch.no_grad():
        states = model(clips)
        found = states.pooler_output if kind == "resnet" else states.last_hidden_state.mean(1)
        torch.testing.assert_close(found, objective.encoder(clips))


@pytest.fixture(scope="module")
def batches():
    clips = torch.stack([torch.from_numpy(make_tones(1.0, 16000, seed)) for seed in range(5)])
    masked = make_data2vec().prepare(clips, Draws(0))
    masked["mask_time_indices"][3:, :20] = True
    whole = {name: make_multiview(name).prepare(make_pairs(), Draws(0)) for name in NAMES} | {"data2vec": masked}
    return {
        name: {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}
        for name, batch in whole.items()
    }


def test_two_processes_are_one_with_the_whole_batch(batches, tmp_path):
    """Losses, gradients and statistics of three pairs here and two there are those of five pairs in one place."""
    found = {}
    for sizes in ([5], [3, 2]):
        dealt = {
            name: [{key: value.split(sizes)[rank] for key, value in batch.items()} for rank in range(len(sizes))]
            for name, batch in batches.items()
        }
        file = Path(tmp_path) / f"{len(sizes)}.pt"
        assert finish(start(save_gradients, dealt, file, processes=len(sizes)), 240) == [0] * len(sizes)
        found[len(sizes)] = torch.load(file)
    for name, expected in found[1].items():
        for part in ("logs", "buffers", "gradient"):
            assert found[2][name][part].keys() == expected[part].keys()
            for key, value in expected[part].items():
                other = found[2][name][part][key]
                if value is None:
                    assert other is None or not other.any(), (name, key)
                    continue
                # the spectra are computed in float32
                assert (other - value).double().norm() <= 1e-4 * value.double().norm() + 1e-9, (name, part, key)
