"""Waveforms to FLAC files."""

import io

import numpy as np
from numpy.typing import NDArray


def encode_flac(waveform: NDArray[np.floating], sampling_rate: int) -> bytes:
    """A waveform (samples,) from -1 to below 1 as a FLAC file of 16 bit."""
    import soundfile

    audio = io.BytesIO()
    # rounded here, so that it is not for the version of libsndfile to say how; 1.2 does the same
    samples = np.round(waveform.astype(np.float64) * 32768).astype(np.int16)
    soundfile.write(audio, samples, sampling_rate, format="FLAC", subtype="PCM_16")
    return audio.getvalue()
