"""`mert-hf inspect`: what it prints and writes, and what it refuses in one line."""

import json
import os

import numpy as np
import pytest
import soundfile
import torch

from mert_hf import MERTFeatureExtractor, MERTModel
from mert_hf.catalogue.inspection import playable
from mert_hf.cli import main
from mert_hf.synthetic import generate_piece

RATE = 24000


@pytest.fixture
def folder(tiny_config, tmp_path):
    torch.manual_seed(0)
    MERTModel(tiny_config).save_pretrained(tmp_path / "model")
    MERTFeatureExtractor().save_pretrained(tmp_path / "model")
    loops = [generate_piece([0, number], 8.0, RATE).waveform[3 * RATE : 5 * RATE] for number in range(2)]
    soundfile.write(tmp_path / "two parts.wav", np.concatenate([np.tile(loop, 5) for loop in loops]), RATE)
    return tmp_path


def test_it_prints_the_sections_and_writes_what_the_names_ask_for(folder, capsys):
    outputs = [folder / name for name in ("a b.png", "page.HTML", "sections.json")]
    options = [part for output in outputs for part in ("-o", str(output))]
    main(["inspect", str(folder / "two parts.wav"), "--model", str(folder / "model"), "--beats", "onsets", *options])
    printed = capsys.readouterr().out
    told = json.loads(outputs[2].read_text())
    lines = [line.split() for line in printed.splitlines()]
    count = len(told["sections"])
    assert lines[0] == f"two parts.wav: {count} sections, by layer 1 of {folder.name}".split()
    assert [float(line[1]) for line in lines[2 : 2 + count]] == [round(one["start_s"], 1) for one in told["sections"]]
    assert min(abs(one["start_s"] - 10.0) for one in told["sections"]) < 0.5
    assert told["beats_by"] == "onsets, no model" and told["layer"] == 1 and told["duration_s"] == 20.0
    assert f"wrote {outputs[0]}" in printed and "the track in it as it is" in printed
    assert outputs[0].read_bytes()[:4] == b"\x89PNG"
    assert outputs[1].read_text().startswith("<!DOCTYPE html>")
    assert {file.name for file in folder.iterdir()} == {"model", "two parts.wav", *(output.name for output in outputs)}


def test_a_layer_may_be_chosen_and_nothing_need_be_written(folder, capsys):
    options = ["--model", str(folder / "model"), "--layer", "2", "--window_s", "3", "--overlap_s", "1"]
    main(["inspect", str(folder / "two parts.wav"), *options])
    assert "by layer 2 of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("track", "options", "message"),
    [
        ("no.wav", {}, "no.wav does not exist"),
        ("model", {}, "model is not a file"),
        ("text.wav", {}, "text.wav: not an audio file that libsndfile or FFmpeg can read, or a truncated one"),
        ("short.wav", {}, "short.wav is too short: 100 samples at 24000 Hz, one frame needs 400."),
        ("two parts.wav", {"--model": "no/model"}, "no/model cannot be loaded"),
        ("two parts.wav", {"--layer": "9"}, "layer 9 does not exist; this model has layers 0"),
        ("two parts.wav", {"--device": "abacus"}, "device='abacus' is none that torch knows"),
        ("two parts.wav", {"--window_s": "0"}, "window_s=0.0 must be a number of seconds"),
        ("two parts.wav", {"--beats": "no/model"}, "the model of beats no/model cannot be loaded"),
        ("two parts.wav", {"-o": "a.jpg"}, "-o 'a.jpg' ends in none of .png, .html, .json; give a name that does."),
        ("two parts.wav", {"-o": "picture"}, "-o 'picture' ends in none of"),
        ("two parts.wav", {"-o": "no/a.png"}, "cannot be written: there is no folder no; make it first."),
        ("two parts.wav", {"-o": "folder.png"}, "cannot be written: it is a folder; give another place."),
    ],
)
def test_mistakes_are_one_line(folder, monkeypatch, capsys, track, options, message):
    monkeypatch.chdir(folder)
    (folder / "text.wav").write_text("no audio")
    (folder / "folder.png").mkdir()
    soundfile.write(folder / "short.wav", np.zeros(100), RATE)
    given = {"--model": "model", **options}
    with pytest.raises(SystemExit) as ended:
        main(["inspect", track, *(part for pair in given.items() for part in pair)])
    assert ended.value.code.startswith("error: ") and "\n" not in ended.value.code
    assert message in ended.value.code
    assert capsys.readouterr().out == ""


def test_a_place_that_may_not_be_written_to_is_told_before_anything_is_computed(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs the tests may be root, who may do everything
    with pytest.raises(SystemExit, match="picture.png cannot be written: the folder .* may not be written to"):
        main(["inspect", "no.wav", "--model", "no/model", "-o", str(folder / "picture.png")])


def test_a_track_too_long_for_a_page_is_told_before_a_model_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(playable, "MOST_BYTES", 8000)
    with pytest.raises(SystemExit, match="a page holds a track of at most 0.0 h"):
        main(["inspect", str(folder / "two parts.wav"), "--model", "no/model", "-o", str(folder / "page.html")])


def test_names_of_tracks_stay_in_their_line(folder, capsys):
    name = "two\nlines \x1b[31m 😀.wav"
    (folder / "two parts.wav").rename(folder / name)
    main(["inspect", str(folder / name), "--model", str(folder / "model"), "-o", str(folder / "p.png")])
    assert capsys.readouterr().out.splitlines()[0].startswith("two?lines ?[31m 😀.wav: ")
