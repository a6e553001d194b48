"""Waveforms to audio files."""

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


def encode_mp3(waveform: NDArray[np.floating], sampling_rate: int, kbps: int) -> bytes:
    """A waveform (samples,) as an mp3 file of one channel and a constant bit rate.

    Args:
        sampling_rate: 32000, 44100 or 48000 Hz, those of MPEG-1.
        kbps: kilobits a second: 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256 or 320.
    """
    import soundfile

    audio = io.BytesIO()
    # libsndfile asks for the rate as a place between the highest, 320, at 0, and the lowest, 32, at 1
    options = {"bitrate_mode": "CONSTANT", "compression_level": (320 - kbps) / (320 - 32)}
    soundfile.write(audio, waveform, sampling_rate, format="MP3", subtype="MPEG_LAYER_III", **options)
    return audio.getvalue()
