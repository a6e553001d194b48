"""Checkpoints of fairseq that are damaged, or well-formed and absurd: converted right, or refused."""

import shutil
from pathlib import Path

import numpy as np
import torch
from fuzzing import HOSTILE, damage_bytes, damage_values

from mert_hf.common.errors import InputError
from mert_hf.conversion.fairseq import convert_fairseq_checkpoint

DOCUMENTED = (InputError,)
CHECKPOINT = Path(__file__).parent.parent / "equivalence" / "golden" / "fairseq_95m_like" / "checkpoint.pt"
LAYERS = (
    *(
        "[(512,10,5)] * 10**9",
        "[(512,10,5)] * 9 * 9 * 9 * 9 * 9 * 9 * 9",
        "[(512,10,5)] * 1000000000",
        "[[[(1,2,3)]]]",
        "[(8,)]",
    ),
    *("[(0,0,0)]", "(((" * 400, "-1", "1" * 5000, "+".join(["[(32,10,5)]"] * 3000), "[(32,10,5)] * 7"),
)


def absurd_tensor(rng: np.random.Generator, tensor: torch.Tensor):
    """Something that stands where a tensor of weights is meant."""
    kind = int(rng.integers(12))
    if kind == 0:
        return torch.zeros(1, dtype=torch.float16).expand(10**5, 10**5)
    if kind == 1:
        return tensor.to_sparse()
    if kind == 2:
        return tensor.to(torch.complex64)
    if kind == 3:
        return torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)
    if kind == 4:
        return tensor.to("meta")
    if kind == 5:
        return tensor.reshape(-1)
    if kind == 6:
        return tensor[None]
    if kind == 7:
        return torch.zeros(10**8, 0)
    if kind == 8:
        return tensor.bool()
    if kind == 9:
        return torch.tensor(1.0)
    if kind == 10:
        return tensor * torch.nan
    return HOSTILE[int(rng.integers(len(HOSTILE)))]


def prepare(folder: Path):
    """The small official checkpoint of the tests."""
    file, output = folder / "checkpoint.pt", folder / "model"
    content, state = CHECKPOINT.read_bytes(), torch.load(CHECKPOINT, weights_only=True)
    expected = convert_fairseq_checkpoint(CHECKPOINT, folder / "expected")
    names = sorted(state["model"])

    def strike(rng: np.random.Generator) -> None:
        shutil.rmtree(output, ignore_errors=True)
        kind = rng.random()
        if kind < 0.3:
            file.write_bytes(damage_bytes(rng, content))
        else:
            damaged = {**state, "model": dict(state["model"])}
            if kind < 0.4:
                damaged = damage_values(rng, {name: value for name, value in state.items() if name != "model"})
                damaged = {**damaged, "model": state["model"]} if isinstance(damaged, dict) else damaged
            elif kind < 0.7:
                damaged["cfg"] = damage_values(rng, {part: state["cfg"][part] for part in ("model", "task", "criterion")})
            elif kind < 0.75:
                layers = LAYERS[int(rng.integers(len(LAYERS)))]
                damaged["cfg"] = {**state["cfg"], "model": {**state["cfg"]["model"], "conv_feature_layers": layers}}
            else:
                name = names[int(rng.integers(len(names)))]
                damaged["model"][name] = absurd_tensor(rng, damaged["model"][name])
            torch.save(damaged, file)
        model = convert_fairseq_checkpoint(file, output)
        if kind < 0.3:  # what is taken although bytes differ is what it was: torch's zip files have checksums
            for name, tensor in expected.state_dict().items():
                assert torch.equal(tensor, model.state_dict()[name]), f"unnoticed: {name}"

    return strike
