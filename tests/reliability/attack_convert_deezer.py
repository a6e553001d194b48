"""Checkpoints of Deezer's form that are damaged, or well-formed and absurd: converted right, or refused."""

import re
import shutil
from pathlib import Path

import numpy as np
import torch
from attack_convert import absurd_tensor
from fuzzing import damage_bytes, damage_values

from mert_hf import MultiViewConfig, MultiViewModel
from mert_hf.common.errors import InputError
from mert_hf.conversion.deezer import convert_deezer_checkpoint

DOCUMENTED = (InputError,)
PREFIX = "module.backbone."


def prepare(folder: Path):
    """A small model with random weights under Deezer's names."""
    torch.manual_seed(0)
    model = MultiViewModel(MultiViewConfig(width=4, blocks=[1, 1, 1, 1], hidden_size=16))
    weights = {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r"^stages\.(\d)", lambda match: f"layer{int(match[1]) + 1}", name)
        name = name.replace(".skip.1.", ".downsample.0.").replace(".skip.2.", ".downsample.1.").replace("pooling.", "attnpool.")
        weights[f"{PREFIX}embedding.{name}"] = tensor
    weights[f"{PREFIX}spec.spec.mel_scale.fb"] = model.spectrum.filters(torch.device("cpu"))
    state = {"model": weights, "gin_info": "NT_Xent.temp = 0.1", "epoch": 999, "more": {"loss": [1.0, 2.0]}}
    file, output, names = folder / "weights.pt", folder / "model", sorted(weights)
    torch.save(state, file)
    content = file.read_bytes()

    def strike(rng: np.random.Generator) -> None:
        shutil.rmtree(output, ignore_errors=True)
        kind = rng.random()
        if kind < 0.3:
            file.write_bytes(damage_bytes(rng, content))
        elif kind < 0.4:
            torch.save(damage_values(rng, {"model": {"a": 1}, "epoch": [1]}), file)
        elif kind < 0.6:
            shifted = {name: tensor for name, tensor in weights.items() if rng.random() < 0.98}
            stages = ("layer9.0.", "layer1.7.", "layer1.99999999.", "layer2.x.", "layer3..")
            stage = stages[int(rng.integers(len(stages)))]
            shifted[f"{PREFIX}embedding.{stage}conv1.weight"] = torch.zeros(1)
            torch.save({**state, "model": shifted}, file)
        else:
            name = names[int(rng.integers(len(names)))]
            torch.save({**state, "model": {**weights, name: absurd_tensor(rng, weights[name])}}, file)
        converted = convert_deezer_checkpoint(file, output)
        if kind < 0.3:
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, converted.state_dict()[name]), f"unnoticed: {name}"

    return strike
