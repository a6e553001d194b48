"""Playing with sampled instruments, by a program that stands in for fluidsynth, and by itself where it is installed."""

import json
import shutil
import sys

import numpy as np
import pytest
import soundfile
from support.midi_files import read_midi
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.synthetic.benchmark import benchmark_notes, benchmark_version, make_score
from mert_hf.synthetic.score.benchmark_vocabularies import VOCABULARIES
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.labels import DrumHit, Note, Score
from mert_hf.synthetic.score.vocabulary import CORPUS
from mert_hf.synthetic.sound import fluidsynth, soundfonts
from mert_hf.synthetic.sound.fluidsynth import CORPUS_PROGRAMS, PROGRAMS, draw_programs, find_fluidsynth
from mert_hf.synthetic.sound.midi import score_events
from mert_hf.synthetic.sound.timeline import Timeline

PLAYER = """#!{python}
import json, shutil, sys
options = dict(zip(sys.argv[3:-2:2], sys.argv[4:-2:2]))
json.dump([sys.argv[1:3], options, sys.argv[-2:]], open({told!r}, "w"))
shutil.copy(sys.argv[-1], {notes!r})
shutil.copy({audio!r}, options["-F"])
"""
INSTALLED = shutil.which("fluidsynth") is not None and any(
    name in soundfonts._usual() for name in (soundfonts.TRAINING_SOUNDFONT, soundfonts.TEST_SOUNDFONT)
)
needs_fluidsynth = pytest.mark.skipif(not INSTALLED, reason="fluidsynth or a soundfont of General MIDI is not installed")
SEED = np.random.SeedSequence(0)


def test_a_player_is_asked_rightly_and_what_it_plays_is_taken(tmp_path, monkeypatch):
    told, notes, audio = tmp_path / "told.json", tmp_path / "heard.mid", tmp_path / "audio.wav"
    tones = 0.1 * make_tones(1.5, 24000)
    (start,) = Timeline(1, 48000, 24000).starts
    led = np.concatenate([np.full(start, 0.3), tones])  # what is played before a clip is not heard
    soundfile.write(audio, np.stack([led, led], axis=1), 24000, subtype="FLOAT")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "fluidsynth"
    program.write_text(PLAYER.format(python=sys.executable, told=str(told), notes=str(notes), audio=str(audio)))
    program.chmod(0o755)
    font = tmp_path / "general.sf2"
    font.write_bytes(b"font")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv(soundfonts.SOUNDFONT_VARIABLE, str(font))
    player = find_fluidsynth()
    score = Score([Note(0.5, 1.25, 60, 100, "piano")], [], 0.0)
    found = player.render(score, 48000, 24000, SEED, VOCABULARIES["test"])
    flags, options, files = json.loads(told.read_text())
    assert flags == ["-ni", "-q"] and options["-r"] == "24000" and files[0] == str(font)
    # another program of the piano in every split
    assert bytes([0xC0, PROGRAMS["piano"][2]]) in notes.read_bytes()
    # the note is asked for where it is cut from
    assert [event[0] for event in read_midi(notes.read_bytes()) if event[1:] == (0x90, 60, 100)] == [0.5 + start / 24000]
    # two seconds: what was played, as loud as all that is rendered, and silence after it
    assert found.shape == (48000,) and found.dtype == np.float32
    assert np.abs(found).max() == pytest.approx(0.9)
    np.testing.assert_allclose(found[:36000], tones * (0.9 / np.abs(tones).max()), atol=1e-6)
    assert not found[36000:].any()
    short = player.render(score, 12000, 24000, SEED, VOCABULARIES["test"])
    np.testing.assert_allclose(short / np.abs(short).max(), tones[:12000] / np.abs(tones[:12000]).max(), atol=1e-6)
    with pytest.raises(InputError, match="fluidsynth plays at 8000 to 96000 Hz, not at 192000; use the renderer builtin"):
        player.render(score, 12000, 192_000, SEED, VOCABULARIES["test"])


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000, 96000])
def test_clips_start_on_whole_blocks_and_whole_milliseconds(rate):
    timeline = Timeline(5, rate + 17, rate)
    assert all(start % 64 == 0 and start * 1000 % rate == 0 for start in timeline.starts)
    assert min(np.diff(timeline.starts)) > rate + 17


