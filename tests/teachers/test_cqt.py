import numpy as np
import pytest
import torch
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.teachers import CQTSettings, CQTTeacher


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


@pytest.mark.parametrize("arguments", [{"backend": "nnaudio"}, {"tolerance": 0.0}, {"tolerance": 1e-4}, {}])
def test_numbers_are_the_papers(arguments):
    teacher = CQTTeacher(**arguments)
    assert (teacher.sampling_rate, teacher.frame_rate, teacher.num_bins) == (24000, 75.0, 336)
    waveform = make_tones(3.0, 24000)
    spectrum = teacher(torch.from_numpy(waveform)[None])
    assert spectrum.shape == (1, 226, 336)
    assert spectrum.dtype == torch.float32
    for frame, bin in [(100, 0), (112, 40), (50, 150), (200, 240), (0, 300), (225, 335)]:
        expected = constant_q_by_definition(waveform, frame, 32.7 * 2 ** (bin / 48))
        assert float(spectrum[0, frame, bin]) == pytest.approx(expected, rel=5e-3, abs=1e-3), (frame, bin)


@pytest.fixture(scope="module")
def judge():
    """nnAudio's transform in float64."""
    return CQTTeacher(backend="nnaudio").transform.double()


SOUNDS = {
    "tones": lambda samples: torch.from_numpy(make_tones(samples / 24000, 24000)),
    "noise": lambda samples: 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0)),
    "clicks": lambda samples: (torch.arange(samples) % 4801 == 0).float(),
}


@torch.no_grad()
@pytest.mark.parametrize(("tolerance", "bound"), [(0.0, 1e-6), (1e-4, 1e-4), (1e-3, 1e-3)])
@pytest.mark.parametrize("samples", [24000, 71999, 72321])
def test_the_fast_transform_keeps_its_tolerance(judge, tolerance, bound, samples):
    teacher = CQTTeacher(tolerance=tolerance)
    for name, make in SOUNDS.items():
        waveform = make(samples)[None]
        expected = judge(waveform.double())
        error = (teacher(waveform).double() - expected).norm() / expected.norm()
        assert float(error) <= bound, name


@torch.no_grad()
def test_a_few_lengths_are_kept_and_any_number_can_be_used():
    teacher, fresh = CQTTeacher(bins=84, bins_per_octave=12), CQTTeacher(bins=84, bins_per_octave=12)
    lengths = [8000, 30000, 50000, 90000, 120000, 150000]
    for samples in lengths + lengths[:1]:
        waveform = SOUNDS["noise"](samples)[None]
        assert torch.equal(teacher(waveform), fresh(waveform))
        assert len(teacher.transform._bands) <= 4


@torch.no_grad()
def test_clips_of_a_batch_do_not_touch_each_other():
    teacher = CQTTeacher(bins=84, bins_per_octave=12)
    batch = torch.stack([SOUNDS[name](30000) for name in SOUNDS])
    alone = torch.cat([teacher(clip[None]) for clip in batch])
    torch.testing.assert_close(teacher(batch), alone, atol=1e-5, rtol=1e-4)


def test_a_tone_peaks_in_its_bin():
    time = torch.arange(48000) / 24000
    teacher = CQTTeacher(bins=84, bins_per_octave=12)
    for bin in (24, 45, 70):
        tone = torch.sin(2 * torch.pi * 32.7 * 2 ** (bin / 12) * time)[None]
        assert int(teacher(tone)[0, 75].argmax()) == bin


@pytest.mark.parametrize("backend", ["torch", "nnaudio"])
def test_kernels_stay_out_of_state_dicts_and_autocast(backend):
    teacher = CQTTeacher(bins=84, bins_per_octave=12, backend=backend)
    assert teacher.state_dict() == {}
    assert list(teacher.parameters()) == []
    waveform = torch.from_numpy(make_tones(1.0, 24000))[None]
    expected = teacher(waveform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(teacher(waveform), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bins": 420}, "above 12000 Hz"),
        ({"bins": 0}, "bins=0 must be positive"),
        ({"sampling_rate": -1}, "sampling_rate=-1"),
        ({"backend": "librosa"}, "'librosa' is unknown; known backends: torch, nnaudio"),
    ],
)
def test_refuses_bins_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        CQTTeacher(**fields)


@pytest.mark.parametrize("hop", [320, 960])
def test_compression(judge, hop):
    """At 75 and at 25 frames a second, against nnAudio's magnitudes."""
    waveform = SOUNDS["tones"](48000)[None]
    magnitudes = judge(waveform.double())[:, :: hop // 320]
    expected = {"none": magnitudes, "sqrt": magnitudes.sqrt(), "log": (1 + magnitudes / 0.2).log()}
    for compression, target in expected.items():
        teacher = CQTTeacher(hop_samples=hop, compression=compression, log_level=0.2, tolerance=1e-4)
        found = teacher(waveform).double()
        assert (found.shape, found.min() >= 0) == (target.shape, True)
        assert float((found - target).norm() / target.norm()) < 2e-3, compression
        assert teacher.frame_rate == 24000 / hop


def test_a_teacher_says_what_it_gives():
    settings = CQTSettings(bins=84, bins_per_octave=12, compression="log", standardise=True)
    teacher = CQTTeacher.from_settings(settings, 24000, 960)
    assert teacher.description == "constant-Q spectrum, 84 bins from 32.7 Hz, 12 an octave: log(1 + magnitude / 0.1)"
    assert CQTTeacher().description.endswith("48 an octave: magnitudes")
    with pytest.raises(InputError, match="compression 'cube' is unknown; there are none, sqrt, log"):
        CQTTeacher(compression="cube")
    with pytest.raises(InputError, match="cqt.compression='cube'|cqt.compression"):
        CQTSettings(compression="cube")
