"""The script that lists, installs and links free music."""

import os

import numpy as np
import pytest
import soundfile
from support.packages import System, sound

from mert_hf.data.free_music import FREE_MUSIC
from mert_hf.synthetic.corpus import generate_piece


@pytest.fixture
def system(tmp_path, monkeypatch):
    made = System(tmp_path, monkeypatch)
    made.install("hyperrogue-music", {"usr/share/hyperrogue/music/hr3-caves.ogg": sound(10.5, 0)}, "12.0q-1")
    return made


def test_the_list_says_what_is_installed_and_what_its_licences_allow(system, run_script, capsys):
    run_script("free_music.py", "list", "--weights_licence", "cc-by-sa-4.0")
    titles, *rows, totals = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    told = {row[0]: [cell.strip() for cell in row if cell.strip()] for row in rows}
    assert list(told) == list(FREE_MUSIC)
    assert told["hyperrogue-music"] == ["hyperrogue-music", "0.39", "0.39", "12.0q-1", "CC-BY-SA-3.0", "HyperRogue"]
    assert told["wesnoth-1.16-music"][1:4] == ["2.13", "0.00", "-"]
    assert "gpl-3.0 11.8" in totals[0] and "cc-by-sa-4.0 7.5" in totals[0]


def test_what_is_not_there_is_installed_by_root(system, run_script, capsys, monkeypatch, tmp_path):
    run_script("free_music.py", "install", "hyperrogue-music", "asc-music", "drascula-music", "--dry-run")
    line = "apt-get install --yes --no-install-recommends asc-music"
    assert capsys.readouterr().out == f"{line}\n"
    run_script("free_music.py", "install", "hyperrogue-music")
    assert capsys.readouterr().out == "installed already: hyperrogue-music\n"

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match=f"only root may install packages; run: sudo {line}"):
        run_script("free_music.py", "install", "asc-music")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program = tmp_path / "bin" / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit 100\n')
    program.chmod(0o755)
    with pytest.raises(SystemExit, match="apt-get ended with 100"):
        run_script("free_music.py", "install", "asc-music")
    assert (tmp_path / "asked").read_text() == "install --yes --no-install-recommends asc-music\n"


def test_the_folder_is_made_and_counted(system, run_script, capsys, tmp_path):
    run_script("free_music.py", "link", "--output", tmp_path / "music")
    assert "1 tracks, 0.00 hours; weights under cc-by-sa-4.0" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "music").iterdir()} == {"SOURCES.csv", "licences.json", "hyperrogue-music"}


def test_music_is_rendered_and_made_longer(run_script, capsys, tmp_path):
    """The same line with more pieces keeps those that are there; no package is asked for."""
    line = ("free_music.py", "render", "--output", tmp_path / "music", "--renderer", "builtin", "--seed", "5", "--pieces")
    run_script(*line, "1")
    assert "1 pieces, 0.01 hours" in capsys.readouterr().out
    first = (tmp_path / "music" / "piece_00000.flac").read_bytes()
    waveform, rate = soundfile.read(tmp_path / "music" / "piece_00000.flac", dtype="float32")
    assert rate == 24000
    np.testing.assert_allclose(waveform, generate_piece([5, 0], 30.0, 24000).waveform, rtol=0, atol=1e-4)
    run_script(*line, "2")
    assert (tmp_path / "music" / "piece_00000.flac").read_bytes() == first
    assert (tmp_path / "music" / "piece_00001.flac").exists()
    with pytest.raises(SystemExit, match="holds a synthetic corpus of other settings"):
        run_script("free_music.py", "render", "--output", tmp_path / "music", "--renderer", "builtin", "--seed", "6")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "asc"], "asc is no package of music"),
        (["list", "--weights_licence", "cc-by-nc-4.0"], "'cc-by-nc-4.0' is no licence of weights"),
        (["link", "asc-music", "--output", "x"], "none of these packages is installed"),
    ],
)
def test_mistakes_are_told_in_a_line(system, run_script, arguments, said):
    with pytest.raises(SystemExit, match=f"^error: {said}"):
        run_script("free_music.py", *arguments)
