"""Beats of real tracks: `MERT_HF_MUSIC`, or `shared/music` beside the repository, is a folder with audio and
`annotations/<track>.beats` (time and place in the bar a line); without one there is nothing to test."""

import os
from pathlib import Path

import numpy as np
import pytest

from mert_hf.audio import read_audio
from mert_hf.probing.metrics import load_metric
from mert_hf.probing.probes.beat_tracking import BeatTracker
from mert_hf.probing.probes.onsets import onset_activation

MUSIC = Path(os.environ.get("MERT_HF_MUSIC") or Path(__file__).parents[3] / "shared" / "music")


@pytest.mark.skipif(not MUSIC.is_dir(), reason="there is no folder of annotated tracks")
def test_spectral_flux_follows_the_beats_of_real_tracks():
    truths, estimates, names = [], [], []
    for beats in sorted(MUSIC.glob("annotations/*.beats")):
        (audio,) = MUSIC.glob(f"{beats.stem}.*")
        waveform = read_audio(audio, 24000)
        times = np.loadtxt(beats, usecols=0)
        truths.append(times[times <= len(waveform) / 24000])
        estimates.append(BeatTracker(100)(onset_activation(waveform, 24000, 100)))
        names.append(beats.stem)
    assert len(names) >= 5
    metric = load_metric("beat_f1")
    single = {
        name: metric.compute(references=[truth], predictions=[estimate])["beat_f1"]
        for name, truth, estimate in zip(names, truths, estimates, strict=True)
    }
    # a track without drums may be followed at half its tempo, which is 2/3
    assert sum(score >= 0.9 for score in single.values()) >= 4, single
    assert min(single.values()) >= 0.6, single
    assert metric.compute(references=truths, predictions=estimates, labels=names)["beat_f1"] >= 0.9
