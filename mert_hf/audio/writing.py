"""Waveforms to audio files: FLAC without loss, mp3 for listening."""

import io
from collections.abc import Iterable

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


def encode_mp3(blocks: Iterable[NDArray[np.floating]], sampling_rate: int, kbps: float) -> bytes:
    """Pieces of a mono waveform (samples,), one behind the other, as an mp3 of constant bit rate.

    Args:
        sampling_rate: 32000, 44100 or 48000, where a bit rate may be 32 to 320 kbit/s; 16000, 22050 or 24000 with 8 to 160.
        kbps: the bit rate in kbit/s; the encoder takes the nearest that the format has.
    """
    import soundfile

    # libsndfile wants a share of the way from the highest bit rate to the lowest
    lowest, highest = (32, 320) if sampling_rate >= 32000 else (8, 160)
    share = min(max((highest - kbps) / (highest - lowest), 0.0), 1.0)
    audio = io.BytesIO()
    options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": share}
    with soundfile.SoundFile(audio, "w", sampling_rate, 1, **options) as file:
        for block in blocks:
            file.write(np.clip(block, -1, 1))
    return audio.getvalue()
