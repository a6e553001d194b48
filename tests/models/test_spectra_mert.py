import numpy as np
import pytest
import torch
import torchaudio
from support.sounds import make_tones

from mert_hf.models.spectra_mert import Chromagram, ConstantQSpectrum, LogMelSpectrum, PowerSpectrum


def test_a_full_scale_sine_has_power_one():
    time = torch.arange(24000) / 24000
    power = PowerSpectrum(320, 2048)(torch.sin(2 * torch.pi * 1500 * time)[None])
    assert power.shape == (1, 76, 1025)
    assert float(power[0, 20:50].amax(-1).mean()) == pytest.approx(1.0, rel=1e-3)
    assert int(power[0, 37].argmax()) == 128


def test_log_mel_equals_torchaudios():
    waveform = torch.from_numpy(make_tones(2.0, 24000))[None]
    theirs = torchaudio.transforms.MelSpectrogram(
        24000, n_fft=2048, hop_length=320, f_min=30.0, n_mels=80, pad_mode="constant", power=2.0
    )
    scale = (2 / torch.hann_window(2048).sum()) ** 2
    expected = torch.log(theirs(waveform).mT * scale + 1e-8)
    torch.testing.assert_close(LogMelSpectrum(bins=80)(waveform), expected, atol=1e-3, rtol=1e-4)


def test_frames_are_centred_on_multiples_of_the_hop():
    waveform = torch.zeros(1, 24000)
    waveform[0, 320 * 30] = 1.0
    level = LogMelSpectrum(bins=40)(waveform)[0].mean(-1)
    assert int(level.argmax()) == 30
    torch.testing.assert_close(level[28], level[32])


def test_silence_lies_at_minus_80_decibel():
    assert LogMelSpectrum(bins=40)(torch.zeros(1, 4000)).unique().tolist() == pytest.approx([np.log(1e-8)])
    assert Chromagram()(torch.zeros(1, 8000)).abs().max() == 0


@pytest.mark.parametrize(("pitch_class", "hz"), [(0, 523.25), (9, 440.0), (7, 391.995)])
def test_chroma_finds_the_pitch_class_in_every_octave(pitch_class, hz):
    time = torch.arange(24000) / 24000
    for octave in (1, 2, 4):
        chroma = Chromagram(bins=12)(torch.sin(2 * torch.pi * hz * octave * time)[None])[0, 37]
        assert int(chroma.argmax()) == pitch_class
        assert float(chroma.norm()) == pytest.approx(1.0, abs=1e-3)


def test_chroma_does_not_hear_loudness():
    waveform = torch.from_numpy(make_tones(1.0, 24000))[None]
    torch.testing.assert_close(Chromagram()(waveform), Chromagram()(0.1 * waveform), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMelSpectrum(bins=229), "use fft_samples=4096 or fewer"),
        (lambda: LogMelSpectrum(max_hz=20000), "within 0 and 12000 Hz"),
        (lambda: Chromagram(bins=100), "multiple of 12"),
    ],
)
def test_refuses_spectra_that_cannot_be_computed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@torch.no_grad()
@pytest.mark.parametrize("tolerance", [0.0, 1e-3])
def test_an_exported_constant_q_is_the_exact_one(tolerance):
    """Without complex numbers, which exported graphs do not know; the module itself works on as before."""
    clip = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    exact, fast = (ConstantQSpectrum(24000, 960, 36, 12, 65.4, error)(clip) for error in (0.0, tolerance))
    spectrum = ConstantQSpectrum(24000, 960, 36, 12, 65.4, tolerance)
    exported = torch.export.export(spectrum, (clip,), strict=False)
    assert "fft" not in str(exported.graph)
    torch.testing.assert_close(exported.module()(clip), exact)
    assert torch.equal(spectrum(clip), fast)
    assert torch.equal(exact, fast) == (tolerance == 0)


@torch.no_grad()
def test_kernels_of_an_octave_are_those_of_all():
    """Whatever their neighbours, whose width they share: also where the last octave is not whole."""
    clip = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    together = ConstantQSpectrum(24000, 960, 30, 12, 130.8)(clip)
    for bin in (0, 11, 12, 29):
        alone = ConstantQSpectrum(24000, 960, 1, 12, 130.8 * 2 ** (bin / 12))(clip)
        torch.testing.assert_close(alone[..., 0], together[..., bin], atol=1e-6, rtol=1e-5)
