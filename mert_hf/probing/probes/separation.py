"""Source separation on frozen features: an LSTM that masks the mixture's spectrum (MUSDB18).

From the papers: the backbone is frozen, the probe is a three-layer LSTM of 512 (MARBLE's paper). Everything else is listed in
`mert_hf/tasks/musdb18.py` as ours.
"""

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm import tqdm

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.reading import parse_json
from mert_hf.common.seeding import generator, seed_torch
from mert_hf.probing.metrics import Scores
from mert_hf.probing.metrics.separation import median_over_tracks, track_sdr
from mert_hf.tasks.base import TaskData
from mert_hf.tasks.examples import Example, read_source

Embed = Callable[[torch.Tensor], torch.Tensor]
"""(batch, samples) -> (batch, layers, frames, hidden) float32, frozen, on the device of the input."""

LSTM_LAYERS = 3
LSTM_SIZE = 512
FFT_SAMPLES = 2048


class SeparationProbe(nn.Module):
    """Features -> magnitude masks of all sources -> waveforms with the mixture's phase.

    Args:
        layers, hidden_size: of the features; several layers are summed with learned weights (softmax, equal at first).
        sources: number of sources.
        hop_samples: samples between two frames of the spectrum; the model's own, so that features need no interpolation.
        dropout: between the LSTM's layers.
        lstm_size, fft_samples: width of the LSTM, length of the Hann window.
    """

    def __init__(
        self,
        layers: int,
        hidden_size: int,
        sources: int,
        hop_samples: int,
        dropout: float = 0.0,
        lstm_size: int = LSTM_SIZE,
        fft_samples: int = FFT_SAMPLES,
    ):
        super().__init__()
        self.sources, self.hop_samples, self.fft_samples = sources, hop_samples, fft_samples
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.lstm = nn.LSTM(hidden_size, lstm_size, LSTM_LAYERS, batch_first=True, dropout=dropout)
        self.masks = nn.Linear(lstm_size, sources * (fft_samples // 2 + 1))
        self.register_buffer("window", torch.hann_window(fft_samples), persistent=False)

    def spectrum(self, waveform: torch.Tensor) -> torch.Tensor:
        """(..., samples) -> (..., bins, frames) complex; frame i is centred on sample i * hop_samples."""
        flat = waveform.reshape(-1, waveform.shape[-1])
        spectrum = torch.stft(
            flat, self.fft_samples, self.hop_samples, window=self.window, pad_mode="constant", return_complex=True
        )
        return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[1:])

    def forward(self, features: torch.Tensor, frames: int) -> torch.Tensor:
        """Masks from 0 to 1.

        Args:
            features: (batch, layers, model frames, hidden).
            frames: of the spectrum; each takes the features of its time.

        Returns:
            (batch, sources, bins, frames).
        """
        weights = self.layer_weights.softmax(dim=0)
        summed = torch.einsum("l,blth->bth", weights, features)
        places = torch.arange(frames, device=features.device) * summed.shape[1] // frames
        hidden, _ = self.lstm(self.norm(summed[:, places]))
        masks = self.masks(hidden).unflatten(-1, (self.sources, -1))
        return torch.sigmoid(masks).permute(0, 2, 3, 1)

    def loss(self, features: torch.Tensor, mixture: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """Mean squared error of magnitudes (as in MARBLE's code for this task).

        Args:
            features: (batch, layers, model frames, hidden).
            mixture: (batch, samples).
            sources: (batch, sources, samples).
        """
        mixed = self.spectrum(mixture).abs()
        masks = self(features, mixed.shape[-1])
        return F.mse_loss(masks * mixed.unsqueeze(1), self.spectrum(sources).abs())

    def separate(self, features: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
        """(batch, layers, model frames, hidden) and (batch, samples) -> (batch, sources, samples)."""
        mixed = self.spectrum(mixture)
        masked = (self(features, mixed.shape[-1]) * mixed.unsqueeze(1)).flatten(0, 1)
        waveforms = torch.istft(masked, self.fft_samples, self.hop_samples, window=self.window, length=mixture.shape[-1])
        return waveforms.unflatten(0, (-1, self.sources))


@dataclass
class SeparationResult:
    """A trained probe and how it came to be.

    Attributes:
        probe: with the weights of the best epoch.
        losses: of every epoch, on the training split.
        validation: SDR in dB after every epoch.
    """

    probe: SeparationProbe
    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

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
    probe = _make_probe(embed, data, sampling_rate, hop_samples, seed, device).to(device)
    settings = dict(data=data.fingerprint, sampling_rate=sampling_rate, seed=seed, learning_rate=learning_rate, model=model)
    run = _Run(probe, learning_rate or protocol.learning_rate, protocol.plateau_patience, settings)
    if checkpoint is not None and Path(checkpoint).is_file():
        run.load(Path(checkpoint))
    result = run.result
    for epoch in tqdm(range(len(result.losses) + 1, protocol.max_epochs + 1), desc=task.title, unit="epoch"):
        if protocol.stop_patience is not None and epoch - 1 - result.best_epoch >= protocol.stop_patience:
            break
        result.losses.append(_train_epoch(embed, run, data, sampling_rate, seed, epoch, device))
        run.note(score_separation(embed, probe, data, "validation", sampling_rate, device).values[task.monitor])
        if checkpoint is not None:
            run.save(Path(checkpoint))
    probe.load_state_dict(run.best)
    return result


def _train_epoch(
    embed: Embed, run: "_Run", data: TaskData, sampling_rate: int, seed: int, epoch: int, device: str | torch.device
) -> float:
    """Mean loss of one epoch."""
    protocol, songs = data.task.protocol, data.splits["train"]
    steps = protocol.steps_per_epoch or -(-len(songs) // protocol.batch_size)
    run.result.probe.train()
    seed_torch(seed, "separation dropout", epoch)
    # songs in a new order every epoch; a batch larger than the split holds every song once
    order = generator(seed, "separation order", epoch).permutation(steps * protocol.batch_size) % len(songs)
    losses = []
    for step in range(steps):
        chosen = order[step * protocol.batch_size : (step + 1) * protocol.batch_size][: len(songs)]
        crops = [_crop(data, songs[int(song)], sampling_rate, (seed, epoch, step, place)) for place, song in enumerate(chosen)]
        batch = torch.from_numpy(np.stack(crops)).to(device)
        loss = run.result.probe.loss(_features(embed, batch[:, 0]), batch[:, 0], batch[:, 1:])
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


class _Run:
    """What changes while a probe is trained, and its file."""

    def __init__(self, probe: SeparationProbe, learning_rate: float, patience: int | None, settings: dict):
        self.result, self.settings = SeparationResult(probe), settings
        self.optimizer = torch.optim.Adam(probe.parameters(), lr=learning_rate)
        self.best = _copy(probe)
        self._plateau = None
        if patience is not None:
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, "max", factor=0.5, patience=patience)

    def note(self, score: float) -> None:
        """Take in the validation score of an epoch."""
        self.result.validation.append(score)
        if self._plateau:
            self._plateau.step(score)
        if self.result.best_epoch == len(self.result.validation):
            self.best = _copy(self.result.probe)

    def save(self, path: Path) -> None:
        state = self.optimizer.state_dict()["state"]
        tensors = {f"probe.{name}": tensor for name, tensor in self.result.probe.state_dict().items()}
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
        self.result.probe.load_state_dict(parts["probe"])
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
    embed: Embed, probe: SeparationProbe, data: TaskData, split: str, sampling_rate: int, device: str | torch.device = "cpu"
) -> Scores:
    """Separate every song of a split, window by window, and score it; frames of one second at the model's rate."""
    return median_over_tracks(separate_tracks(embed, probe, data, split, sampling_rate, device), data.labels)


def separate_tracks(
    embed: Embed, probe: SeparationProbe, data: TaskData, split: str, sampling_rate: int, device: str | torch.device = "cpu"
) -> dict[str, NDArray[np.float64]]:
    """(sources,) SDR in dB of every song of a split by its name, as `median_over_tracks` takes them."""
    tracks = {}
    for song in data.splits[split]:
        mixture, *sources = _read_song(data, song, sampling_rate)
        estimate = separate_song(embed, probe, mixture, data, sampling_rate, device)
        tracks[song.name] = track_sdr(np.stack(sources), estimate, sampling_rate, song.name)
    return tracks


def share_of_mixture(data: TaskData, split: str, sampling_rate: int) -> dict[str, NDArray[np.float64]]:
    """As `separate_tracks`, of one who takes the mixture by the number of sources for each of them."""
    tracks = {}
    for song in data.splits[split]:
        mixture, *sources = _read_song(data, song, sampling_rate)
        estimate = np.tile(mixture / len(sources), (len(sources), 1))
        tracks[song.name] = track_sdr(np.stack(sources), estimate, sampling_rate, song.name)
    return tracks


@torch.no_grad()
def separate_song(
    embed: Embed,
    probe: SeparationProbe,
    mixture: np.ndarray,
    data: TaskData,
    sampling_rate: int,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """(samples,) -> (sources, samples); the task's windows are separated one after another and joined."""
    probe.eval()
    parts = []
    for start_s, end_s in data.task.windows.spans(len(mixture) / sampling_rate):
        window = torch.from_numpy(mixture[round(start_s * sampling_rate) : round(end_s * sampling_rate)])[None].to(device)
        parts.append(probe.separate(_features(embed, window), window)[0].cpu().numpy())
    joined = np.concatenate(parts, axis=1)
    # what is left after the last window is too short for the model: silence, which counts against the estimate
    return np.pad(joined, ((0, 0), (0, len(mixture) - joined.shape[1])))


@torch.no_grad()
def _features(embed: Embed, waveform: torch.Tensor) -> torch.Tensor:
    features = embed(waveform)
    if features.ndim != 4:
        raise InputError(f"features must be (batch, layers, frames, hidden); the model gave {tuple(features.shape)}.")
    if not torch.isfinite(features).all():
        raise InputError("the model's features hold NaN or infinity; is its checkpoint whole, and its precision wide enough?")
    return features


def _make_probe(embed: Embed, data: TaskData, sampling_rate: int, hop_samples: int, seed: int, device) -> SeparationProbe:
    shape = _features(embed, torch.zeros(1, sampling_rate, device=device)).shape
    seed_torch(seed, "separation weights")
    protocol = data.task.protocol
    return SeparationProbe(shape[1], shape[3], len(data.labels), hop_samples, protocol.dropout, protocol.hidden_size)


def _read_song(data: TaskData, song: Example, sampling_rate: int, start_s: float = 0.0, end_s: float | None = None) -> list:
    """Mixture and sources, (samples,) each, cut to the shortest."""
    read = [read_source(song.audio, sampling_rate, start_s, end_s, song.name)]
    read += [read_source(source, sampling_rate, start_s, end_s, song.name) for source in data.target(song)]
    shortest = min(map(len, read))
    return [samples[:shortest] for samples in read]


def _crop(data: TaskData, song: Example, sampling_rate: int, counters: Sequence[int]) -> np.ndarray:
    """(1 + sources, samples) of mixture and sources at a random place; a song that is too short is followed by silence."""
    seed, *rest = counters
    duration_s = (data.task.train_windows or data.task.windows).duration_s
    length_s = song.duration_s()
    start_s = generator(seed, "separation crop", *rest).uniform(0, max(length_s - duration_s, 0))
    read = np.stack(_read_song(data, song, sampling_rate, start_s, start_s + duration_s))
    wanted = round(duration_s * sampling_rate)
    return np.pad(read[:, :wanted], ((0, 0), (0, max(wanted - read.shape[1], 0))))
