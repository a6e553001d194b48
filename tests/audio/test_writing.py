"""FLAC files hold what they were given to half a step of 16 bits; mp3 files are of the size that was asked for."""

import io

import av
import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.audio.writing import encode_flac, encode_mp3


def test_samples_are_rounded_to_the_nearest_of_16_bits():
    waveform = make_tones(1.0, 24000)
    samples, rate = soundfile.read(io.BytesIO(encode_flac(waveform, 24000)), dtype="int16")
    assert rate == 24000
    assert np.abs(samples - 32768 * waveform.astype(np.float64)).max() <= 0.5
    theirs = io.BytesIO()
    soundfile.write(theirs, waveform, 24000, format="FLAC", subtype="PCM_16")
    assert encode_flac(waveform, 24000) == theirs.getvalue()


@pytest.mark.parametrize("kbps", [64, 128])
def test_mp3_files_have_the_bit_rate_that_was_asked_for(kbps):
    content = encode_mp3([make_tones(5.0, 44100)], 44100, kbps)
    with av.open(io.BytesIO(content)) as file:
        assert file.streams.audio[0].codec_context.name.startswith("mp3")
        packets = [packet for packet in file.demux(audio=0) if packet.size]
        spent_s = sum(float(packet.duration * packet.time_base) for packet in packets)
        assert 8 * sum(packet.size for packet in packets) / spent_s == pytest.approx(1000 * kbps, rel=0.01)
    assert 8 * len(content) / 5.0 == pytest.approx(1000 * kbps, rel=0.05)
