"""The musical teacher: the constant-Q spectrum of the clean waveform (MERT, section 3.3)."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn as nn

from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.common.settings import check_values, setting
from mert_hf.models.spectra_mert import LOG_LEVEL, ConstantQSpectrum, compress_magnitudes


@dataclass
class CQTSettings:
    """The musical teacher, the constant-Q spectrum (numbers: MERT, section 3.3)."""

    enabled: bool = setting(True, "predict the constant-Q spectrum as well")
    min_hz: float = setting(32.7, "centre of the lowest bin in Hz (C1)", above=0, most=1e6)
    bins: int = setting(336, "bins", above=0, most=10_000)
    bins_per_octave: int = setting(48, "bins an octave", above=0, most=10_000)
    backend: Literal["torch", "nnaudio"] = setting("torch", "torch is fast; nnaudio is what the official code uses, and slow")
    tolerance: float = setting(1e-3, "relative error of the torch backend; 0 is exact and slow", least=0, below=1)
    compression: Literal["none", "sqrt", "log"] = setting(
        "none", "of the magnitudes: none (the paper), their root, or log(1 + magnitude / log_level), in which overtones count"
    )
    log_level: float = setting(LOG_LEVEL, "magnitude that is compressed to log 2", above=0, most=1e6)
    standardise: bool = setting(False, "divide the loss by the variance of its targets: the share that is not explained")
    mean_s: float = setting(
        0.0,
        "seconds of audio whose mean a fresh head begins at, so that the encoder is not bent to tell what all music has in"
        " common; 0: it begins where it is drawn, as the official code's",
        least=0,
        most=1e6,
    )

    def __post_init__(self):
        check_values(self, "cqt")

    def frequencies_hz(self) -> np.ndarray:
        """(bins,) centre of each bin."""
        return self.min_hz * 2 ** (np.arange(self.bins) / self.bins_per_octave)


BACKENDS = get_args(CQTSettings.__annotations__["backend"])


class CQTTeacher(nn.Module):
    """Magnitudes of the constant-Q transform, by default with the numbers of the official training.

    336 bins, 48 an octave, seven octaves from C1 (32.7 Hz) to 4.1 kHz, Q = 68.8; L1-normalised Hann kernels, magnitudes scaled
    by the square root of the kernel length, without logarithm, which can be had. Frame i is centred on sample i * hop_samples;
    beyond the ends of the clip there are zeros.

    The lowest kernels span seconds (2.1 s at 32.7 Hz), so the spectrum depends on the crop: it is computed on the crop, never
    stored for a whole track.

    Args:
        sampling_rate: samples per second of the input.
        hop_samples: samples between two frames (320 at 24 kHz: 75 frames per second).
        min_hz: centre of the lowest bin.
        bins: number of bins.
        bins_per_octave: bins an octave.
        backend: "torch" ([`ConstantQSpectrum`], mostly in the frequency domain) or "nnaudio" (CQT1992v2, as the official code
            uses it; much slower, the judge of the other).
        tolerance: relative error of "torch" against "nnaudio" (Frobenius norm, before compression); 0 is exact, and slow.
        compression, log_level: as in [`compress_magnitudes`].

    Raises:
        ValueError: a number that is not positive, or a highest bin above half the sampling rate.
        InputError: an unknown backend.
    """

    def __init__(
        self,
        sampling_rate: int = 24000,
        hop_samples: int = 320,
        min_hz: float = CQTSettings.min_hz,
        bins: int = CQTSettings.bins,
        bins_per_octave: int = CQTSettings.bins_per_octave,
        backend: str = CQTSettings.backend,
        tolerance: float = CQTSettings.tolerance,
        compression: str = CQTSettings.compression,
        log_level: float = CQTSettings.log_level,
    ):
        super().__init__()
        if backend not in BACKENDS:
            raise InputError(f"backend {backend!r} is unknown; known backends: {', '.join(BACKENDS)}.")
        self.sampling_rate = sampling_rate
        self.frame_rate = sampling_rate / hop_samples
        self.num_bins = bins
        self.compression, self.log_level = compression, log_level
        compressed = {"none": "magnitudes", "sqrt": "square roots of magnitudes", "log": f"log(1 + magnitude / {log_level:g})"}
        if compression not in compressed:
            raise InputError(f"compression {compression!r} is unknown; there are {', '.join(compressed)}.")
        self.description = f"constant-Q spectrum, {bins} bins from {min_hz:g} Hz, {bins_per_octave} an octave"
        self.description += f": {compressed[compression]}"
        self.transform = ConstantQSpectrum(sampling_rate, hop_samples, bins, bins_per_octave, min_hz, tolerance)
        if backend == "nnaudio":
            self.transform = _make_nnaudio_transform(sampling_rate, hop_samples, min_hz, bins, bins_per_octave)

    @classmethod
    def from_settings(cls, settings: CQTSettings, sampling_rate: int, hop_samples: int) -> "CQTTeacher | None":
        """The teacher of these settings, None where it is not enabled; InputError of numbers that do not go together."""
        if not settings.enabled:
            return None
        numbers = {name: value for name, value in vars(settings).items() if name not in ("enabled", "standardise", "mean_s")}
        try:
            return cls(sampling_rate, hop_samples, **numbers)
        except ValueError as error:
            raise InputError(str(error)) from None

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at `sampling_rate` -> (batch, samples // hop_samples + 1, bins) float32, compressed, 0 or more."""
        with torch.autocast(waveform.device.type, enabled=False):
            return compress_magnitudes(self.transform(waveform.float()), self.compression, self.log_level)


def _make_nnaudio_transform(sampling_rate: int, hop_samples: int, min_hz: float, bins: int, bins_per_octave: int) -> nn.Module:
    require_packages("train", "nnAudio")
    from nnAudio.features.cqt import CQT1992v2  # slow to import, and only the judge needs it

    class FramesFirst(CQT1992v2):
        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return super().forward(waveform).mT

    transform = FramesFirst(
        sr=sampling_rate,
        hop_length=hop_samples,
        fmin=min_hz,
        n_bins=bins,
        bins_per_octave=bins_per_octave,
        pad_mode="constant",
        output_format="Magnitude",
        verbose=False,
    )
    # the kernels follow from the numbers above and take up to 176 MB: they stay out of checkpoints
    for name, buffer in list(transform.named_buffers(recurse=False)):
        transform.register_buffer(name, buffer, persistent=False)
    return transform