def test_a_clip_asks_for_the_same_wherever_it_stands():
    loud = Score([Note(0.1, 9.0, 60, 100, "piano"), Note(2.5, 3.0, 62, 90, "piano")], [DrumHit(1.99, "crash", 120)], 40.0)
    score = Score([Note(0.0, 1.0, 60, 80, "flute"), Note(1.0, 2.0, 61, 80, "bass")], [], -20.0)
    programs = {"piano": 1, "flute": 73, "bass": 33}
    last = Timeline(3, 48000, 24000)
    events = read_midi(last.midi_bytes([score_events(one, programs) for one in (loud, loud, score)]))
    alone = read_midi(Timeline(1, 48000, 24000).midi_bytes([score_events(score, programs)]))
    lead_s = Timeline(1, 48000, 24000).starts[0] / 24000
    begins_s = last.starts[2] / 24000
    later = [(round(time - begins_s, 4), *rest) for time, *rest in events if time > begins_s - lead_s - 1e-6]
    assert later == [(round(time - lead_s, 4), *rest) for time, *rest in alone]
    # its last words: notes let go, then silence and all controllers back, on every channel
    ends = [event for event in events if abs(event[0] - last.starts[1] / 24000 - 2.0) < 1e-6]
    assert ends == sorted(ends, key=lambda event: [0x80, 0xB0].index(event[1] & 0xF0))
    assert {event[1] for event in ends if event[2] == 120} == {event[1] for event in ends if event[2] == 121}
    assert len(ends) == 3 + 32  # the long note, that of the drum, that which begins too late
    # what would begin after the end does not
    assert not [event for event in events if event[2:] == (62, 90)]


def test_the_programs_of_a_corpus_are_none_of_the_test_split():
    of_test = {choices[2] for choices in PROGRAMS.values()}
    assert CORPUS_PROGRAMS.keys() == PROGRAMS.keys()
    assert not of_test & {program for choices in CORPUS_PROGRAMS.values() for program in choices}
    drawn = [draw_programs(CORPUS, np.random.SeedSequence(seed)) for seed in range(60)]
    for name, choices in CORPUS_PROGRAMS.items():
        assert {programs[name] for programs in drawn} == {*choices} and len(choices) > 1
    assert draw_programs(CORPUS, np.random.SeedSequence(7)) == drawn[7]
    splits = [draw_programs(vocabulary, SEED) for vocabulary in VOCABULARIES.values()]
    assert all(len({programs[name] for programs in splits}) == 3 for name in PROGRAMS)


@pytest.mark.parametrize(
    ("there", "named", "named_for_test", "training", "test"),
    [
        (("FluidR3_GM.sf2", "TimGM6mb.sf2"), None, None, "FluidR3_GM.sf2", "TimGM6mb.sf2"),
        (("Arachno.sf2", "FluidR3_GM.sf2", "TimGM6mb.sf2"), None, None, "FluidR3_GM.sf2", "TimGM6mb.sf2"),
        (("TimGM6mb.sf2", "Yamaha.sf3"), None, None, "Yamaha.sf3", "TimGM6mb.sf2"),
        (("FluidR3_GM.sf2",), None, None, "FluidR3_GM.sf2", "FluidR3_GM.sf2"),
        (("TimGM6mb.sf2",), None, None, "TimGM6mb.sf2", "TimGM6mb.sf2"),
        (("FluidR3_GM.sf2", "TimGM6mb.sf2"), "own.sf2", None, "own.sf2", "own.sf2"),
        (("FluidR3_GM.sf2", "TimGM6mb.sf2"), "own.sf2", "other.sf2", "own.sf2", "other.sf2"),
        (("FluidR3_GM.sf2", "TimGM6mb.sf2"), None, "other.sf2", "FluidR3_GM.sf2", "other.sf2"),
    ],
)
def test_which_soundfont_plays_what(there, named, named_for_test, training, test, tmp_path, monkeypatch):
    folder = tmp_path / "usual"
    folder.mkdir()
    for name in (*there, "../own.sf2", "../other.sf2"):
        (folder / name).write_bytes(name.encode())
    (folder / "default-GM.sf2").symlink_to(folder / there[0])  # as Debian's alternatives do
    monkeypatch.setattr(soundfonts, "SOUNDFONT_FOLDERS", (str(tmp_path / "none"), str(folder)))
    variables = {soundfonts.SOUNDFONT_VARIABLE: named, soundfonts.TEST_SOUNDFONT_VARIABLE: named_for_test}
    for variable, name in variables.items():
        monkeypatch.setenv(variable, str(tmp_path / name)) if name else monkeypatch.delenv(variable, raising=False)
    found = soundfonts.find_soundfonts()
    assert [font.path.name for font in found] == [training, test]
    program = tmp_path / "fluidsynth"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    version = benchmark_version("fluidsynth")
    assert found[0].fingerprint[:12] in version and found[1].fingerprint[:12] in version
    # one for all is said twice: in the version, and in words
    assert version.endswith("for all splits") == (training == test)
    said = benchmark_notes("fluidsynth")
    assert [note.startswith(f"all splits are played with one soundfont, {training}; ") for note in said] == [True] * (
        training == test
    )


