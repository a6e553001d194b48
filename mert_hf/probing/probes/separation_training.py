"""Training of the network that separates, epoch by epoch; what was trained is kept, so that a killed run goes on."""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm import tqdm

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.reading import parse_json
from mert_hf.common.seeding import generator, seed_torch
from mert_hf.probing.metrics import load_metric
from mert_hf.probing.metrics.checks import Scores
from mert_hf.probing.probes.mask_network import Embed, MaskNetwork, frozen_features, random_crop, separate_tracks
from mert_hf.tasks.base import TaskData


@dataclass
class SeparationResult:
    """A trained network and how it came to be."""

    network: MaskNetwork  # with the weights of the best epoch
    losses: list[float] = field(default_factory=list)  # of every epoch, on the training split
    validation: list[float] = field(default_factory=list)  # SDR in dB after every epoch

    @property
    def best_epoch(self) -> int:
        """Counted from 1; 0 before the first."""
        return int(np.argmax(self.validation)) + 1 if self.validation else 0


def train_separation_probe(
    embed: Embed,
    data: TaskData,
    sampling_rate: int,
    hop_samples: int,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    checkpoint: str | os.PathLike | None = None,
    model: Mapping[str, Any] | None = None,
) -> SeparationResult:
    """Train on random crops; the epoch with the best SDR on the validation split is kept.

    Args:
        embed: the frozen model.
        data: a task of kind "separation"; its protocol says batch, epochs and patience, its `train_windows` the crop.
        sampling_rate, hop_samples: of the model.
        learning_rate: the protocol's by default.
        seed: of weights, crops and dropout.
        device: where the probe and the model are.
        checkpoint: safetensors file, written after every epoch; where it exists, training goes on from it and comes to the same
            weights as without a stop.
        model: what the features depend on (`Encoder.fingerprint`), for the checkpoint: one of another model is refused.

    Raises:
        InputError: the task is no separation, features are NaN, or the checkpoint is of other data or settings.
    """
    task = data.task
    if task.kind != "separation":
        raise InputError(f"{task.name} is a {task.kind} task; separation probes need one of kind 'separation'.")
    protocol = task.protocol
    _, layers, _, hidden_size = frozen_features(embed, torch.zeros(1, sampling_rate, device=device)).shape
    seed_torch(seed, "separation weights")
    sizes = (layers, hidden_size, len(data.labels), hop_samples)
    network = MaskNetwork(*sizes, protocol.dropout, protocol.hidden_size).to(device)
    settings = dict(data=data.fingerprint, sampling_rate=sampling_rate, seed=seed, learning_rate=learning_rate, model=model)
    run = _Run(network, learning_rate or protocol.learning_rate, protocol.plateau_patience, settings)
    if checkpoint is not None and Path(checkpoint).is_file():
        run.load(Path(checkpoint))
    result = run.result
    for epoch in tqdm(range(len(result.losses) + 1, protocol.max_epochs + 1), desc=task.title, unit="epoch"):
        if protocol.stop_patience is not None and epoch - 1 - result.best_epoch >= protocol.stop_patience:
            break
        result.losses.append(_train_epoch(embed, run, data, sampling_rate, seed, epoch, device))
        run.note(score_separation(embed, network, data, "validation", sampling_rate, device).values[task.monitor])
        if checkpoint is not None:
            run.save(Path(checkpoint))
    network.load_state_dict(run.best)
    return result


def _train_epoch(
    embed: Embed, run: "_Run", data: TaskData, sampling_rate: int, seed: int, epoch: int, device: str | torch.device
) -> float:
    """Mean loss of one epoch."""
    protocol, songs = data.task.protocol, data.splits["train"]
    steps = protocol.steps_per_epoch or -(-len(songs) // protocol.batch_size)
    run.result.network.train()
    seed_torch(seed, "separation dropout", epoch)
    # songs in a new order every epoch; a batch larger than the split holds every song once
    order = generator(seed, "separation order", epoch).permutation(steps * protocol.batch_size) % len(songs)
    losses = []
    for step in range(steps):
        chosen = order[step * protocol.batch_size : (step + 1) * protocol.batch_size][: len(songs)]
        crops = [
            random_crop(data, songs[int(song)], sampling_rate, (seed, epoch, step, place)) for place, song in enumerate(chosen)
        ]
        batch = torch.from_numpy(np.stack(crops)).to(device)
        loss = run.result.network.loss(frozen_features(embed, batch[:, 0]), batch[:, 0], batch[:, 1:])
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


class _Run:
    """What changes while a probe is trained, and its file."""

    def __init__(self, network: MaskNetwork, learning_rate: float, patience: int | None, settings: dict):
        self.result, self.settings = SeparationResult(network), settings
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        self.best = _copy(network)
        self._plateau = None
        if patience is not None:
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, "max", factor=0.5, patience=patience)

    def note(self, score: float) -> None:
        """Take in the validation score of an epoch."""
        self.result.validation.append(score)
        if self._plateau:
            self._plateau.step(score)
        if self.result.best_epoch == len(self.result.validation):
            self.best = _copy(self.result.network)

    def save(self, path: Path) -> None:
        state = self.optimizer.state_dict()["state"]
        tensors = {f"probe.{name}": tensor for name, tensor in self.result.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"adam.{place}.{name}": tensor for place, values in state.items() for name, tensor in values.items()}
        history = {"losses": self.result.losses, "validation": self.result.validation, "settings": self.settings}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        run = json.dumps({**history, "checksum": _checksum(tensors, history)})
        write_atomically(path, save(tensors, {"run": run}))

    def load(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                history = parse_json((file.metadata() or {}).get("run", "{}"), str(path))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} is damaged: it cannot be read ({error}); remove it to begin again.") from None
        if history.pop("checksum", None) != _checksum(tensors, history):
            raise InputError(f"{path} is not as it was written, or an older mert_hf wrote it; remove it to begin again.")
        if history.get("settings") != self.settings:
            raise InputError(
                f"{path} is no checkpoint of this run: its settings are {history.get('settings')}, now {self.settings}; remove"
                " it or give another file."
            )
        parts: dict[str, dict] = {"probe": {}, "best": {}, "adam": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.result.network.load_state_dict(parts["probe"])
        self.best = parts["best"]
        state: dict[int, dict] = {}
        for name, tensor in parts["adam"].items():
            place, _, rest = name.partition(".")
            state.setdefault(int(place), {})[rest] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.result.losses.extend(history["losses"])
        self.result.validation.extend(history["validation"])
        # the scheduler's state follows from the scores it has seen
        for score in history["validation"] if self._plateau else ():
            self._plateau.step(score)


def _checksum(tensors: dict[str, torch.Tensor], history: dict[str, Any]) -> str:
    pieces = [(name, zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy())) for name, tensor in sorted(tensors.items())]
    return digest_json([pieces, history])


def _copy(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def score_separation(
    embed: Embed, network: MaskNetwork, data: TaskData, split: str, sampling_rate: int, device: str | torch.device = "cpu"
) -> Scores:
    """Median SDR of the songs of a split; see `separate_tracks`."""
    tracks = separate_tracks(embed, network, data, split, sampling_rate, device)
    return load_metric("sdr").over_tracks(tracks, data.labels)
