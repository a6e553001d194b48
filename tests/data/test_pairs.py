import numpy as np
import pytest
import soundfile
import torch

from mert_hf.data.corpus import open_folder
from mert_hf.data.crops import BatchRange, collate
from mert_hf.data.pairs import PairedCrops
from mert_hf.data.source import CorpusClips


@pytest.fixture
def corpus(tmp_path):
    """Tracks of 9, 12 and 30 s whose samples tell where they are."""
    for name, seconds in (("a", 9), ("b", 12), ("c", 30)):
        samples = np.arange(seconds * 1000) / 32768
        soundfile.write(tmp_path / f"{name}.wav", samples, 1000, subtype="PCM_16")
    return open_folder(tmp_path)


@pytest.fixture
def pairs(corpus):
    return PairedCrops(corpus, 4000, 1000, seed=7)


def test_crops_are_4_to_16_s_apart_in_one_track(pairs, corpus):
    distances, orders = [], []
    for number in range(300):
        track, (first, second) = pairs.locate_pair(number)
        length = corpus.length(track, 1000)
        assert min(first, second) >= 0
        assert max(first, second) + 4000 <= length
        assert 4000 <= abs(first - second) <= 16000
        orders.append(first < second)
        if length == 30_000:
            distances.append(abs(first - second))
    assert 0.4 < np.mean(orders) < 0.6
    # evenly between 4 and 16 s where the track is long enough
    assert np.histogram(distances, 4, (4000, 16000))[0].min() > 12


def test_the_audio_is_that_of_the_places(pairs):
    for number in range(6):
        _, starts = pairs.locate_pair(number)
        pair = pairs[number]
        assert pair.shape == (2, 4000)
        assert [round(float(view[0]) * 32768) for view in pair] == list(starts)


def test_pairs_are_functions_of_their_number(pairs, corpus):
    again = PairedCrops(corpus, 4000, 1000, seed=7)
    assert [again.locate_pair(number) for number in (5, 3)] == [pairs.locate_pair(number) for number in (5, 3)]
    other = PairedCrops(corpus, 4000, 1000, seed=8)
    assert [other.locate_pair(n) for n in range(9)] != [pairs.locate_pair(n) for n in range(9)]
    epoch = {pairs.locate_pair(number)[0] for number in range(3)}
    assert epoch == {0, 1, 2}


def test_a_track_that_became_shorter_is_reported(pairs, corpus, tmp_path):
    number = next(number for number in range(3) if corpus.tracks[pairs.locate_pair(number)[0]].name == "a.wav")
    soundfile.write(tmp_path / "a.wav", np.zeros(5000), 1000)
    assert pairs[number].track == "a.wav"
    assert "lie outside" in pairs[number].reason and "which has 5000 at 1000 Hz" in pairs[number].reason


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_pairs(pairs, workers):
    (batch,) = CorpusClips(pairs).batches(BatchRange(2, 1, 2, workers=workers))
    assert batch.waveforms.shape == (2, 2, 4000)
    torch.testing.assert_close(batch.waveforms, torch.stack([pairs[2], pairs[3]]))


def test_shorter_pairs_shorten_the_batch():
    assert collate([torch.zeros(2, 30), torch.zeros(2, 20)]).waveforms.shape == (2, 2, 20)


def test_tracks_without_room_and_crossed_distances_are_refused(corpus):
    with pytest.raises(ValueError, match="is too short for two crops 8000 samples apart"):
        crops = PairedCrops(corpus, 4000, 1000, min_distance_s=8.0)
        for number in range(3):
            crops.locate_pair(number)
    with pytest.raises(ValueError, match="must be 0 or more and ordered"):
        PairedCrops(corpus, 4000, 1000, min_distance_s=5.0, max_distance_s=4.0)
