"""Spectra of music in plain torch, frame-aligned with MERT: frame i is centred on sample i * hop_samples."""

import math
import warnings
from functools import lru_cache

import torch
import torch.nn as nn
from transformers.audio_utils import chroma_filter_bank, hertz_to_mel, mel_filter_bank, mel_to_hertz

# Power, relative to a full-scale sine, that is added before the logarithm: what lies 80 dB down is taken as silence.
SILENCE_POWER = 1e-8
# Power below which decibels stop: -100 dB (torchaudio's AmplitudeToDB).
DECIBEL_FLOOR_POWER = 1e-10
# Constant-Q kernels up to this length are cheaper to apply than to transform (measured on a CPU at 24 kHz, hop 320).
SHORT_KERNEL_SAMPLES = 800
# The relative error of a band that reaches D / length to each side is about BAND_ERROR * D^-2.5 (0.083 measured on music).
BAND_ERROR = 0.1
# Magnitude at which a logarithm of them begins to bend: of 8 pieces of music, 12 bins an octave, about 70 % lie below.
LOG_LEVEL = 0.1
# Lengths of clips whose kernel spectra are kept.
CACHED_LENGTHS = 4


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
        return _short_time_power(waveform, self.hop_samples, self.window, "constant")


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
        if bins < 1:
            raise ValueError(f"bins={bins} must be 1 or more.")
        max_hz = sampling_rate / 2 if max_hz is None else max_hz
        if not 0 <= min_hz < max_hz <= sampling_rate / 2:
            raise ValueError(
                f"min_hz={min_hz} and max_hz={max_hz} must be ordered within 0 and {sampling_rate / 2:g} Hz, half the rate."
            )
        self.bins = bins
        self.spectrum = PowerSpectrum(hop_samples, fft_samples)
        lowest, highest = hertz_to_mel(min_hz), hertz_to_mel(max_hz)
        narrowest_hz = mel_to_hertz(lowest + (highest - lowest) / (bins + 1)) - min_hz
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


