"""Playing with sampled instruments, by a program that stands in for fluidsynth."""

import json
import sys

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.synthetic.score.benchmark_vocabularies import VOCABULARIES
from mert_hf.synthetic.score.labels import Note, Score
from mert_hf.synthetic.sound import fluidsynth

PLAYER = """#!{python}
import json, shutil, sys
options = dict(zip(sys.argv[3:-2:2], sys.argv[4:-2:2]))
json.dump([sys.argv[1:3], options, sys.argv[-2:]], open({told!r}, "w"))
shutil.copy(sys.argv[-1], {notes!r})
shutil.copy({audio!r}, options["-F"])
"""


def test_a_player_is_asked_rightly_and_what_it_plays_is_taken(tmp_path, monkeypatch):
    told, notes, audio = tmp_path / "told.json", tmp_path / "heard.mid", tmp_path / "audio.wav"
    tones = 0.1 * make_tones(1.5, 24000)
    soundfile.write(audio, np.stack([tones, tones], axis=1), 24000, subtype="FLOAT")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "fluidsynth"
    program.write_text(PLAYER.format(python=sys.executable, told=str(told), notes=str(notes), audio=str(audio)))
    program.chmod(0o755)
    font = tmp_path / "general.sf2"
    font.write_bytes(b"font")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv(fluidsynth.SOUNDFONT_VARIABLE, str(font))
    player = fluidsynth.find_fluidsynth()
    score = Score([Note(0.5, 1.25, 60, 100, "piano")], [], 0.0)
    found = player.render(score, 48000, 24000, np.random.SeedSequence(0), VOCABULARIES["test"])
    flags, options, files = json.loads(told.read_text())
    assert flags == ["-ni", "-q"] and options["-r"] == "24000" and files[0] == str(font)
    # another program of the piano in every split
    assert bytes([0xC0, fluidsynth.PROGRAMS["piano"][2]]) in notes.read_bytes()
    # two seconds: what was played, as loud as all that is rendered, and silence after it
    assert found.shape == (48000,) and found.dtype == np.float32
    assert np.abs(found).max() == pytest.approx(0.9)
    np.testing.assert_allclose(found[:36000], tones * (0.9 / np.abs(tones).max()), atol=1e-6)
    assert not found[36000:].any()
    short = player.render(score, 12000, 24000, np.random.SeedSequence(0), VOCABULARIES["test"])
    np.testing.assert_allclose(short / np.abs(short).max(), tones[:12000] / np.abs(tones[:12000]).max(), atol=1e-6)
