import numpy as np
import pytest
import torch
from sounds import make_tones

from mert_hf.teachers import CQTTeacher


def constant_q_by_definition(waveform, frame, hz, sampling_rate=24000, hop=320, bins_per_octave=48):
    """One magnitude from the formula: L1-normalised Hann kernel of Q periods, centred on the frame, times sqrt(length)."""
    quality = 1 / (2 ** (1 / bins_per_octave) - 1)
    length = int(np.ceil(quality * sampling_rate / hz))
    time = np.arange(-(length // 2), length - length // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    kernel = window * np.exp(2j * np.pi * time * hz / sampling_rate)
    kernel /= np.abs(kernel).sum()
    padded = np.pad(waveform.astype(np.float64), length)
    piece = padded[frame * hop + length + time[0] : frame * hop + length + time[-1] + 1]
    return abs(np.vdot(kernel, piece)) * np.sqrt(length)


def test_numbers_are_the_papers():
    teacher = CQTTeacher()
    assert (teacher.sampling_rate, teacher.frame_rate, teacher.num_bins) == (24000, 75.0, 336)
    waveform = make_tones(3.0, 24000)
    spectrum = teacher(torch.from_numpy(waveform)[None])
    assert spectrum.shape == (1, 226, 336)
    assert spectrum.dtype == torch.float32
    for frame, bin in [(100, 0), (112, 40), (50, 150), (200, 240), (0, 300), (225, 335)]:
        expected = constant_q_by_definition(waveform, frame, 32.7 * 2 ** (bin / 48))
        assert float(spectrum[0, frame, bin]) == pytest.approx(expected, rel=5e-3, abs=2e-4), (frame, bin)


def test_a_tone_peaks_in_its_bin():
    time = torch.arange(48000) / 24000
    teacher = CQTTeacher(bins=84, bins_per_octave=12)
    for bin in (24, 45, 70):
        tone = torch.sin(2 * torch.pi * 32.7 * 2 ** (bin / 12) * time)[None]
        assert int(teacher(tone)[0, 75].argmax()) == bin


def test_kernels_stay_out_of_state_dicts_and_autocast():
    teacher = CQTTeacher(bins=84, bins_per_octave=12)
    assert teacher.state_dict() == {}
    assert list(teacher.parameters()) == []
    waveform = torch.from_numpy(make_tones(1.0, 24000))[None]
    expected = teacher(waveform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(teacher(waveform), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"bins": 420}, "above 12000 Hz"), ({"bins": 0}, "bins=0 must be positive"), ({"sampling_rate": -1}, "sampling_rate=-1")],
)
def test_refuses_bins_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        CQTTeacher(**fields)
