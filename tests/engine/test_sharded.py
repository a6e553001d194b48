"""Shards that would run something when torch reads them."""

import pickle

import pytest
import torch
import torch.distributed.checkpoint as shards

from mert_hf.common.errors import InputError
from mert_hf.engine.sharded import require_plain_shards


class Runs:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def save(folder, value):
    state = {
        "model": {"w": torch.randn(3).bfloat16()},
        "optimizer": {"lr": value, "betas": (0.9, 0.98), "step": torch.tensor(1)},
    }
    shards.save(state, checkpoint_id=folder / "optimizer_0", no_dist=True)


def test_shards_of_weights_and_plain_values_are_taken(tmp_path):
    save(tmp_path, 1e-3)
    require_plain_shards(tmp_path)
    require_plain_shards(tmp_path / "nothing")


def test_a_value_or_an_index_that_runs_something_is_refused_and_not_run(tmp_path):
    save(tmp_path, Runs(tmp_path / "run"))
    with pytest.raises(InputError, match="is refused: .* Nothing in it was run"):
        require_plain_shards(tmp_path)
    assert not (tmp_path / "run").exists()
    (tmp_path / "optimizer_0" / ".metadata").write_bytes(pickle.dumps(Runs(tmp_path / "run")))
    with pytest.raises(InputError, match=r"\.metadata is refused: it names io\.open"):
        require_plain_shards(tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"\x80", pickle.dumps(None), pickle.dumps(torch.Size([1]))])
def test_a_damaged_index_is_refused_in_a_line(tmp_path, content):
    (tmp_path / ".metadata").write_bytes(content)
    with pytest.raises(InputError, match="is refused"):
        require_plain_shards(tmp_path)
