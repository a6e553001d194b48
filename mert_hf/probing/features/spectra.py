"""The baselines of a listener who learnt nothing: spectra, as mean and deviation over a window.

What a probe finds in them is there without any training; a model must find more.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F

from mert_hf.models.spectra_mert import Chromagram, ConstantQSpectrum, LogMelSpectrum
from mert_hf.probing.features.encoders import Pooling, mean_and_deviation

# frames of a spectrum to each side of its own that a frame of features is taken from
AROUND = 2


class SpectralBaseline(ABC):
    """A spectrum as an [`Encoder`] of one layer: a frame holds its mean and deviation over itself and two frames to each side.

    A window is pooled as mean and deviation of the spectrum whatever a protocol asks of models.

    Args:
        sampling_rate: of the waveforms, in Hz.
    """

    title: str
    layers: tuple[str, ...]
    first_frame_s = 0.0
    frame_rate = 50.0

    def __init__(self, sampling_rate: int = 24000):
        self.sampling_rate, self.hop_samples = sampling_rate, round(sampling_rate / self.frame_rate)
        self.fingerprint = {**self.numbers, "frame_rate": self.frame_rate, "sampling_rate": sampling_rate}

    @property
    @abstractmethod
    def numbers(self) -> Mapping[str, object]:
        """What the spectrum is made with, by name."""

    @property
    @abstractmethod
    def bins(self) -> int:
        """Of the spectrum."""

    @abstractmethod
    def spectrum(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, bins)."""

    @property
    def hidden_size(self) -> int:
        """Numbers a frame: mean and deviation of every bin."""
        return 2 * self.bins

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """See [`Encoder`]."""
        frames = self.spectrum(waveforms.float()).mT
        level = frames.mean(dim=-1, keepdim=True)  # taken out of the squares, in which it would drown the deviation
        around = F.pad(frames - level, (AROUND, AROUND), mode="replicate")
        mean, square = (F.avg_pool1d(values, 2 * AROUND + 1, stride=1) for values in (around, around.square()))
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        return torch.cat([mean + level, deviation], dim=1).mT.unsqueeze(1)

    def pool(self, features: torch.Tensor, pooling: Pooling = "mean") -> torch.Tensor:
        """Mean and deviation over time of the smoothed spectrum."""
        return mean_and_deviation(features[..., : self.bins])


class LogMel(SpectralBaseline):
    """The logarithm of power in fine mel bands; with 64 it does not tell neighbouring semitones apart below 600 Hz."""

    title = "log-mel mean + std"
    layers = ("log-mel",)
    bins = 128
    fft_samples = 2048

    def __init__(self, sampling_rate: int = 24000):
        super().__init__(sampling_rate)
        self._spectrum = LogMelSpectrum(sampling_rate, self.hop_samples, self.bins, self.fft_samples)

    @property
    def numbers(self):
        """See [`SpectralBaseline`]."""
        return {"log_mel": self.bins, "fft_samples": self.fft_samples}

    def spectrum(self, waveforms):
        """See [`SpectralBaseline`]; natural logarithm of power."""
        return self._spectrum(waveforms)


class Chroma(SpectralBaseline):
    """Power folded onto an octave of 36 bins: harmony without register or loudness."""

    title = "chroma mean + std"
    layers = ("chroma",)
    bins = 36
    fft_samples = 8192  # tells semitones apart from 50 Hz upwards

    def __init__(self, sampling_rate: int = 24000):
        super().__init__(sampling_rate)
        self._spectrum = Chromagram(sampling_rate, self.hop_samples, self.bins, self.fft_samples)

    @property
    def numbers(self):
        """See [`SpectralBaseline`]."""
        return {"chroma": self.bins, "fft_samples": self.fft_samples}

    def spectrum(self, waveforms):
        """See [`SpectralBaseline`]; 0 to 1."""
        return self._spectrum(waveforms)


class LogConstantQ(SpectralBaseline):
    """The logarithm of constant-Q magnitudes, three bins a semitone over seven octaves from C1: MERT's musical teacher."""

    title = "log constant-Q mean + std"
    layers = ("constant-Q",)
    bins = 252
    bins_per_octave = 36
    min_hz = 32.7
    tolerance = 1e-3
    # magnitudes of a full-scale sine reach tens, those of music lie around 0.1
    silence = 1e-4

    def __init__(self, sampling_rate: int = 24000):
        super().__init__(sampling_rate)
        self._spectrum = ConstantQSpectrum(
            sampling_rate, self.hop_samples, self.bins, self.bins_per_octave, self.min_hz, self.tolerance
        )

    @property
    def numbers(self):
        """See [`SpectralBaseline`]."""
        return {"log_constant_q": self.bins, "bins_per_octave": self.bins_per_octave, "tolerance": self.tolerance}

    def spectrum(self, waveforms):
        """See [`SpectralBaseline`]; natural logarithm of magnitude."""
        return torch.log(self._spectrum(waveforms) + self.silence)


class AllSpectra(SpectralBaseline):
    """Log-mel, chroma and constant-Q beside each other: the best simple thing where none of them alone is."""

    title = "all three spectra"
    layers = ("spectra",)

    def __init__(self, sampling_rate: int = 24000):
        self._parts = [kind(sampling_rate) for kind in (LogMel, Chroma, LogConstantQ)]
        super().__init__(sampling_rate)

    @property
    def numbers(self):
        """See [`SpectralBaseline`]."""
        return {name: value for part in self._parts for name, value in part.numbers.items() if name != "fft_samples"} | {
            "fft_samples": [LogMel.fft_samples, Chroma.fft_samples]
        }

    @property
    def bins(self):
        """See [`SpectralBaseline`]."""
        return sum(part.bins for part in self._parts)

    def spectrum(self, waveforms):
        """See [`SpectralBaseline`]."""
        return torch.cat([part.spectrum(waveforms) for part in self._parts], dim=-1)


SPECTRAL_BASELINES: tuple[type[SpectralBaseline], ...] = (LogMel, Chroma, LogConstantQ, AllSpectra)
"""Those that stand beside a model in every suite."""


def spectral_baselines() -> list[SpectralBaseline]:
    """All of them, at the rate of MERT."""
    return [kind() for kind in SPECTRAL_BASELINES]
