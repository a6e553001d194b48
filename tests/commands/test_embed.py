"""`mert-hf embed`, `search`, `duplicates` and `index` as a user sees them: lines, exit codes, and no traceback."""

import json
import os
import subprocess
import sys

import pytest
from support.catalogues import read_rows, save_model, write_songs

from mert_hf import cli


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


def run(*words) -> int:
    """Exit code of the command."""
    try:
        cli.main([str(word) for word in words])
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    return 0


def test_from_a_folder_to_its_neighbours(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_songs(tmp_path / "music", 4)
    (tmp_path / "music" / "bad\nsong.wav").write_bytes(b"no audio")
    embed = ("embed", "music", "-o", "out", "--model", model, "--dtype", "float32", "--device", "cpu")
    assert run(*embed) == 3  # all but those that failed
    told = capsys.readouterr()
    assert "out: 4 tracks embedded" in told.out and "0 were there" in told.out
    assert "1 tracks failed; the reasons are listed in out/failures.jsonl" in told.err
    assert run(*embed) == 3
    assert "0 tracks embedded" in capsys.readouterr().out
    (tmp_path / "music" / "bad\nsong.wav").unlink()
    assert run(*embed) == 0
    capsys.readouterr()
    assert run("search", "out", "song 01.wav", "-k", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.split(maxsplit=2)[2].startswith(str(tmp_path / "music")) for line in lines)
    assert run("search", "out", 1, "-k", 2, "--json", "--where", "name != song 00.wav") == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(hits) == 2 and {"score", "row", "path", "name", "duration_s"} == set(hits[0])
    assert run("duplicates", "out", "--threshold", "-0.99") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("groups among 4 tracks")
    assert run("index", "out") == 0
    assert capsys.readouterr().out.strip().endswith(".usearch")
    assert run("search", "out", 1, "--method", "graph", "-k", 2) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("embed", "-o", "out"), "give either sources"),
        (("embed", "gone.mp3", "-o", "out", "--model", "MODEL"), "'gone.mp3' does not exist"),
        (("embed", "empty", "-o", "out", "--model", "MODEL"), "holds no audio file"),
        (("embed", "music", "-o", "out", "--model", "/gone/model"), "there is no such folder"),
        (("embed", "music", "-o", "out", "--model", "empty"), "no config.json"),
        (("embed", "music", "-o", "music", "--model", "MODEL"), "holds other files"),
        (("embed", "music", "-o", "out", "--model", "MODEL", "--layers", "x"), "are none"),
        (("embed", "music", "-o", "out", "--model", "MODEL", "--layers", "9"), "layer 9 does not exist"),
        (("embed", "music", "-o", "out", "--model", "MODEL", "--dtype", "int4"), "no floating-point type"),
        (("embed", "music", "-o", "out", "--model", "MODEL", "--window_s", "-1"), "window_s=-1.0"),
        (("search", "gone", "x"), "gone does not exist"),
        (("search", "empty", "x"), "empty is no catalogue"),
        (("duplicates", "music"), "music is no catalogue"),
    ],
)
def test_mistakes_end_in_a_line(model, tmp_path, capsys, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    write_songs(tmp_path / "music", 1)
    (tmp_path / "empty").mkdir()
    assert run(*(model if word == "MODEL" else word for word in words)) == 1
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert told in line and "Traceback" not in captured.err


def test_an_encoder_that_hears_no_audio_is_refused(tmp_path, capsys, monkeypatch):
    from transformers import BertConfig, BertModel

    monkeypatch.chdir(tmp_path)
    write_songs(tmp_path / "music", 1)
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8)
    BertModel(BertConfig(**sizes)).save_pretrained("bert")
    assert run("embed", "music", "-o", "out", "--model", "bert") == 1
    assert "'bert' model; MusicEncoder takes those that hear raw audio" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(model, tmp_path, capsys, monkeypatch):
    write_songs(tmp_path / "music", 1)
    (tmp_path / "closed").mkdir(mode=0o500)
    assert run("embed", tmp_path / "music", "-o", tmp_path / "closed" / "out", "--model", model) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_python_m_is_the_command(model, tmp_path):
    write_songs(tmp_path / "music", 1)
    command = [sys.executable, "-m", "mert_hf", "embed", "music", "-o", "out", "--model", str(model), "--dtype", "float32"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 tracks embedded" in done.stdout and "Embedding" in done.stderr
    assert len(read_rows(tmp_path / "out")) == 1