def test_a_soundfont_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(soundfonts, "SOUNDFONT_FOLDERS", (str(tmp_path),))
    monkeypatch.delenv(soundfonts.SOUNDFONT_VARIABLE, raising=False)
    monkeypatch.delenv(soundfonts.TEST_SOUNDFONT_VARIABLE, raising=False)
    with pytest.raises(InputError, match=rf"was found \({tmp_path}\); set MERT_HF_SOUNDFONT to an .sf2 file, or use"):
        soundfonts.find_soundfonts()
    (tmp_path / "a.sf2").write_bytes(b"a")
    monkeypatch.setenv(soundfonts.TEST_SOUNDFONT_VARIABLE, str(tmp_path / "b.sf2"))
    with pytest.raises(InputError, match=r"was found \(.*b.sf2\); set MERT_HF_TEST_SOUNDFONT to"):
        soundfonts.find_soundfonts()


@needs_fluidsynth
@pytest.mark.parametrize("rate", [24000, 16000])
def test_a_clip_among_others_is_the_clip_alone(rate, monkeypatch):
    """Sample for sample: what it follows, and how many are played at a start, is not heard."""
    player, num_samples = find_fluidsynth(), round(1.3 * rate)
    clips = []
    for vocabulary in (VOCABULARIES["train"], VOCABULARIES["validation"], CORPUS, VOCABULARIES["test"]):
        for index in range(2):
            # pieces that are cut off in full sound, and single notes
            clips.append((compose([77, index], 3.0, vocabulary), np.random.SeedSequence(index), vocabulary))
            clips.append((make_score("notes", "test", index), SEED, vocabulary))
    together = list(player.render_all(clips, num_samples, rate))
    monkeypatch.setattr(fluidsynth, "MOST_PLAYED_S", 4.0)  # three a start
    fewer = list(player.render_all(clips, num_samples, rate))
    assert len(together) == len(clips) == len(fewer)
    for one, other in zip(together, fewer, strict=True):
        assert np.abs(one).max() == pytest.approx(0.9)
        np.testing.assert_array_equal(one, other)
    for place in (5, 14):
        score, seed, vocabulary = clips[place]
        np.testing.assert_array_equal(together[place], player.render(score, num_samples, rate, seed, vocabulary))


@needs_fluidsynth
def test_notes_sound_where_and_as_high_as_they_stand():
    player = find_fluidsynth()
    flute = Score([Note(0.25, 0.95, 69, 100, "flute")], [], 31.0)
    hold = Score([Note(0.0, 5.0, 40, 127, "organ")], [], 0.0)
    for vocabulary in VOCABULARIES.values():
        clips = [(hold, SEED, vocabulary), (flute, SEED, vocabulary)]
        _, found = player.render_all(clips, 24000, 24000)
        # the organ before it does not ring on; an event waits for its block of 64 samples
        assert not found[: round(0.25 * 24000)].any()
        loud = np.flatnonzero(np.abs(found) > 0.01)[0] / 24000
        assert 0.25 <= loud < 0.30
        spectrum = np.abs(np.fft.rfft(found[9600:21600] * np.hanning(12000), 16 * 12000))
        fundamental = np.argmax(spectrum[: round(1.5 * 440 * 8)]) * 24000 / (16 * 12000)
        assert 1200 * np.log2(fundamental / 440) == pytest.approx(31.0, abs=20)
