import pickle

import numpy as np
import pytest
import soundfile
import torch
from support.sounds import make_tones

from mert_hf.data.corpus import open_folder
from mert_hf.data.crops import BatchRange, RandomCrops, UnreadableCrop, collate, load_batches


@pytest.fixture
def crops(music_folder):
    return RandomCrops(open_folder(music_folder), crop_samples=48000, seed=3)


def test_a_crop_is_what_stands_there_in_its_track(crops):
    for number in (0, 5, 17):
        track, start, length = crops.locate(number)
        assert length == 48000
        np.testing.assert_array_equal(crops[number].numpy(), crops.corpus.read(track, 24000, start, length))


def test_every_track_gives_one_crop_an_epoch_in_changing_order(crops):
    epochs = [[crops.locate(number)[0] for number in range(6 * epoch, 6 * epoch + 6)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_positions_reach_the_whole_track(crops):
    starts = [start for track, start, _ in map(crops.locate, range(1200)) if track == 0]
    available = crops.corpus.length(0, 24000) - 48000
    assert len(starts) == 200
    assert min(starts) < 0.03 * available
    assert max(starts) > 0.97 * available


def test_crops_are_a_function_of_seed_and_number(crops):
    again, other = RandomCrops(crops.corpus, 48000, seed=3), RandomCrops(crops.corpus, 48000, seed=4)
    assert [again.locate(number) for number in range(20)] == [crops.locate(number) for number in range(20)]
    assert [other.locate(number) for number in range(20)] != [crops.locate(number) for number in range(20)]
    assert pickle.loads(pickle.dumps(crops)).locate(7) == crops.locate(7)


def test_shorter_tracks_are_taken_whole_and_cut_the_batch(music_folder):
    soundfile.write(music_folder / "brief.wav", make_tones(3.2, 24000), 24000)
    crops = RandomCrops(open_folder(music_folder), crop_samples=96000)
    brief = next(number for number in range(7) if crops.corpus.tracks[crops.locate(number)[0]].name == "brief.wav")
    assert crops[brief].shape == (76800,)
    batch = collate([crops[number] for number in range(7)])
    assert batch.waveforms.shape == (7, 76800)


def test_processes_share_the_crops_without_overlap():
    ranks = [list(BatchRange(2, 1, 4, rank, 3)) for rank in range(3)]
    assert sorted(number for batches in ranks for batch in batches for number in batch) == list(range(6, 24))
    alone = list(BatchRange(6, 1, 4))
    assert [sorted(sum((ranks[rank][step] for rank in range(3)), [])) for step in range(3)] == alone


def test_background_readers_change_nothing(crops):
    here, there = (list(load_batches(crops, BatchRange(2, 0, 4, workers=workers))) for workers in (0, 2))
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one.waveforms, other.waveforms, rtol=0, atol=0)


@pytest.mark.parametrize("seconds", [None, 1.0], ids=["no audio", "shorter than it was"])
def test_a_track_that_breaks_later_is_reported_not_replaced(crops, music_folder, seconds):
    broken = next(number for number in range(6) if crops.corpus.tracks[crops.locate(number)[0]].name == "a.wav")
    if seconds is None:
        (music_folder / "a.wav").write_bytes(b"gone")
    else:
        soundfile.write(music_folder / "a.wav", make_tones(seconds, 24000), 24000)
    crop = crops[broken]
    assert isinstance(crop, UnreadableCrop)
    assert crop.track == "a.wav"
    batch = collate([crops[number] for number in range(6)])
    assert batch.waveforms.shape == (5, 48000)
    assert batch.unreadable == [crop]
