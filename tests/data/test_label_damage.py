"""Label stores that a crash, a bad disk or a hand has changed: refused, each with a line that names the file."""

import json
import logging
import zlib
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from support.sounds import make_tones

import mert_hf.pretraining.labelling as labelling
from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_folder
from mert_hf.data.crops import UnreadableCrop
from mert_hf.data.label_files import LabelFolder, LabelHeader
from mert_hf.data.label_store import LabelStore, LabelWriter
from mert_hf.data.labelled_crops import LabelledCrops
from mert_hf.teachers import ResidualKMeansTeacher

HEADER = LabelHeader("codes", {}, None, True, 24000, 75.0, [1024, 16], "music", complete=True)


def codes(frames, seed=0):
    drawn = np.random.default_rng(seed)
    return np.stack([drawn.integers(1024, size=frames), drawn.integers(16, size=frames)])


@pytest.fixture
def folder(tmp_path):
    folder = LabelFolder(tmp_path / "labels")
    with LabelWriter(folder, HEADER) as writer:
        for number, name in enumerate(("one", "two")):
            writer.write(name, codes(100, number), 100 / 75)
    HEADER.write(folder)
    return folder


def test_every_flipped_bit_of_the_labels_is_noticed_at_the_first_read_of_its_track(folder):
    data = folder.shards / "00000.bin"
    whole = data.read_bytes()
    for bit in range(0, 8 * len(whole), 97):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        data.write_bytes(spoilt)
        damaged, other = ("one", "two") if bit < 4 * len(whole) else ("two", "one")
        store = LabelStore(folder.folder)
        with pytest.raises(InputError, match=rf"^{damaged}: .*00000.bin .*prepare_labels.py the same command again"):
            store.read(damaged, 0, 1)  # a piece that need not be the damaged one
        assert store.read(other).tolist() == codes(100, int(other == "two")).tolist()


def test_labels_are_compared_with_their_checksum_once_in_a_process(folder, monkeypatch):
    compared, crc32 = [], zlib.crc32
    monkeypatch.setattr("mert_hf.data.label_files.zlib.crc32", lambda piece: compared.append(len(piece)) or crc32(piece))
    store = LabelStore(folder.folder)
    for start in range(0, 100, 10):
        store.read("one", start, 10)
    assert compared == [100 * 2 * 2]


@pytest.mark.parametrize("name", ["labels.json", "shards/00000.jsonl"])
def test_every_changed_character_of_header_and_index_is_noticed(folder, name):
    file = folder.folder / name
    whole = file.read_text()
    for place in range(len(whole)):
        spoilt = "7" if whole[place] != "7" else "8"
        file.write_text(whole[:place] + spoilt + whole[place + 1 :])
        with pytest.raises(InputError) as refused:
            LabelStore(folder.folder)
        assert "\n" not in str(refused.value)
        assert str(folder.folder) in str(refused.value)
    file.write_text(whole)
    assert set(LabelStore(folder.folder).rows) == {"one", "two"}


