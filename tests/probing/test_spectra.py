"""Spectra as baselines, neighbours of frames, and windows that come from the same pass as frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.probing_tasks import QUICK, RATE, beat_task, tone

from mert_hf.common.errors import InputError
from mert_hf.probing.features.cache import Features, FeatureWindow
from mert_hf.probing.features.encoders import mean_and_deviation
from mert_hf.probing.features.extraction import Extraction, extract_features
from mert_hf.probing.features.spectra import AllSpectra, Chroma, LogConstantQ, LogMel, spectral_baselines
from mert_hf.probing.report.results import best_baseline


@pytest.mark.parametrize("encoder", spectral_baselines(), ids=lambda encoder: encoder.title)
def test_spectra_are_encoders_of_mean_and_deviation(encoder):
    waveform = torch.from_numpy(tone(69, 1.0))[None]
    frames = encoder(waveform)
    spectrum = encoder.spectrum(waveform)
    assert frames.shape == (1, 1, spectrum.shape[1], encoder.hidden_size) and encoder.hidden_size == 2 * encoder.bins
    # in the middle: of five frames, computed the long way
    near = spectrum[0, 8:13]
    torch.testing.assert_close(frames[0, 0, 10, : encoder.bins], near.mean(dim=0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(frames[0, 0, 10, encoder.bins :], near.std(dim=0, unbiased=False), atol=2e-3, rtol=1e-3)
    for pooling in ("mean", "mean_std"):
        torch.testing.assert_close(encoder.pool(frames, pooling), mean_and_deviation(frames[..., : encoder.bins]))


def test_every_spectrum_knows_the_note():
    waveform = torch.from_numpy(tone(69, 1.0))[None]
    middle = {kind: kind(RATE).spectrum(waveform)[0, 20] for kind in (LogConstantQ, Chroma)}
    assert LogConstantQ(RATE).bins == 252 and int(middle[LogConstantQ].argmax()) == 3 * 45  # 45 semitones above C1
    assert int(middle[Chroma].argmax()) // 3 == 9
    # neighbouring semitones lie in other bands of log-mel, which those of 64 bands would share
    bands = [
        int(LogMel(24000).spectrum(torch.sin(2 * np.pi * hz / 24000 * torch.arange(24000.0))[None])[0, 20].argmax())
        for hz in (440.0, 466.2)
    ]
    assert bands[0] != bands[1]
    together = AllSpectra(RATE).spectrum(waveform)
    torch.testing.assert_close(
        together, torch.cat([kind(RATE).spectrum(waveform) for kind in (LogMel, Chroma, LogConstantQ)], -1)
    )
    assert len({str(encoder.fingerprint) for encoder in spectral_baselines()}) == 4


def test_the_best_spectrum_is_the_best_in_validation_whatever_the_test_split_says():
    found = {
        "log-mel mean + std": {"validation": 0.5},
        "chroma mean + std": {"validation": 0.7},
        "random weights": {"validation": 0.9},
        "majority": {},
    }
    assert best_baseline(found) == "chroma mean + std"
    assert best_baseline({"majority": {}, "random weights": {"validation": 0.9}}) is None


def test_frames_stand_beside_their_neighbours_and_never_beside_those_of_another_window():
    rows = np.arange(14, dtype=np.float32).reshape(7, 1, 2)
    features = Features([rows[:4], rows[4:]], [[FeatureWindow(0.0, 3), FeatureWindow(2.0, 2)], [FeatureWindow(0.0, 2)]])
    assert features.with_context(0) is features
    found = features.with_context(1)
    assert found.hidden_size == 6
    near = found.take(np.array([4, 0, 2, 5]))[:, 0, ::2] / 2
    assert near.tolist() == [[3, 4, 4], [0, 0, 1], [1, 2, 2], [5, 5, 6]]


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_windows_come_from_the_pass_that_made_the_frames(pooling, tmp_path, monkeypatch):
    data = beat_task((5, 1, 1), protocol=replace(QUICK, pooling=pooling)).load()
    encoder, heard = LogMel(RATE), []
    call = LogMel.__call__
    monkeypatch.setattr(LogMel, "__call__", lambda self, waveforms: heard.append(len(waveforms)) or call(self, waveforms))
    alone = extract_features(encoder, data, "train", "windows", Extraction(tmp_path / "alone"))
    assert sum(heard) == 5
    extraction = Extraction(tmp_path / "together", pool_frames=True)
    extract_features(encoder, data, "train", "frames", extraction)
    assert sum(heard) == 10
    beside = extract_features(encoder, data, "train", "windows", extraction)
    assert sum(heard) == 10
    assert beside.windows == alone.windows
    places = np.arange(5)
    np.testing.assert_allclose(beside.take(places), alone.take(places), atol=1e-2, rtol=1e-3)  # of float16
    # what was kept for another task by its own pass is still found, and half of a pass is none
    for file in [*extraction.folder.rglob("shard_00001.json")]:
        file.unlink()
    extract_features(encoder, data, "train", "windows", extraction)
    assert sum(heard) == 15
    with pytest.raises(InputError, match="damaged"):
        next(iter((tmp_path / "alone").rglob("*.npy"))).write_bytes(b"torn")
        extract_features(encoder, data, "train", "windows", Extraction(tmp_path / "alone"))