class MelDecibelSpectrum(nn.Module):
    """Mel spectrum in decibels: power over the energy of the window, bands on Slaney's mel scale with a peak of 1.

    torchaudio's MelSpectrogram(normalized=True, mel_scale="slaney") and AmplitudeToDB, the front end of Deezer's multi-view
    models. Bands above half the sampling rate are empty and stay, at the floor.

    Args:
        sampling_rate, hop_samples, bins, fft_samples, min_hz: as in [`LogMelSpectrum`].
        max_hz: edge of the highest band; may lie above half the sampling rate.
        range_db: everything further below the loudest value of the clip is raised to that floor.
    """

    def __init__(
        self, sampling_rate=16000, hop_samples=512, bins=128, fft_samples=1024, min_hz=0.0, max_hz=11025.0, range_db=100.0
    ):
        super().__init__()
        self.hop_samples, self.fft_samples, self.range_db = hop_samples, fft_samples, range_db
        self._bank = (fft_samples // 2 + 1, bins, min_hz, max_hz, sampling_rate)

    def filters(self, device: torch.device) -> torch.Tensor:
        """(fft_samples // 2 + 1, bins), the weights of each frequency in each band."""
        return _slaney_bank(*self._bank, device)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_samples + 1, bins) float32 dB; the ends are continued by reflection."""
        with torch.autocast(waveform.device.type, enabled=False):
            window = _energy_window(self.fft_samples, waveform.device)
            power = _short_time_power(waveform.float(), self.hop_samples, window, "reflect") @ self.filters(waveform.device)
            decibels = 10 * power.clamp(min=DECIBEL_FLOOR_POWER).log10()
            return decibels.maximum(decibels.amax((1, 2), keepdim=True) - self.range_db)


class Chromagram(nn.Module):
    """Power folded onto one octave, each frame scaled to length 1 (0 in silence): which pitch classes sound.

    Args:
        sampling_rate, hop_samples: as in [`LogMelSpectrum`].
        bins: divisions of the octave, a multiple of 12; bin 0 is C (264 in MERT's k-means teacher).
        fft_samples: length of the transform; 4096 at 24 kHz separates semitones from about 100 Hz upwards.
    """

    def __init__(self, sampling_rate=24000, hop_samples=320, bins=264, fft_samples=4096):
        super().__init__()
        if bins < 12 or bins % 12:
            raise ValueError(f"bins={bins} must be a multiple of 12, the semitones of an octave.")
        self.bins = bins
        self.spectrum = PowerSpectrum(hop_samples, fft_samples)
        bank = chroma_filter_bank(fft_samples, bins, sampling_rate).T
        self.register_buffer("bank", torch.from_numpy(bank.copy()).float(), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, bins), 0 to 1."""
        # the few columns first: a tenth of the time on a CPU, where power @ bank is a narrow product of large matrices
        chroma = (self.bank.mT @ self.spectrum(waveform).mT).mT
        return chroma / (torch.linalg.vector_norm(chroma, dim=-1, keepdim=True) + SILENCE_POWER)


class ConstantQSpectrum(nn.Module):
    """Magnitudes of the constant-Q transform: windows of equally many periods, bins evenly spaced in pitch.

    Kernels are Q periods long under a Hann window and L1-normalised; magnitudes are scaled by the square root of the kernel's
    length; beyond the ends of the clip there are zeros (nnAudio's CQT1992v2 with its defaults, which the official code uses).

    With a tolerance, long kernels are applied in the frequency domain. Sampling a correlation at every h-th sample is one
    inverse transform of length N / h of the product of both spectra folded to that length; a kernel's spectrum is nearly zero
    outside a narrow band, and shifting the band, which turns the phase alone, puts it at the beginning of that transform. With
    2 D / L the width of the band that is kept around a bin whose kernel has L samples, the error falls as D^-2.5. Kernels
    shorter than `SHORT_KERNEL_SAMPLES` are applied as they are.

    Args:
        sampling_rate, hop_samples: as in [`LogMelSpectrum`].
        min_hz: centre of the lowest bin.
        tolerance: relative error (Frobenius norm) that is accepted for speed; 0 computes every kernel in the time domain.

    Raises:
        ValueError: a number that is not positive, or a highest bin above half the sampling rate.
    """

    def __init__(
        self,
        sampling_rate: int = 24000,
        hop_samples: int = 320,
        bins: int = 336,
        bins_per_octave: int = 48,
        min_hz: float = 32.7,
        tolerance: float = 0.0,
    ):
        super().__init__()
        numbers = dict(sampling_rate=sampling_rate, hop_samples=hop_samples, bins=bins, bins_per_octave=bins_per_octave)
        for name, value in {**numbers, "min_hz": min_hz}.items():
            if value <= 0:
                raise ValueError(f"{name}={value} must be positive.")
        highest_hz = min_hz * 2 ** ((bins - 1) / bins_per_octave)
        if highest_hz >= sampling_rate / 2:
            raise ValueError(
                f"the highest of {bins} bins lies at {highest_hz:.0f} Hz, above {sampling_rate / 2:.0f} Hz, half the sampling"
                " rate; use fewer bins or more bins_per_octave."
            )
        self.sampling_rate, self.hop_samples = sampling_rate, hop_samples
        self.bins, self.bins_per_octave, self.tolerance = bins, bins_per_octave, tolerance
        quality = 1 / (2 ** (1 / bins_per_octave) - 1)
        self.frequencies_hz = [min_hz * 2 ** (bin / bins_per_octave) for bin in range(bins)]
        self.kernel_samples = [math.ceil(quality * sampling_rate / hz) for hz in self.frequencies_hz]
        # bins below this one go through the frequency domain
        self.first_short = sum(length > SHORT_KERNEL_SAMPLES for length in self.kernel_samples) if tolerance > 0 else 0
        # Made at the first use, on the device of the input: as buffers they would have to survive loading on the meta
        # device.
        # Bands depend on the length of the clips; training needs one length, evaluation a few.
        self._kernels: dict[tuple[int, torch.device], list[torch.Tensor]] = {}
        self._bands: dict[tuple[int, torch.device], list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_samples + 1, bins) float32."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            # exported graphs know no complex numbers: all kernels are applied as they are
            first = 0 if torch.compiler.is_exporting() else self.first_short
            parts = self._through_bands(waveform) if first else []
            if first < self.bins:
                parts += self._through_kernels(waveform, first)
            return torch.cat(parts, dim=1).mT

    def _through_kernels(self, waveform: torch.Tensor, first: int) -> list[torch.Tensor]:
        """Correlate with kernels themselves: (batch, samples) -> (batch, some bins, frames), together those from `first` on."""
        key = (first, waveform.device)
        if key not in self._kernels:
            self._kernels[key] = [kernels.to(waveform.device) for kernels in self._make_kernels(first)]
        parts = []
        for kernels in self._kernels[key]:
            half = kernels.shape[-1] // 2
            part = nn.functional.conv1d(waveform.unsqueeze(1), kernels, stride=self.hop_samples, padding=half)
            parts.append(part.unflatten(1, (2, -1)).square().sum(1).sqrt())
        return parts

    def _through_bands(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        """Multiply spectra: (batch, samples) -> tensors (batch, some bins, frames), together the bins below first_short."""
        samples = waveform.shape[-1]
        frames = samples // self.hop_samples + 1
        folded = _smooth_length(math.ceil((samples + self.kernel_samples[0]) / self.hop_samples))
        key = (folded, waveform.device)
        if key not in self._bands:
            while len(self._bands) >= CACHED_LENGTHS:
                self._bands.pop(next(iter(self._bands)))
            bands = self._make_bands(folded * self.hop_samples)
            self._bands[key] = [(places.to(waveform.device), values.to(waveform.device)) for places, values in bands]
        spectrum = torch.fft.rfft(waveform, n=folded * self.hop_samples)
        parts = []
        for places, values in self._bands[key]:
            product = spectrum[:, places] * values
            missing = -product.shape[-1] % folded
            if product.shape[-1] > folded:
                product = nn.functional.pad(product, (0, missing)).unflatten(-1, (-1, folded)).sum(-2)
            parts.append(torch.fft.ifft(product, n=folded)[..., :frames].abs() / self.hop_samples)
        return parts

    def _make_kernels(self, first: int) -> list[torch.Tensor]:
        """(2 * bins, 1, width) an octave, from bin `first` on: real parts of kernels, then imaginary ones, all centred."""
        groups = []
        while first < self.bins:
            # the kernels of an octave share the width of its longest: of all, most of the widest would be zeros
            last = min(first + self.bins_per_octave, self.bins)
            width = 2 * ((self.kernel_samples[first] + 1) // 2 + 1)
            kernels = torch.zeros(2, last - first, width, dtype=torch.float64)
            for row, length in enumerate(self.kernel_samples[first:last]):
                window = torch.hann_window(length, dtype=torch.float64)
                start = -((length + 1) // 2)
                omega = 2 * math.pi * self.frequencies_hz[first + row] / self.sampling_rate
                phase = omega * torch.arange(start, start + length, dtype=torch.float64)
                # the window's sum is the L1 norm, since every point of the wave has length 1
                kernel = torch.stack([window * phase.cos(), window * phase.sin()]) * (math.sqrt(length) / window.sum())
                kernels[:, row, width // 2 + start : width // 2 + start + length] = kernel
            groups.append(kernels.flatten(0, 1).unsqueeze(1).float())
            first = last
        return groups

    def _make_bands(self, samples: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Spectra of the long kernels in a transform of `samples`: places (bins, width) and conjugate values, in groups.

        The spectrum of a Hann window is a sum of three Dirichlet kernels, so nothing has to be transformed.
        """
        reach = (BAND_ERROR / self.tolerance) ** 0.4
        groups, first = [], 0
        while first < self.first_short:
            # bins within a factor of 1.5 share the width of the widest, so that a group is one dense product
            last = first
            while last < self.first_short and self.kernel_samples[first] < 1.5 * self.kernel_samples[last]:
                last += 1
            length = torch.tensor(self.kernel_samples[first:last], dtype=torch.float64).unsqueeze(1)
            omega = 2 * math.pi / self.sampling_rate * torch.tensor(self.frequencies_hz[first:last]).double().unsqueeze(1)
            width = min(math.ceil(2 * reach * samples / self.kernel_samples[last - 1]), samples // 2)
            centre = omega * samples / (2 * math.pi)
            start = (centre - width / 2).round().clamp(0, samples // 2 + 1 - width)
            places = start.long() + torch.arange(width)
            offset = omega - 2 * math.pi / samples * places
            values = 0.5 * _dirichlet(offset, length)
            for side in (-1, 1):
                values = values - 0.25 * _dirichlet(offset + side * 2 * math.pi / length, length)
            values = values * torch.exp(-1j * offset * ((length + 1) // 2)) * (2 / length.sqrt())
            kept = (places - centre).abs() <= reach * samples / length
            groups.append((places, torch.where(kept, values.conj(), 0).to(torch.complex64)))
            first = last
        return groups


def compress_magnitudes(magnitudes: torch.Tensor, compression: str, level: float = LOG_LEVEL) -> torch.Tensor:
    """Magnitudes of any shape, 0 or more, as they are predicted: "none", their root ("sqrt"), or log(1 + x / level) ("log").

    Raises:
        ValueError: another compression.
    """
    match compression:
        case "none":
            return magnitudes
        case "sqrt":
            return magnitudes.sqrt()
        case "log":
            return torch.log1p(magnitudes / level)
    raise ValueError(f"compression {compression!r} is unknown; there are none, sqrt and log.")


def _dirichlet(offset: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Sum of exp(i * offset * n) for n = 0 ... length - 1."""
    half = offset / 2
    sine = torch.sin(half)
    small = sine.abs() < 1e-12
    ratio = torch.where(small, length, torch.sin(half * length) / torch.where(small, 1.0, sine))
    return ratio * torch.exp(1j * half * (length - 1))


def _smooth_length(least: int) -> int:
    """The next number that has no prime factor above 5: fast to transform, and few of them, so that caches are shared."""
    length = least
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def _short_time_power(waveform: torch.Tensor, hop_samples: int, window: torch.Tensor, pad_mode: str) -> torch.Tensor:
    """(batch, samples) -> (batch, samples // hop_samples + 1, len(window) // 2 + 1)."""
    spectrum = torch.stft(waveform, len(window), hop_samples, window=window, pad_mode=pad_mode, return_complex=True)
    return squared_magnitude(spectrum).mT


def squared_magnitude(spectrum: torch.Tensor) -> torch.Tensor:
    """Complex numbers -> the squares of their lengths; ten times as fast on a CPU as `abs().square()`, which takes a root."""
    parts = torch.view_as_real(spectrum)
    return parts[..., 0].square() + parts[..., 1].square()


# Tables of a module that is part of a model are kept here: as buffers they would have to survive loading on the meta device.
@lru_cache(maxsize=8)
def _energy_window(samples: int, device: torch.device) -> torch.Tensor:
    window = torch.hann_window(samples, device=device)
    return window / window.square().sum().sqrt()


@lru_cache(maxsize=8)
def _slaney_bank(
    num_frequencies: int, bins: int, min_hz: float, max_hz: float, sampling_rate: int, device: torch.device
) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that bands above half the sampling rate are empty is known
        bank = mel_filter_bank(num_frequencies, bins, min_hz, max_hz, sampling_rate, mel_scale="slaney")
    return torch.from_numpy(bank).float().to(device)
