import json
import pickle
import shutil

import numpy as np
import pytest
import soundfile
import torch
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_folder
from mert_hf.data.crops import BatchRange, LabelledCrop, UnreadableCrop, load_batches
from mert_hf.data.label_store import LabelFolder, LabelHeader, LabelStore, LabelWriter, label_span, read_rows
from mert_hf.data.labelled_crops import LabelledCrops

SIZES = [1024, 16]
HEADER = LabelHeader("counted frames", {}, None, True, 24000, 75.0, SIZES, "music", complete=True)


def count_frames(frames, track=0):
    """Codes that tell which frame of which track they are."""
    numbers = np.arange(frames)
    return np.stack([numbers % 1024, np.full(frames, track % 16)])


def write_store(folder, corpus, shards=2, header=HEADER):
    folder = LabelFolder(folder)
    for shard in range(shards):
        with LabelWriter(folder, header, shard) as writer:
            for index in range(shard, len(corpus.tracks), shards):
                track = corpus.tracks[index]
                codes = count_frames(corpus.length(index, 24000) // 320 + 1, index)
                writer.write(track.name, codes, track.duration_s, track.stamp, corpus.digest(index))
    header.write(folder)
    return LabelStore(folder.folder)


@pytest.fixture
def corpus(music_folder):
    return open_folder(music_folder)


@pytest.fixture
def store(corpus, tmp_path):
    return write_store(tmp_path / "labels", corpus)


def test_labels_come_back_whole_and_in_part(corpus, store):
    for index, track in enumerate(corpus.tracks):
        frames = corpus.length(index, 24000) // 320 + 1
        assert np.array_equal(store.read(track.name), count_frames(frames, index))
        assert np.array_equal(store.read(track.name, 100, 50), count_frames(frames, index)[:, 100:150])
        assert store.read(track.name, frames - 3, 50).shape == (2, 3)
    assert store.read("a.wav").dtype == torch.int64


@pytest.mark.parametrize(("sizes", "width"), [([256, 2], 1), ([257], 2), ([65536], 2), ([65537], 4)])
def test_the_smallest_integers_that_hold_the_codes(corpus, tmp_path, sizes, width):
    header = LabelHeader("any", {}, None, True, 24000, 75.0, sizes, "music", complete=True)
    with LabelWriter(LabelFolder(tmp_path / "labels"), header) as writer:
        writer.write("a.wav", np.stack([[size - 1, 0] for size in sizes]), 0.03)
    header.write(LabelFolder(tmp_path / "labels"))
    assert (tmp_path / "labels" / "shards" / "00000.bin").stat().st_size == 2 * len(sizes) * width
    assert LabelStore(tmp_path / "labels").read("a.wav").tolist() == [[size - 1, 0] for size in sizes]


def test_crops_and_their_labels_are_of_the_same_frames(corpus, store):
    crops = LabelledCrops(corpus, store, 48000, seed=3)
    for number in range(30):
        crop = crops[number]
        track, start, length = crops.locate(number)
        assert isinstance(crop, LabelledCrop)
        assert len(crop.waveform) == length
        assert crop.labels.shape == (2, 150)
        assert abs(int(crop.labels[0, 0]) - start / 320) <= 0.5
        assert torch.equal(crop.labels[0].diff().remainder(1024), torch.ones(149, dtype=torch.int64))
        assert set(crop.labels[1].tolist()) == {track}


def test_rounding_is_to_the_nearest_label():
    assert [label_span(start, 48000, 24000, 75.0)[0] for start in (0, 159, 161, 319, 480000)] == [0, 0, 1, 1, 1500]
    assert label_span(0, 48170, 24000, 75.0) == (0, 151)
    assert label_span(44100, 88200, 44100, 86.1328125) == (86, 172)


def test_crops_are_those_without_labels_and_end_where_labels_do(corpus, store, tmp_path):
    from mert_hf.data.crops import RandomCrops

    crops, plain = LabelledCrops(corpus, store, 48000, seed=3), RandomCrops(corpus, 48000, seed=3)
    assert [crops.locate(number) for number in range(20)] == [plain.locate(number) for number in range(20)]
    assert torch.equal(crops[5].waveform, plain[5])
    assert crops.circumstances() == {**plain.circumstances(), "labels": store.fingerprint()}
    short = LabelFolder(tmp_path / "short")
    with LabelWriter(short, HEADER) as writer:
        for index, track in enumerate(corpus.tracks):
            writer.write(track.name, count_frames(round(track.duration_s * 75) - 7, index), track.duration_s)
    HEADER.write(short)
    crops = LabelledCrops(corpus, LabelStore(tmp_path / "short"), 48000, seed=3)
    assert all(crops[number].labels.shape == (2, 150) for number in range(60))


def test_batches_carry_labels_whatever_the_number_of_readers(corpus, store, music_folder):
    (music_folder / "b.flac").write_bytes(b"gone")
    crops = LabelledCrops(corpus, store, 48000, seed=3)
    here, there = (list(load_batches(crops, BatchRange(6, 0, 2, workers=workers))) for workers in (0, 1))
    for one, other in zip(here, there, strict=True):
        assert one.labels.shape == (5, 2, 150)
        assert torch.equal(one.labels, other.labels)
        assert len(one.unreadable) == 1
    store.read("a.wav")
    assert len(pickle.dumps(store)) < 5000  # not the labels themselves


def test_a_writer_that_was_killed_leaves_what_it_had_finished(corpus, tmp_path):
    folder = LabelFolder(tmp_path / "labels")
    with LabelWriter(folder, HEADER) as writer:
        for name in ("one", "two"):
            writer.write(name, count_frames(100), 100 / 75)
    data, index = folder.shards / "00000.bin", folder.shards / "00000.jsonl"
    whole = index.read_text()
    for kept in range(len(whole.split("\n")[0]) + 1, len(whole)):  # the line of "two" cut off anywhere
        if kept % 40 == 0 or kept == len(whole) - 1:
            index.write_text(whole[:kept])
            assert set(read_rows(folder)) == {"one"}
    with data.open("ab") as file:
        file.write(b"half a track")
    with LabelWriter(folder, HEADER) as writer:
        writer.write("three", count_frames(50, 5), 50 / 75)
    HEADER.write(folder)
    store = LabelStore(tmp_path / "labels")
    assert set(store.rows) == {"one", "three"}
    assert np.array_equal(store.read("one"), count_frames(100))
    assert np.array_equal(store.read("three"), count_frames(50, 5))


def test_of_two_rows_of_a_track_the_newer_counts(tmp_path):
    folder = LabelFolder(tmp_path / "labels")
    for shard, track in ((1, 3), (0, 4)):
        with LabelWriter(folder, HEADER, shard) as writer:
            writer.write("song", count_frames(10, track), 10 / 75)
    HEADER.write(folder)
    assert LabelStore(tmp_path / "labels").read("song")[1].tolist() == [4] * 10


def test_tracks_without_fitting_labels_are_left_out_with_their_reasons(corpus, store, music_folder):
    soundfile.write(music_folder / "a.wav", make_tones(4.0, 24000, seed=77), 24000)  # another piece of the same length
    soundfile.write(music_folder / "new.wav", make_tones(4.0, 24000), 24000)
    copied = (music_folder / "b.flac").read_bytes()
    (music_folder / "b.flac").unlink()
    (music_folder / "b.flac").write_bytes(copied)  # the same file with another time stamp
    (music_folder / "album" / "e.wav").unlink()
    row = store.rows["c.ogg"]
    store.rows["c.ogg"] = type(row)(**{**vars(row), "frames": row.frames - 9})
    matched = store.match(open_folder(music_folder))
    assert {track.name for track in matched.tracks} == {"b.flac", "d.mp3", "album/f.flac"}
    reasons = {track.name: track.skipped_because for track in matched.skipped}
    assert reasons == {
        "a.wav": "the audio file was replaced since its labels were made",
        "new.wav": f"it has no labels in {store.folder}",
        "c.ogg": "its labels cover 5.89 s of 6.00 s of audio",
    }


def test_labels_of_another_corpus_are_refused(corpus, store, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "z.wav", make_tones(4.0, 24000), 24000)
    with pytest.raises(
        InputError,
        match=r"they were made for 0 tracks in music \(another list of names and lengths\), and fit none of the 1 in",
    ):
        store.match(open_folder(other))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 1024], [0, 0]], "song: label 1024 lies outside codebook 0, which has the codes 0 to 1023"),
        ([[0, 0], [-1, 0]], "song: label -1 lies outside codebook 1, which has the codes 0 to 15"),
        ([[0, 0]], r"song: labels of shape \(1, 2\); expected \(2 codebooks, frames\)"),
    ],
)
def test_labels_outside_a_codebook_are_not_written(tmp_path, codes, message):
    with LabelWriter(LabelFolder(tmp_path / "labels"), HEADER) as writer, pytest.raises(InputError, match=message):
        writer.write("song", np.array(codes), 2 / 75)
    assert not any(file.stat().st_size for file in (tmp_path / "labels" / "shards").iterdir())


def test_damaged_stores_are_named(corpus, store, tmp_path):
    folder = store.folder
    crops = LabelledCrops(corpus, store, 48000)
    damaged = np.fromfile(folder / "shards" / "00000.bin", "<u2")
    damaged[:] = 60000
    damaged.tofile(folder / "shards" / "00000.bin")
    spoilt = [crop for crop in map(crops.__getitem__, range(6)) if isinstance(crop, UnreadableCrop)]
    assert len(spoilt) == 3
    assert "label 60000 lies outside codebook 0" in spoilt[0].reason
    (folder / "shards" / "00000.bin").write_bytes(b"cut")
    with pytest.raises(InputError, match="00000.bin is missing or cut off"):
        LabelStore(folder)
    header = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps({**header, "complete": False}))
    with pytest.raises(InputError, match="are not complete; give training/prepare_labels.py the same command again"):
        LabelStore(folder)
    (folder / "labels.json").write_text("{")
    with pytest.raises(InputError, match="labels.json is damaged"):
        LabelStore(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="holds no labels .labels.json is missing.; make them with training/prepare_labels.py"):
        LabelStore(folder)
