"""Several processes, perhaps of several machines, whose copies of the music may differ."""

import json
import shutil
import socket

import pytest
from accelerate import Accelerator
from safetensors.torch import load_file
from support.small_runs import finish, make_teachers, pretrain_on_own_copies, start
from support.troubled_runs import train_loud

from mert_hf.common.errors import InputError
from mert_hf.common.files import open_atomically
from mert_hf.data.corpus import open_folder
from mert_hf.data.label_store import LabelFolder
from mert_hf.engine import devices
from mert_hf.engine.metrics import read_metrics
from mert_hf.pretraining.labelling import make_labels


@pytest.fixture
def copies(music_folder, tmp_path):
    return [music_folder, shutil.copytree(music_folder, tmp_path / "other")]


def pretrain(copies, tmp_path):
    assert finish(start(pretrain_on_own_copies, copies, tmp_path / "run", tmp_path, processes=2)) == [0, 0]
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]


def test_of_processes_with_the_same_files_one_writes_what_it_found(copies, tmp_path):
    (first, written), (second, nothing) = pretrain(copies, tmp_path)
    assert first is second is None
    assert (written, nothing) == (["skipped.jsonl", "tracks.json"], [])
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_processes_with_other_files_are_refused_by_all(copies, tmp_path):
    (copies[1] / "a.wav").unlink()
    for said, _ in pretrain(copies, tmp_path):
        assert f"the usable tracks of {copies[0]} are" in said or f"the usable tracks of {copies[1]} are" in said
        assert f"not the same for all processes: process 1 on {socket.gethostname()} has found others than process 0" in said
        assert said.endswith("Give all machines the same files, or a folder they share.")
    found = json.loads((tmp_path / "run" / "tracks.json").read_text())
    assert len(found["tracks"]) == 6
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("accumulated", [1, 2])
def test_samples_beyond_all_range_of_one_process_are_left_out_by_all(music_folder, tmp_path, accumulated):
    assert finish(start(train_loud, music_folder, tmp_path / "run", tmp_path, accumulated, processes=2)) == [0, 0]
    (loud,) = json.loads((tmp_path / "loud_1.json").read_text())
    for rank in range(2):
        said = (tmp_path / f"said_{rank}.txt").read_text()
        assert said.count("Left out update") == 1
        assert "Left out update 3: " in said
        assert f"the loudest of its clips are of: {loud!r} (peak " in said
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["skipped_steps"] == 1
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_labels_of_other_files_are_refused_too(music_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "gather_object", lambda own: own + [("far", {"usable tracks": "others"})])
    with pytest.raises(InputError, match="the usable tracks of .*music are not the same for all processes: process 1 on far"):
        make_labels(open_folder(music_folder), make_teachers()[0], LabelFolder(tmp_path / "labels"), Accelerator(cpu=True))
    assert not (tmp_path / "labels").exists()


def test_processes_of_two_machines_with_equal_numbers_write_one_file_each_as_a_whole(tmp_path, monkeypatch):
    file = tmp_path / "tracks.json"
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    with open_atomically(file) as first:
        first.write(b"of the first")
        monkeypatch.setattr(socket, "gethostname", lambda: "there")
        with open_atomically(file) as second:
            second.write(b"the second's")
        assert file.read_bytes() == b"the second's"
    assert file.read_bytes() == b"of the first"
    assert list(tmp_path.iterdir()) == [file]
