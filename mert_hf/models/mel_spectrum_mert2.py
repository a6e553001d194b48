"""The front end of MERT-v2: decibels of a mel spectrum, normalised band by band. Always in float32, and without a gradient."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import initialization as init

from .configuration_mert2 import MERT2Config
from .spectra_mert import squared_magnitude

# Power at which decibels stop: -100 dB, what silence is.
FLOOR_POWER = 1e-10
# Frames that are transformed at once on a CPU: 128 of 4096 samples are 2 MB, and their spectra as much again.
CACHED_FRAMES = 128
# Least deviation that a band is divided by, in decibels.
LEAST_STD_DB = 1e-5


class MERT2MelSpectrum(nn.Module):
    """Waveform -> mel bands in decibels, 100 times a second; frame i is centred on sample i * hop_length.

    All tables are buffers that lie in the checkpoint, under its names. Nothing here follows a cast: half a precision in the
    window or in the spectrum would move the features of every clip.

    Args:
        config: of the model.
        short: the spectrum of its short transform, `config.short_mel_bins` bands, in place of the long one's.
    """

    def __init__(self, config: MERT2Config, short: bool = False):
        super().__init__()
        self.config = config
        long = config.num_mel_bins, config.n_fft, config.win_length
        sizes = (config.short_mel_bins, config.short_win_length, config.short_win_length) if short else long
        self.bands, self.n_fft, self.win_length = sizes
        self.register_buffer("mel_mean", torch.empty(self.bands, dtype=torch.float32))
        self.register_buffer("mel_std", torch.empty(self.bands, dtype=torch.float32))
        self.spectrogram, self.mel_scale = nn.Module(), nn.Module()
        self.spectrogram.register_buffer("window", torch.empty(self.win_length, dtype=torch.float32))
        self.mel_scale.register_buffer("fb", torch.empty((self.n_fft // 2 + 1, self.bands), dtype=torch.float32))

    def reset(self) -> None:
        """Fill the tables as those of a model with fresh weights; what a checkpoint brings is left as it is."""
        config = self.config
        # the power of a tone grows with the square of the window, that of a band with its width
        louder = 20 * math.log10(self.win_length / config.win_length) + 10 * math.log10(config.num_mel_bins / self.bands)
        init.constant_(self.mel_mean, config.mel_mean_db + louder)
        init.constant_(self.mel_std, config.mel_std_db)
        init.copy_(self.spectrogram.window, torch.hann_window(self.win_length, dtype=torch.float32))
        init.copy_(self.mel_scale.fb, mel_bank(self.n_fft // 2 + 1, self.bands, config.sampling_rate))

    def _apply(self, fn, recurse=True):
        def move(buffer: torch.Tensor) -> torch.Tensor:
            moved = fn(buffer)
            return moved if moved.dtype == torch.float32 else buffer.to(moved.device)

        return super()._apply(move, recurse)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised bands of clips, each of which is continued by reflection at its own ends.

        Args:
            waveform: (batch, samples), within [-1, 1].
            num_samples: (batch,) int64, samples of each clip; what lies behind is padding, and is not looked at. None: all.

        Returns:
            (batch, samples // hop_length, bands) float32. Of padding there is no telling what they are.
        """
        config = self.config
        with torch.autocast(waveform.device.type, enabled=False):
            mel = self.mel_power(waveform.float(), num_samples)
            decibels = 10 * mel.clamp(min=FLOOR_POWER).log10()
            # the transform gives one frame more, centred on the end
            decibels = decibels[:, : waveform.shape[1] // config.hop_length]
            return (decibels - self.mel_mean) / self.mel_std.clamp(min=LEAST_STD_DB)

    def mel_power(self, waveform: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_length + 1, bands), before decibels.

        On a CPU, of a few frames at once: their spectra stay in its cache, which takes half the time, and a small part of the
        memory.
        """
        margin, hop = self.n_fft // 2, self.config.hop_length
        if num_samples is None:
            continued = F.pad(waveform.unsqueeze(1), (margin, margin), mode="reflect").squeeze(1)
        else:
            continued = _reflect(waveform, num_samples, margin)
        if waveform.device.type != "cpu" or torch.compiler.is_compiling():  # one graph
            return self.power(continued) @ self.mel_scale.fb
        frames, at_once = waveform.shape[1] // hop + 1, max(1, CACHED_FRAMES // len(waveform))
        some = (
            continued[:, first * hop : (min(first + at_once, frames) - 1) * hop + self.n_fft]
            for first in range(0, frames, at_once)
        )
        return torch.cat([self.power(piece) @ self.mel_scale.fb for piece in some], dim=1)

    def power(self, continued: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, (samples - n_fft) // hop_length + 1, n_fft // 2 + 1), of the unnormalised transform."""
        window = self.spectrogram.window
        spectrum = torch.stft(
            continued, self.n_fft, self.config.hop_length, self.win_length, window, center=False, return_complex=True
        )
        return squared_magnitude(spectrum).mT


def _reflect(waveform: torch.Tensor, num_samples: torch.Tensor, margin: int) -> torch.Tensor:
    """Clips of several lengths, (batch, samples), with `margin` more at both ends of each, as in a mirror."""
    place = torch.arange(-margin, waveform.shape[1] + margin, device=waveform.device).abs()
    last = num_samples.unsqueeze(1) - 1
    place = torch.where(place > last, 2 * last - place, place).clamp(min=0)
    return waveform.gather(1, place)


def mel_bank(num_frequencies: int, bands: int, sampling_rate: int) -> torch.Tensor:
    """(frequencies, bands): triangles of height 1, evenly spaced on the HTK mel scale from 0 Hz to half the rate, in float32.

    The published table to the last bit: torchaudio's, computed in its order.
    """
    hz = torch.linspace(0, sampling_rate // 2, num_frequencies, dtype=torch.float32)
    highest = 2595.0 * torch.log10(torch.tensor(1.0 + sampling_rate / 2 / 700.0, dtype=torch.float64)).item()
    mels = torch.linspace(0.0, highest, bands + 2, dtype=torch.float32)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    distances = edges.unsqueeze(0) - hz.unsqueeze(1)
    widths = edges[1:] - edges[:-1]
    falling = -distances[:, :-2] / widths[:-1]
    rising = distances[:, 2:] / widths[1:]
    return torch.minimum(falling, rising).clamp(min=0)


__all__ = ["MERT2MelSpectrum"]
