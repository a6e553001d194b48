"""The musical teacher: the constant-Q spectrum of the clean waveform (MERT, section 3.3)."""

import torch
import torch.nn as nn


class CQTTeacher(nn.Module):
    """Magnitudes of the constant-Q transform, as the official training computes them with nnAudio.

    The numbers are those of the official code: 336 bins, 48 an octave, seven octaves from C1 (32.7 Hz) to 4.1 kHz, Q = 68.8;
    L1-normalised Hann kernels, magnitudes scaled by the square root of the kernel length, neither logarithm nor
    standardisation. Frame i is centred on sample i * hop_samples; beyond the ends of the clip there are zeros.

    The lowest kernels span seconds (2.1 s at 32.7 Hz), so the spectrum depends on the crop: it is computed on the crop, never
    stored for a whole track.

    Args:
        sampling_rate: samples per second of the input.
        hop_samples: samples between two frames (320 at 24 kHz: 75 frames per second).
        min_hz: centre of the lowest bin.
        bins: number of bins.
        bins_per_octave: bins an octave.

    Raises:
        ValueError: a rate, hop or number that is not positive, or a highest bin above half the sampling rate.
    """

    def __init__(self, sampling_rate=24000, hop_samples=320, min_hz=32.7, bins=336, bins_per_octave=48):
        super().__init__()
        from nnAudio.features.cqt import CQT1992v2  # slow to import, and only targets need it

        numbers = dict(
            sampling_rate=sampling_rate, hop_samples=hop_samples, min_hz=min_hz, bins=bins, bins_per_octave=bins_per_octave
        )
        for name, value in numbers.items():
            if value <= 0:
                raise ValueError(f"{name}={value} must be positive.")
        highest_hz = min_hz * 2 ** ((bins - 1) / bins_per_octave)
        if highest_hz >= sampling_rate / 2:
            raise ValueError(
                f"the highest of {bins} bins lies at {highest_hz:.0f} Hz, above {sampling_rate / 2:.0f} Hz, half the sampling"
                " rate; use fewer bins or more bins_per_octave."
            )
        self.sampling_rate = sampling_rate
        self.frame_rate = sampling_rate / hop_samples
        self.num_bins = bins
        self.transform = CQT1992v2(
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
        for module in self.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, buffer, persistent=False)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at `sampling_rate` -> (batch, samples // hop_samples + 1, bins) float32 magnitudes, 0 or more."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.transform(waveform.float()).mT
