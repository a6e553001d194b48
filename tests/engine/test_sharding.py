"""FSDP2 on two processes of a CPU: the same training as without it, with half of the weights in each process."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support.small_runs import finish, make_objective, start, train

from mert_hf.engine.metrics import read_metrics
from mert_hf.synthetic import write_corpus

# all processes must run the same layers
MODEL = {"layerdrop": 0.0}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    write_corpus(folder, 4, 4.0, seed=1)
    return folder


@pytest.fixture(scope="module")
def whole(music, tmp_path_factory):
    """A run of two processes that hold all weights each."""
    folder = tmp_path_factory.mktemp("whole")
    assert finish(start(train, music, folder, 0, False, {"max_steps": 6}, MODEL, processes=2)) == [0, 0]
    return folder


def assert_same_training(folder, whole):
    found, expected = (load_file(place / "model" / "model.safetensors") for place in (folder, whole))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-6, msg=name)
    found, expected = (read_metrics(place / "metrics.jsonl") for place in (folder, whole))
    assert [report["loss"] for report in found] == pytest.approx([report["loss"] for report in expected], rel=1e-5)
    assert [report["grad_norm"] for report in found] == pytest.approx([report["grad_norm"] for report in expected], rel=1e-4)


def test_a_sharded_run_trains_as_one_that_is_not_and_goes_on_from_its_checkpoint(music, whole, tmp_path):
    def run():
        return finish(start(train, music, tmp_path, 0, False, {"max_steps": 6}, MODEL, True, processes=2))

    assert run() == [0, 0]
    assert_same_training(tmp_path, whole)
    sizes = [parameter.numel() for parameter in make_objective(**MODEL).parameters() if parameter.requires_grad]
    held = [sum(json.loads((tmp_path / f"held_{rank}.json").read_text())) for rank in range(2)]
    assert sum(held) == sum(sizes)
    assert max(held) < 0.6 * sum(sizes)

    # weights and moments are read back by the process that holds them
    shutil.rmtree(tmp_path / "checkpoints" / "step_00000006")
    shutil.rmtree(tmp_path / "model")
    assert run() == [0, 0]
    assert_same_training(tmp_path, whole)
