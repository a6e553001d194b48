"""The network that separates on frozen features, an LSTM whose masks are laid on a mixture's spectrum, and songs in it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import generator
from mert_hf.probing.metrics import load_metric
from mert_hf.tasks.base import TaskData
from mert_hf.tasks.examples import Example, read_source

Embed = Callable[[torch.Tensor], torch.Tensor]
"""(batch, samples) -> (batch, layers, frames, hidden) float32, frozen, on the device of the input."""

TrackScores = dict[str, NDArray[np.float64]]
"""(sources,) SDR in dB of every song by its name, as `SDR.over_tracks` takes them."""

LSTM_LAYERS = 3
LSTM_SIZE = 512
FFT_SAMPLES = 2048


class MaskNetwork(nn.Module):
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


@torch.no_grad()
def frozen_features(embed: Embed, waveform: torch.Tensor) -> torch.Tensor:
    """(batch, samples) -> (batch, layers, frames, hidden) of the frozen model.

    Raises:
        InputError: they have another shape, or hold NaN.
    """
    features = embed(waveform)
    if features.ndim != 4:
        raise InputError(f"features must be (batch, layers, frames, hidden); the model gave {tuple(features.shape)}.")
    if not torch.isfinite(features).all():
        raise InputError("the model's features hold NaN or infinity; is its checkpoint whole, and its precision wide enough?")
    return features


def separate_tracks(
    embed: Embed, network: MaskNetwork, data: TaskData, split: str, sampling_rate: int, device: str | torch.device = "cpu"
) -> TrackScores:
    """Separate every song of a split, window by window, and score it in frames of one second at the model's rate."""
    return _score_tracks(
        data, split, sampling_rate, lambda mixture, _: separate_song(embed, network, mixture, data, sampling_rate, device)
    )


def share_of_mixture(data: TaskData, split: str, sampling_rate: int) -> TrackScores:
    """The same of one who takes the mixture by the number of sources for each of them."""
    return _score_tracks(data, split, sampling_rate, lambda mixture, sources: np.tile(mixture / sources, (sources, 1)))


def _score_tracks(data: TaskData, split: str, sampling_rate: int, separate: Callable[[NDArray, int], NDArray]) -> TrackScores:
    sdr, tracks = load_metric("sdr"), {}
    for song in data.splits[split]:
        mixture, *sources = read_song(data, song, sampling_rate)
        estimate = separate(mixture, len(sources))
        tracks[song.name] = sdr.of_track(np.stack(sources), estimate, sampling_rate, song.name)
    return tracks


@torch.no_grad()
def separate_song(
    embed: Embed,
    network: MaskNetwork,
    mixture: np.ndarray,
    data: TaskData,
    sampling_rate: int,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """(samples,) -> (sources, samples); the task's windows are separated one after another and joined."""
    network.eval()
    parts = []
    for start_s, end_s in data.task.windows.spans(len(mixture) / sampling_rate):
        window = torch.from_numpy(mixture[round(start_s * sampling_rate) : round(end_s * sampling_rate)])[None].to(device)
        parts.append(network.separate(frozen_features(embed, window), window)[0].cpu().numpy())
    joined = np.concatenate(parts, axis=1)
    # what is left after the last window is too short for the model: silence, which counts against the estimate
    return np.pad(joined, ((0, 0), (0, len(mixture) - joined.shape[1])))


def read_song(data: TaskData, song: Example, sampling_rate: int, start_s: float = 0.0, end_s: float | None = None) -> list:
    """Mixture and sources, (samples,) each, cut to the shortest."""
    read = [read_source(song.audio, sampling_rate, start_s, end_s, song.name)]
    read += [read_source(source, sampling_rate, start_s, end_s, song.name) for source in data.target(song)]
    shortest = min(map(len, read))
    return [samples[:shortest] for samples in read]


def random_crop(data: TaskData, song: Example, sampling_rate: int, counters: Sequence[int]) -> np.ndarray:
    """(1 + sources, samples) of mixture and sources at a random place; a song that is too short is followed by silence."""
    seed, *rest = counters
    duration_s = (data.task.train_windows or data.task.windows).duration_s
    length_s = song.duration_s()
    start_s = generator(seed, "separation crop", *rest).uniform(0, max(length_s - duration_s, 0))
    read = np.stack(read_song(data, song, sampling_rate, start_s, start_s + duration_s))
    wanted = round(duration_s * sampling_rate)
    return np.pad(read[:, :wanted], ((0, 0), (0, max(wanted - read.shape[1], 0))))
