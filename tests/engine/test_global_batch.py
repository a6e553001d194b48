"""One update is the same however its clips are dealt out to processes and to batches."""

import pytest
import torch
from support.small_runs import finish, make_objective, save_global_gradient, start
from support.sounds import make_tones

from mert_hf.common.seeding import Draws


def prepare_clips(mert2: bool) -> dict:
    """Four clips with as many masked frames each as chance gives; some have no label in one of the codebooks."""
    objective = make_objective(mert2=mert2)
    clips = torch.stack([torch.from_numpy(make_tones(1.0, 24000, seed)) for seed in range(4)])
    batch = objective.prepare(clips, Draws(3))
    generator = torch.Generator().manual_seed(0)
    batch["mask_time_indices"] = torch.rand(batch["mask_time_indices"].shape, generator=generator) < torch.tensor(
        [[0.1], [0.3], [0.5], [0.9]]
    )
    batch["labels"][1, 0] = -100
    return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}


def cut(batch: dict, sizes: list[int]) -> list[dict]:
    parts = zip(*(value.split(sizes) for value in batch.values()), strict=True)
    return [dict(zip(batch, part, strict=True)) for part in parts]


@pytest.fixture(scope="module", params=[False, True], ids=["MERT", "MERT-v2"])
def whole(request, tmp_path_factory):
    """The gradient of all four clips in one batch of one process."""
    mert2, file = request.param, tmp_path_factory.mktemp("whole") / "gradient.pt"
    batch = prepare_clips(mert2)
    assert finish(start(save_global_gradient, [batch], file, 1, mert2)) == [0]
    return batch, torch.load(file), mert2


@pytest.mark.parametrize(
    ("sizes", "processes", "parts"),
    [([2, 2], 2, 1), ([1, 3], 2, 1), ([2, 2], 1, 2), ([3, 1], 1, 2), ([1, 1, 1, 1], 2, 2)],
    ids=["2 processes", "2 uneven processes", "2 parts", "2 uneven parts", "2 processes x 2 parts"],
)
def test_the_gradient_is_that_of_the_global_batch(whole, tmp_path, sizes, processes, parts):
    batch, expected, mert2 = whole
    file = tmp_path / "gradient.pt"
    assert finish(start(save_global_gradient, cut(batch, sizes), file, parts, mert2, processes=processes)) == [0] * processes
    found = torch.load(file)
    for name, value in expected["logs"].items():
        exact = value.dtype == torch.float64  # the accuracy is counted in float32
        torch.testing.assert_close(found["logs"][name], value, rtol=1e-9 if exact else 1e-6, atol=0)
    assert found["gradient"].keys() == expected["gradient"].keys()
    for name, value in expected["gradient"].items():
        # the biases of the keys, which change no attention, have no gradient but rounding
        assert (found["gradient"][name] - value).norm() <= 1e-9 * value.norm() + 1e-15, name


def test_the_mean_of_the_parts_means_is_another_gradient(whole, tmp_path):
    """So the test above can fail: clips with few masked frames would weigh too much."""
    batch, expected, mert2 = whole
    still = dict(hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0)
    objective = make_objective(mert2=mert2, **still).double()
    for part in cut(batch, [2, 2]):
        (objective(part, objective.count(part)).loss / 2).backward()
    gradient = dict(objective.named_parameters())["model.cqt_head.weight"].grad
    expected = expected["gradient"]["model.cqt_head.weight"]
    assert (gradient - expected).norm() > 0.01 * expected.norm()


@pytest.mark.parametrize("mert2", [False, True], ids=["MERT", "MERT-v2"])
def test_unmasked_frames_and_a_standardised_spectrum_are_those_of_the_global_batch(mert2):
    """Their counts and sums are added up as all are; here of two uneven parts, one of which has hardly a masked frame."""
    batch = prepare_clips(mert2)
    still = dict(hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0)
    objective = make_objective(mert2=mert2, **still).double().train()
    objective.model.config.unmasked_loss_weight, objective.model.config.cqt_standardise = 0.5, True
    found = []
    for sizes in ([4], [1, 3]):
        parts = cut(batch, sizes)
        counts = [objective.count(part) for part in parts]
        totals = {name: sum(count[name] for count in counts) for name in counts[0]}
        outputs = [objective(part, totals) for part in parts]
        objective.zero_grad()
        sum(output.loss for output in outputs).backward()
        gradients = {name: value.grad.clone() for name, value in objective.named_parameters() if value.grad is not None}
        logs = {name: sum(output.logs[name] for output in outputs) for name in outputs[0].logs}
        found.append((gradients, logs))
    (expected, whole), (gradients, logs) = found
    assert {"unmasked_code_loss", "unmasked_cqt_loss"} <= whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(logs[name], value, rtol=1e-9 if value.dtype == torch.float64 else 1e-6, atol=0)
    for name, value in expected.items():
        assert (gradients[name] - value).norm() <= 1e-9 * value.norm() + 1e-15, name
