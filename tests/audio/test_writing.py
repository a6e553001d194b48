"""FLAC files hold what they were given to half a step of 16 bits."""

import io

import numpy as np
import soundfile
from support.sounds import make_tones

from mert_hf.audio.writing import encode_flac


def test_samples_are_rounded_to_the_nearest_of_16_bits():
    waveform = make_tones(1.0, 24000)
    samples, rate = soundfile.read(io.BytesIO(encode_flac(waveform, 24000)), dtype="int16")
    assert rate == 24000
    assert np.abs(samples - 32768 * waveform.astype(np.float64)).max() <= 0.5
    theirs = io.BytesIO()
    soundfile.write(theirs, waveform, 24000, format="FLAC", subtype="PCM_16")
    assert encode_flac(waveform, 24000) == theirs.getvalue()
