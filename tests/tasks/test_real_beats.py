"""A task that learns beats from synthetic pieces and is tested on a folder of annotated tracks."""

import shutil

import numpy as np
import pytest
import soundfile
from support.probing_tasks import RATE, clicks

from mert_hf.audio import AudioError
from mert_hf.common.errors import InputError
from mert_hf.synthetic import benchmark
from mert_hf.synthetic.benchmark import make_score
from mert_hf.tasks import TASKS
from mert_hf.tasks.real_beats import read_beats, real_beats

SIZES = {"train": 3, "validation": 2, "test": 4}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(benchmark.SIZES, "pieces", SIZES)
    monkeypatch.setattr("mert_hf.tasks.synthetic.write_benchmark", lambda *_: None)


def put(folder, name, beats, seconds=4.0, place="{}"):
    """A track, and its beats where `place` says."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.2 * clicks(0.5, seconds)[0], RATE)
    if beats is not None:
        notes = path.parent / place.format(path.with_suffix(".beats").name)
        notes.parent.mkdir(exist_ok=True)
        notes.write_text("".join(f"{time:.4f}\t{number % 4 + 1}\n" for number, time in enumerate(beats)))
    return path


@pytest.fixture
def music(tmp_path):
    folder = tmp_path / "music"
    put(folder, "one.wav", [0.1, 0.6, 1.1, 1.6])
    put(folder, "album/two.flac", [0.25, 0.75, 3.9, 4.1, 5.0], place="annotations/{}")
    put(folder, "three.wav", None)
    return folder


def test_pieces_to_learn_from_and_tracks_to_be_tested_on(small, music, tmp_path):
    task = real_beats(music)
    data = task.load(tmp_path)
    assert task.name == "real_beat" not in TASKS and task.kind == "beats" and task.monitor == "beat_f1"
    pieces = TASKS["synthetic_beat"].load(tmp_path)
    for split in ("train", "validation"):
        assert list(data.splits[split]) == list(pieces.splits[split])
    assert data.target(data.splits["train"][1]).tolist() == make_score("pieces", "train", 1).beats_s
    tested = {example.name: example for example in data.splits["test"]}
    assert {name: data.target(example).tolist() for name, example in tested.items()} == {
        "album/two.flac": [0.25, 0.75, 3.9],
        "one.wav": [0.1, 0.6, 1.1, 1.6],
    }
    np.testing.assert_allclose(tested["one.wav"].read(RATE), 0.2 * clicks(0.5)[0], atol=1 / 32000)
    # the others tell that there are few pieces; how many tracks there are is nobody's business
    assert all("the train split has 3" in note or "the validation split has 2" in note for note in data.notes[2:])
    assert data.notes[:2] == (
        "2 beats lie after the end of their audio",
        "1 tracks without .beats file are left out: three.wav",
    )
    assert task.check(tmp_path).notes == data.notes[:2] and not task.check(tmp_path).problems


def test_other_beats_or_audio_are_another_dataset(small, music, tmp_path):
    task = real_beats(music)
    prints = [task.load(tmp_path).fingerprint]
    shutil.copytree(music, tmp_path / "copy")  # with its times
    assert real_beats(tmp_path / "copy").load(tmp_path).fingerprint == prints[0]
    put(music, "one.wav", [0.1, 0.6, 1.1])
    prints.append(task.load(tmp_path).fingerprint)
    put(music, "one.wav", [0.1, 0.6, 1.1], seconds=3.0)
    prints.append(task.load(tmp_path).fingerprint)
    prints.append(TASKS["synthetic_beat"].load(tmp_path).fingerprint)
    assert len({*prints}) == 4


def test_all_of_a_track_is_heard():
    """In windows as long as the pieces, none of which is left out at the end."""
    windows = real_beats("music").windows
    assert windows.spans(benchmark.PIECE_S) == [(0.0, benchmark.PIECE_S)]
    spans = windows.spans(33.3)
    assert spans[0] == (0.0, 10.0) and spans[-1] == (30.0, 33.3)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


@pytest.mark.parametrize(
    ("text", "beats"),
    [("0.0\n0.5\n", (0.0, 0.5)), ("\ufeff0.5 1\r\n1.0 2\r\n\r\n", (0.5, 1.0)), ("  0.25\t3\textra\n1e0\n", (0.25, 1.0))],
)
def test_beats_are_read(text, beats, tmp_path):
    file = tmp_path / "a.beats"
    file.write_bytes(text.encode())
    assert read_beats(file) == beats


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5\nnext\n", "a.beats, line 2: 'next' is no time in seconds"),
        ("0.5\n1.0\n1.0\n", "line 3: beats must ascend from 0 s on; 1.0 does not"),
        ("-0.5\n", "line 1: beats must ascend from 0 s on; -0.5 does not"),
        ("0.5\nnan\n", "line 2: beats must ascend"),
        ("\n", "a.beats holds no beat"),
        (b"\xff\xfe\x00", "a.beats is damaged: it is no text in UTF-8"),
    ],
)
def test_damaged_beats_are_named(text, message, tmp_path):
    file = tmp_path / "a.beats"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read_beats(file)


def test_a_folder_that_cannot_be_meant_is_said(small, music, tmp_path):
    def problem(folder):
        (found,) = real_beats(folder).check(tmp_path).problems
        with pytest.raises(InputError) as raised:
            real_beats(folder).load(tmp_path)
        assert str(raised.value) == found and "\n" not in found
        return found

    assert problem(tmp_path / "none").endswith("none is no folder; give one of tracks with .beats files.")
    (tmp_path / "empty").mkdir()
    assert "empty holds no .beats file; put one beside a track, or into annotations" in problem(tmp_path / "empty")
    (music / "four.beats").write_text("0.5\n")
    assert "four.beats has no track: no audio of that name lies beside it" in problem(music)
    (music / "four.beats").unlink()
    put(music, "one.flac", None)
    assert "one.beats has two tracks, one.flac and one.wav; rename one." in problem(music)
    (music / "one.flac").unlink()
    (music / "one.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match="one.wav"):
        real_beats(music).load(tmp_path)
