"""Streams of shards: what is read, by whom, and where reading goes on."""

import io
import itertools
import json
import shutil
import tarfile

import pyarrow
import pyarrow.parquet
import pytest
import soundfile
import torch
from datasets import IterableDataset
from safetensors.torch import load_file
from support.small_runs import finish, start, train
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.data.crops import BatchRange
from mert_hf.data.streaming import Position, StreamClips, open_stream


def encoded(duration_s: float, seed: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, make_tones(duration_s, 24000, seed), 24000, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Four Parquet shards of five tracks; the third of each is damaged, the fourth too short."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(4):
        tracks = [
            {"bytes": b"no audio" if number == 2 else encoded(2.0 if number == 3 else 3.5, 5 * shard + number), "path": None}
            for number in range(5)
        ]
        pyarrow.parquet.write_table(pyarrow.table({"audio": tracks}), folder / f"{shard}.parquet")
    return folder


def open_clips(shards, **options) -> StreamClips:
    return StreamClips(open_stream(str(shards), "train", "audio"), "audio", "shards", 24000, block=2, seed=3, **options)


def read(clips: StreamClips, **place) -> list:
    return list(clips.batches(BatchRange(**{"size": 2, "start": 0, "stop": 8, **place})))


def test_every_pass_reads_every_track_once_in_another_order(shards):
    lane = open_clips(shards, min_duration_s=1.0).read_lane(Position(0), 1)
    passes = [[next(lane)[0] for _ in range(20)] for _ in range(2)]
    assert [sum(not torch.is_tensor(crop) for crop in crops) for crops in passes] == [4, 4]
    lengths = [[len(crop) if torch.is_tensor(crop) else 0 for crop in crops] for crops in passes]
    assert lengths[0] != lengths[1]


def test_rows_are_read_once_a_pass_and_passed_over_only_to_go_on():
    given = []

    def rows(shards):
        for shard in shards:
            for number in range(23):
                given.append((shard, number))
                yield {"audio": {"bytes": b"no audio", "path": f"{shard}_{number}"}}

    stream = IterableDataset.from_generator(rows, gen_kwargs={"shards": [0, 1]})

    def read_from(position, count):
        given.clear()
        return list(
            itertools.islice(StreamClips(stream, "audio", "rows", 24000, block=4, seed=3).read_lane(position, 1), count)
        )

    whole = read_from(Position(0), 46)
    assert sorted(given) == [(shard, number) for shard in range(2) for number in range(23)]
    for done in (1, 4, 22, 23, 30):
        rest = read_from(whole[done - 1][1], 46 - done)
        assert [(crop.track, place) for crop, place, _ in rest] == [(crop.track, place) for crop, place, _ in whole[done:]]
        assert len(given) == len(set(given))


def test_lanes_share_the_shards_out(shards):
    """Two processes with two readers each: four lanes, four shards, no track twice in a pass."""
    position = [Position(lane) for lane in range(4)]
    seen = []
    for lane in position:
        reading = open_clips(shards).read_lane(lane, 4)
        seen += [crop[0] if torch.is_tensor(crop) else crop.track for crop in (next(reading)[0] for _ in range(5))]
    named = [name for name in seen if isinstance(name, str)]
    assert len(named) == len(set(named)) == 8
    assert len({float(value) for value in seen if not isinstance(value, str)}) == 12


def test_what_cannot_be_used_is_named_with_its_reason(shards):
    left_out = [crop for batch in read(open_clips(shards), size=5, stop=4) for crop in batch.unreadable]
    assert len(left_out) == 8
    assert sum("shorter than 3" in crop.reason or "too short" in crop.reason for crop in left_out) == 4


def test_a_name_leads_to_its_shard_and_row_in_every_pass(tmp_path):
    for shard in range(4):
        rows = [{"bytes": b"no audio", "path": f"{shard}_{row}"} for row in range(3)]
        pyarrow.parquet.write_table(pyarrow.table({"audio": rows}), tmp_path / f"{shard}.parquet")
    lane = open_clips(tmp_path).read_lane(Position(0), 1)
    passes = [[next(lane)[0].track for _ in range(12)] for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    for names in passes:
        assert sorted(names) == [f"{shard}_{row} (shard {shard}, row {row})" for shard in range(4) for row in range(3)]


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_goes_on_where_it_stopped(shards, workers):
    whole = read(open_clips(shards), workers=workers)
    clips = open_clips(shards)
    for batch in read(clips, stop=5, workers=workers):
        clips.remember(batch)
    again = open_clips(shards)
    again.load_state_dict(clips.state_dict())
    rest = read(again, start=5, workers=workers)
    assert len(rest) == 3
    for expected, found in zip(whole[5:], rest, strict=True):
        assert torch.equal(expected.waveforms, found.waveforms)
        assert expected.unreadable == found.unreadable


def test_a_run_on_a_stream_goes_on_bit_by_bit(shards, tmp_path):
    settings = dict(max_steps=6, checkpoint_every=2, batch_size=5)
    assert finish(start(train, shards, tmp_path / "whole", 2, True, settings)) == [0]
    (process,) = start(train, shards, tmp_path / "killed", 2, True, settings)
    while process.is_alive() and not (tmp_path / "killed" / "checkpoints" / "step_00000004").exists():
        process.join(0.01)
    process.kill()
    assert finish(start(train, shards, tmp_path / "killed", 2, True, settings)) == [0]
    expected, found = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all(value.equal(found[name]) for name, value in expected.items())


def test_two_processes_go_on_where_each_of_them_stood(shards, tmp_path):
    def run():
        settings = dict(max_steps=4, checkpoint_every=2, batch_size=4)
        assert finish(start(train, shards, tmp_path, 1, True, settings, processes=2)) == [0, 0]
        state = json.loads((tmp_path / "checkpoints" / "step_00000004" / "state.json").read_text())
        return state["sources"], load_file(tmp_path / "model" / "model.safetensors")

    places, expected = run()
    # of each process its lanes: lane, place in the row of shards, tracks read of that shard, tracks read in all
    assert places == [[[0, 6, 1, 16]], [[0, 7, 1, 16]]]
    shutil.rmtree(tmp_path / "checkpoints" / "step_00000004")  # both go on inside their second shard
    shutil.rmtree(tmp_path / "model")
    places_again, found = run()
    assert places_again == places
    assert all(value.equal(found[name]) for name, value in expected.items())


def test_webdataset_shards_are_read_as_well(tmp_path):
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as archive:
            for number in range(3):
                content = encoded(3.5, number)
                entry = tarfile.TarInfo(f"{shard}_{number}.flac")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    stream = open_stream(str(tmp_path), "train", "flac")
    assert stream.num_shards == 2
    batches = read(StreamClips(stream, "flac", "tar", 24000), size=3, stop=2)
    assert [tuple(batch.waveforms.shape) for batch in batches] == [(3, 24000)] * 2


@pytest.mark.parametrize(
    ("folder", "column", "message"),
    [
        ("shards", "sound", r"has no column 'sound' \(data.dataset_column\); it has: audio"),
        ("empty", "audio", "must hold Parquet shards"),
        ("/nowhere/else", "audio", "'/nowhere/else' cannot be streamed"),
        ("text", "audio", "holds no encoded audio"),
    ],
)
def test_mistakes_are_named(shards, tmp_path, folder, column, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"audio": ["a name"]}), tmp_path / "text" / "0.parquet")
    place = {"shards": shards, "/nowhere/else": folder}.get(folder, tmp_path / folder)
    with pytest.raises(InputError, match=message):
        open_stream(str(place), "train", column)
