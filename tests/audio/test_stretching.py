"""Recordings at another tempo and pitch, measured on tones and clicks."""

import numpy as np
import pytest
from support.sounds import make_tones

from mert_hf.audio.stretching import change_tempo, shift_pitch

RATE = 24000


def tone(hz, seconds=4.0, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def frequency(waveform, rate=RATE):
    """The strongest frequency in Hz."""
    size = 2**20
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), size))
    return np.argmax(spectrum) * rate / size


@pytest.mark.parametrize("rate", [16000, 24000])
@pytest.mark.parametrize(("semitones", "hz"), [(1, 466.1638), (-1, 415.3047), (12, 880.0)])
def test_a_semitone_is_a_twelfth_of_an_octave_and_keeps_the_length(semitones, hz, rate):
    shifted = shift_pitch(tone(440.0, rate=rate), rate, semitones)
    assert shifted.shape == (4 * rate,) and shifted.dtype == np.float32
    assert frequency(shifted, rate) == pytest.approx(hz, abs=0.5)
    assert np.sqrt(np.mean(shifted**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_tempo_changes_the_length_and_keeps_the_pitch(factor):
    changed = change_tempo(tone(440.0), RATE, factor)
    assert len(changed) == round(4 * RATE / factor)
    assert frequency(changed) == pytest.approx(440.0, abs=0.5)


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_music_is_where_the_tempo_puts_it(factor):
    waveform = 0.02 * make_tones(8.0, RATE)
    waveform[RATE::RATE] = 1.0
    changed = change_tempo(waveform, RATE, factor)
    found = np.flatnonzero(np.abs(changed) > 0.5) / RATE * factor
    # every second is there, to the length of a piece that is moved about
    assert all(np.abs(found - second).min() < 0.04 for second in range(1, 8))
    assert all(np.abs(second - np.arange(1, 8)).min() < 0.04 for second in found)
