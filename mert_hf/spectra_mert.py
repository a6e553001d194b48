"""Spectra of music in plain torch, frame-aligned with MERT: frame i is centred on sample i * hop_samples."""

import math

import torch
import torch.nn as nn
from transformers.audio_utils import chroma_filter_bank, mel_filter_bank

# Power, relative to a full-scale sine, that is added before the logarithm: what lies 80 dB down is taken as silence.
SILENCE_POWER = 1e-8


class PowerSpectrum(nn.Module):
    """Short-time power spectrum in which a full-scale sine reaches 1.

    Args:
        hop_samples: samples between two frames.
        fft_samples: length of the Hann window and of the transform.
    """

    def __init__(self, hop_samples: int, fft_samples: int):
        super().__init__()
        self.hop_samples = hop_samples
        self.fft_samples = fft_samples
        window = torch.hann_window(fft_samples)
        self.register_buffer("window", 2 * window / window.sum(), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_samples + 1, fft_samples // 2 + 1), zeros beyond the ends."""
        spectrum = torch.stft(
            waveform, self.fft_samples, self.hop_samples, window=self.window, pad_mode="constant", return_complex=True
        )
        return spectrum.abs().square().mT


class LogMelSpectrum(nn.Module):
    """Natural logarithm of the power in bands spaced evenly on the mel scale (HTK), floored at -80 dB.

    Args:
        sampling_rate: samples per second of the input.
        hop_samples: samples between two frames (320 at 24 kHz: 75 frames per second).
        bins: number of mel bands.
        fft_samples: length of the transform; too short for `bins` is an error, as some bands would hold no frequency.
        min_hz, max_hz: edges of the lowest and the highest band; max_hz defaults to half the sampling rate.
    """

    def __init__(self, sampling_rate=24000, hop_samples=320, bins=128, fft_samples=2048, min_hz=30.0, max_hz=None):
        super().__init__()
        max_hz = sampling_rate / 2 if max_hz is None else max_hz
        if not 0 <= min_hz < max_hz <= sampling_rate / 2:
            raise ValueError(
                f"min_hz={min_hz} and max_hz={max_hz} must be ordered within 0 and {sampling_rate / 2:g} Hz, half the rate."
            )
        self.bins = bins
        self.spectrum = PowerSpectrum(hop_samples, fft_samples)
        edges = _mel_band_edges_hz(bins, min_hz, max_hz)
        narrowest_hz = edges[1] - edges[0]
        if narrowest_hz < sampling_rate / fft_samples:
            needed = 2 ** math.ceil(math.log2(sampling_rate / narrowest_hz))
            raise ValueError(
                f"{bins} mel bands from {min_hz:g} Hz are narrower ({narrowest_hz:.1f} Hz) than the frequencies of a transform"
                f" of {fft_samples} samples ({sampling_rate / fft_samples:.1f} Hz apart); use fft_samples={needed} or fewer"
                " bins."
            )
        bank = mel_filter_bank(fft_samples // 2 + 1, bins, min_hz, max_hz, sampling_rate)
        self.register_buffer("bank", torch.from_numpy(bank).float(), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, bins), between ln(1e-8) and about ln(bandwidth)."""
        return torch.log(self.spectrum(waveform) @ self.bank + SILENCE_POWER)


class Chromagram(nn.Module):
    """Power folded onto one octave, each frame scaled to length 1 (0 in silence): which pitch classes sound.

    Args:
        sampling_rate, hop_samples: as in [`LogMelSpectrum`].
        bins: divisions of the octave, a multiple of 12; bin 0 is C (264 in MERT's k-means teacher).
        fft_samples: length of the transform; 4096 at 24 kHz separates semitones from about 100 Hz upwards.
    """

    def __init__(self, sampling_rate=24000, hop_samples=320, bins=264, fft_samples=4096):
        super().__init__()
        if bins % 12:
            raise ValueError(f"bins={bins} must be a multiple of 12, the semitones of an octave.")
        self.bins = bins
        self.spectrum = PowerSpectrum(hop_samples, fft_samples)
        bank = chroma_filter_bank(fft_samples, bins, sampling_rate).T
        self.register_buffer("bank", torch.from_numpy(bank.copy()).float(), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, bins), 0 to 1."""
        chroma = self.spectrum(waveform) @ self.bank
        return chroma / (torch.linalg.vector_norm(chroma, dim=-1, keepdim=True) + SILENCE_POWER)


class ConstantQSpectrum(nn.Module):
    """Magnitudes of the constant-Q transform, as an input of the encoder (`feature_extractor_cqt`).

    Kernels of Q periods under a Hann window, L1-normalised, and magnitudes scaled by the square root of the kernel's length
    (nnAudio's CQT1992v2 with its defaults, which the official model uses).

    Args:
        sampling_rate, hop_samples: as in [`LogMelSpectrum`].
        bins: number of bins.
        bins_per_octave: bins an octave.
        min_hz: centre of the lowest bin.
    """

    def __init__(self, sampling_rate: int, hop_samples: int, bins: int, bins_per_octave: int, min_hz: float = 32.7):
        super().__init__()
        self.sampling_rate, self.hop_samples = sampling_rate, hop_samples
        self.bins, self.bins_per_octave, self.min_hz = bins, bins_per_octave, min_hz
        # made at the first use, on the device of the input: as buffers they would have to survive loading on the meta device
        self._kernels: torch.Tensor | None = None

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_samples + 1, bins), zeros beyond the ends."""
        if self._kernels is None or self._kernels.device != waveform.device:
            self._kernels = self._make_kernels().to(waveform.device)
        width = self._kernels.shape[-1]
        with torch.autocast(waveform.device.type, enabled=False):
            parts = nn.functional.conv1d(
                waveform.float().unsqueeze(1), self._kernels, stride=self.hop_samples, padding=width // 2
            )
            return parts.unflatten(1, (2, self.bins)).square().sum(1).sqrt().mT

    def _make_kernels(self) -> torch.Tensor:
        """(2 * bins, 1, width): real parts, then imaginary ones, each kernel in the middle."""
        quality = 1 / (2 ** (1 / self.bins_per_octave) - 1)
        frequencies_hz = [self.min_hz * 2 ** (bin / self.bins_per_octave) for bin in range(self.bins)]
        lengths = [math.ceil(quality * self.sampling_rate / hz) for hz in frequencies_hz]
        width = 2 ** math.ceil(math.log2(lengths[0]))
        kernels = torch.zeros(2, self.bins, width, dtype=torch.float64)
        for bin, (hz, length) in enumerate(zip(frequencies_hz, lengths, strict=True)):
            window = torch.hann_window(length, dtype=torch.float64)
            first = -((length + 1) // 2)
            phase = 2 * math.pi * hz / self.sampling_rate * torch.arange(first, first + length, dtype=torch.float64)
            # the window's sum is the L1 norm, since every point of the wave has length 1
            kernel = torch.stack([window * phase.cos(), window * phase.sin()]) * (math.sqrt(length) / window.sum())
            start = width // 2 + first
            kernels[:, bin, start : start + length] = kernel
        return kernels.flatten(0, 1).unsqueeze(1).float()


def _mel_band_edges_hz(bins: int, min_hz: float, max_hz: float) -> list[float]:
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (min_hz, max_hz))
    mels = [low + (high - low) * i / (bins + 1) for i in range(bins + 2)]
    return [700 * (10 ** (mel / 2595) - 1) for mel in mels]


__all__ = ["Chromagram", "ConstantQSpectrum", "LogMelSpectrum", "PowerSpectrum"]
