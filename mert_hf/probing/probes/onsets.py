"""How much new sound begins in every frame: an activation for beats that needs no training."""

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.models.spectra_mert import LogMelSpectrum

MEL_BANDS = 80
FFT_SAMPLES = 2048
# around a frame, what is subtracted as the ordinary amount of change; ours
NEIGHBOURHOOD_S = 0.5
# how far loud sounds are compressed: log(1 + COMPRESSION * power), the loudest band being 1 (ours, as the next)
COMPRESSION = 1000.0
# the quantile of the activation that becomes 1
LOUD_ONSET = 0.995


@torch.no_grad()
def onset_activation(waveform: NDArray[np.float32], sampling_rate: int, frame_rate: float = 100.0) -> NDArray[np.float64]:
    """Spectral flux: rises of a compressed mel spectrum, summed over bands, above their local mean, scaled to 0 to 1.

    Args:
        waveform: (samples,) mono.
        sampling_rate: in Hz.
        frame_rate: frames per second of the result; it must divide the sampling rate.

    Returns:
        (samples // hop + 1,) from 0 to 1; zeros in silence. Frame i is centred on i / frame_rate seconds;
        the analysis window spans 85 ms at 24 kHz, so a sharp click shows up to 25 ms before it sounds, a note hardly.

    Raises:
        InputError: the waveform is not (samples,), holds NaN, or the frame rate does not divide the sampling rate.
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
        raise InputError(f"a waveform must be (samples,) of finite floats; got shape {waveform.shape}.")
    hop_samples = round(sampling_rate / frame_rate)
    if abs(hop_samples * frame_rate - sampling_rate) > 1e-6 * sampling_rate:
        raise InputError(f"frame_rate {frame_rate:g} does not divide the sampling rate {sampling_rate}.")
    # at full scale, so that the spectrum's floor lies equally deep below quiet and loud recordings
    waveform = waveform / max(np.abs(waveform).max(), np.finfo(np.float32).tiny)
    mel = LogMelSpectrum(sampling_rate, hop_samples, MEL_BANDS, FFT_SAMPLES)(torch.from_numpy(waveform)[None])[0].numpy()
    # a plain logarithm would count rises in what nobody hears as much as those of loud notes
    loudness = np.log1p(COMPRESSION * np.exp(mel - mel.max()))
    flux = np.maximum(np.diff(loudness, axis=0, prepend=loudness[:1]), 0).mean(axis=1, dtype=np.float64)
    reach = min(round(NEIGHBOURHOOD_S * frame_rate / 2), len(flux) - 1)
    ordinary = np.convolve(np.pad(flux, reach, mode="reflect"), np.full(2 * reach + 1, 1 / (2 * reach + 1)), "valid")
    onsets = np.maximum(flux - ordinary, 0)
    loud = np.quantile(onsets, LOUD_ONSET)
    return np.minimum(onsets / loud, 1) if loud > 0 else np.zeros_like(onsets)
