"""Noise under the test clips: as loud as it says, pink, and nothing else changed."""

import numpy as np
import pytest
from scipy.signal import welch

from mert_hf.models.audio_reading_mert import read_audio
from mert_hf.synthetic import benchmark
from mert_hf.synthetic.benchmark import NOISE_DB, benchmark_items, write_benchmark, write_in_noise
from mert_hf.synthetic.sound.noise import in_pink_noise

RATE = 24000


def difference_db(music, noise):
    return 10 * np.log10(np.mean(np.square(music)) / np.mean(np.square(noise)))


@pytest.mark.parametrize("below_db", [-3.0, 0.0, 20.0])
def test_the_noise_is_as_much_weaker_as_it_says_and_has_equal_power_in_every_octave(below_db):
    sine = (0.05 * np.sin(2 * np.pi * 440 * np.arange(60 * RATE) / RATE)).astype(np.float32)
    noise = in_pink_noise(sine, below_db, RATE, np.random.default_rng(1)) - sine
    assert difference_db(sine, noise) == pytest.approx(below_db, abs=0.01)
    frequencies, power = welch(noise, RATE, nperseg=4096)
    octaves = [power[(frequencies >= low) & (frequencies < 2 * low)].sum() for low in (100, 200, 400, 800, 1600, 3200)]
    assert 10 * np.log10(np.max(octaves) / np.min(octaves)) < 1.0
    assert abs(noise.mean()) < 1e-4


def test_what_would_be_clipped_is_made_softer_and_silence_stays_silent():
    loud = np.sign(np.sin(np.arange(RATE) / 10)).astype(np.float32)
    heard = in_pink_noise(loud, 0.0, RATE, np.random.default_rng(2))
    assert np.abs(heard).max() == pytest.approx(1.0)
    assert not in_pink_noise(np.zeros(RATE, np.float32), 0.0, RATE, np.random.default_rng(2)).any()


def test_test_clips_are_heard_in_noise_of_their_own_and_made_once(tmp_path, monkeypatch):
    monkeypatch.setitem(benchmark.SIZES, "notes", {"train": 1, "validation": 1, "test": 3})
    write_benchmark(tmp_path, "notes")
    folder = write_in_noise(tmp_path, "notes")
    pairs = zip(*(benchmark_items(place, "notes", "test") for place in (tmp_path, folder)), strict=True)
    found = []
    for clean, noisy in pairs:
        music, heard = read_audio(clean.audio), read_audio(noisy.audio)
        share = np.dot(music, heard) / np.dot(music, music)  # less than 1 where the sum was made softer
        found.append(heard / share - music)
        assert difference_db(music, found[-1]) == pytest.approx(NOISE_DB, abs=0.3)
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.1
    assert not (folder / "train").exists()
    before = [item.audio.stat().st_mtime_ns for item in benchmark_items(folder, "notes", "test")]
    write_in_noise(tmp_path, "notes")
    assert before == [item.audio.stat().st_mtime_ns for item in benchmark_items(folder, "notes", "test")]