def test_a_line_that_is_gone_is_noticed(folder):
    index = folder.shards / "00000.jsonl"
    whole = index.read_text()
    for kept in (whole[: whole.index("\n") + 1], whole[:-1], ""):
        index.write_text(kept)
        with pytest.raises(InputError, match=r"labels.json, or a line in .*shards, is not as it was written"):
            LabelStore(folder.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_rate": 0.0}, "frame_rate=0; accepted: above 0, up to sampling_rate"),
        ({"frame_rate": 1e300}, r"frame_rate=1e\+300"),
        ({"sampling_rate": -24000}, "sampling_rate=-24000; accepted: 1 to 1,000,000"),
        ({"sampling_rate": "24000"}, "sampling_rate is '24000'"),
        ({"codebook_sizes": []}, "0 codebooks; accepted: 1 to 64"),
        ({"codebook_sizes": [10**30]}, "codebooks of 1 to 16,777,216 codes"),
        ({"codebook_sizes": [0]}, "codebooks of 1 to 16,777,216 codes"),
        ({"codebook_sizes": [16, None]}, r"codebook_sizes is \[16, None\]"),
        ({"settings": []}, r"settings is \[\]"),
        ({"surprise": 1}, "unknown field 'surprise'"),
    ],
)
def test_numbers_that_no_teacher_has_are_refused(folder, change, message):
    folder.header.write_text(json.dumps({**json.loads(folder.header.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        LabelHeader.read(folder)


def write_as_before(folder, rows, header=HEADER):
    """A store as mert_hf wrote it before headers and lines had checksums (commit 6e12249), by hand."""
    folder.shards.mkdir(parents=True)
    content, lines = b"", []
    for name, found in rows.items():
        piece = found.T.astype("<u2").tobytes()
        row = {"name": name, "frames": found.shape[1], "offset": len(content), "crc": zlib.crc32(piece)}
        lines.append({**row, "duration_s": found.shape[1] / 75, "stamp": [0, 0], "digest": None, "made_at": 1.7e9})
        content += piece
    (folder.shards / "00000.bin").write_bytes(content)
    (folder.shards / "00000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    fields = {name: value for name, value in asdict(header).items() if name != "checksum"}
    folder.header.write_text(json.dumps(fields, indent=2) + "\n")


def test_stores_without_checksums_of_lines_are_still_read_and_their_labels_compared(tmp_path):
    folder = LabelFolder(tmp_path / "old")
    write_as_before(folder, {"one": codes(100), "two": codes(100, 1)})
    store = LabelStore(folder.folder)
    assert store.read("two").tolist() == codes(100, 1).tolist()
    index = folder.shards / "00000.jsonl"
    for old, new, message in (
        ('"offset": 400', '"offset": 404', "missing or cut off"),
        ('"offset": 400', '"offset": 396', "two begins before another track ends"),
        ('"frames": 100, "offset": 400', '"frames": 99, "offset": 400', "not those that were written"),
        ('"offset": 400', '"offset": -400', "line 2 is damaged"),
        ('"frames": 100, "offset": 400', '"frames": 1e2, "offset": 400', "frames is 100.0"),
    ):
        whole = index.read_text()
        assert old in whole
        index.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match=message):
            LabelStore(folder.folder).read("two")
        index.write_text(whole)
    with LabelWriter(folder, HEADER) as writer:
        writer.write("three", codes(50, 2), 50 / 75)
    HEADER.write(folder)
    assert LabelHeader.read(folder).checksum
    assert set(LabelStore(folder.folder).rows) == {"one", "two", "three"}


def test_a_header_that_lost_its_checksum_is_not_taken_for_an_old_one(folder):
    header = json.loads(folder.header.read_text())
    del header["checksum"]
    folder.header.write_text(json.dumps({**header, "frame_rate": 50.0}))
    with pytest.raises(InputError, match="is not as it was written"):
        LabelStore(folder.folder)


def test_the_same_command_makes_the_labels_of_damaged_tracks_anew(music_folder, tmp_path, monkeypatch, caplog):
    clips = [torch.from_numpy(make_tones(3.0, 24000, seed)) for seed in range(2)]
    teacher = ResidualKMeansTeacher([8, 8], ["log_mel"], {"log_mel": {"bins": 20}}).fit(clips)
    corpus, folder = open_folder(music_folder), LabelFolder(tmp_path / "labels")
    labelling.make_labels(corpus, teacher, folder, Accelerator(cpu=True))
    before = LabelStore(folder.folder)
    expected = {track.name: before.read(track.name) for track in corpus.tracks}
    data, index = folder.shards / "00000.bin", folder.shards / "00000.jsonl"
    rows = sorted(before.rows.values(), key=lambda row: row.offset)
    spoilt = bytearray(data.read_bytes())
    spoilt[rows[1].offset + 5] ^= 1
    data.write_bytes(spoilt)
    lines = index.read_bytes().split(b"\n")
    lines[3] = lines[3][:-40] + b"\xff" + lines[3][-39:]
    index.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match=r"00000.jsonl is damaged: it is no text"):
        LabelStore(folder.folder)
    made, label_track = [], labelling.label_track
    monkeypatch.setattr(
        labelling, "label_track", lambda w, c, i, *rest: made.append(c.tracks[i].name) or label_track(w, c, i, *rest)
    )
    with caplog.at_level(logging.WARNING, "mert_hf"):
        labelling.make_labels(corpus, teacher, folder, Accelerator(cpu=True))
    assert sorted(made) == sorted([rows[1].name, rows[3].name])
    assert "2 tracks are labelled anew, since their labels are damaged" in caplog.text
    after = LabelStore(folder.folder)
    assert all(after.read(name).equal(found) for name, found in expected.items())
    assert after.fingerprint() == before.fingerprint()


def test_a_damaged_track_is_left_out_of_training_by_name(music_folder, tmp_path):
    corpus, folder = open_folder(music_folder), LabelFolder(tmp_path / "labels")
    with LabelWriter(folder, HEADER) as writer:
        for track in corpus.tracks:
            writer.write(track.name, codes(round(track.duration_s * 75)), track.duration_s)
    HEADER.write(folder)
    store = LabelStore(folder.folder)
    content = bytearray((folder.shards / "00000.bin").read_bytes())
    content[store.rows["c.ogg"].offset] ^= 1  # another code, and one that there is
    (folder.shards / "00000.bin").write_bytes(content)
    crops = LabelledCrops(corpus, LabelStore(folder.folder), 48000)
    found = [crops[number] for number in range(12)]
    unreadable = [crop for crop in found if isinstance(crop, UnreadableCrop)]
    assert {crop.track for crop in unreadable} == {"c.ogg"}
    assert len(unreadable) == 2
    assert "not those that were written" in unreadable[0].reason


def test_a_store_is_complete_only_with_its_rows(folder):
    assert replace(HEADER, complete=False).checksum == ""
    replace(HEADER, complete=False).write(folder)
    assert LabelHeader.read(folder).checksum == ""
    with pytest.raises(InputError, match="are not complete"):
        LabelStore(folder.folder)
