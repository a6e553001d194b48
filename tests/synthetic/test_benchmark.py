"""The synthetic benchmark: splits that share nothing but the labels, disjoint from the corpus that the quickstart trains on."""

import hashlib

import numpy as np
import pytest
from mert_hf.data.synthetic import generate_piece
from support.midi_files import read_midi

from mert_hf.common.errors import InputError
from mert_hf.synthetic import benchmark
from mert_hf.synthetic.benchmark import benchmark_items, item_seed, make_score, write_benchmark
from mert_hf.synthetic.score.benchmark_vocabularies import VOCABULARIES
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.labels import DrumHit, Note, Score
from mert_hf.synthetic.score.vocabulary import CORPUS
from mert_hf.synthetic.sound.midi import midi_bytes
from mert_hf.synthetic.sound.soundfonts import SOUNDFONT_VARIABLE
from mert_hf.synthetic.sound.timbres import draw_colour

SPLITS = ("train", "validation", "test")
PIECES = 60
# of a piece written before there were vocabularies
LABELS_SHA1 = "8b5f82b1b448"


@pytest.fixture(scope="module")
def scores():
    """Labels of pieces of the corpus and of the three splits."""
    found = {split: [make_score("pieces", split, index) for index in range(PIECES)] for split in SPLITS}
    return {"corpus": [compose([0, index], 10.0) for index in range(PIECES)], **found}


def loop(degrees):
    """A progression wherever it begins; a dominant is one with or without its seventh."""
    plain = tuple("V" if degree == "V7" else degree for degree in degrees)
    return min(plain[place:] + plain[:place] for place in range(len(plain)))


def test_no_two_vocabularies_share_a_progression_a_pattern_or_a_range():
    bodies = [CORPUS, *VOCABULARIES.values()]
    for place, one in enumerate(bodies):
        for other in bodies[place + 1 :]:
            for mode in ("major", "minor"):
                assert not {*map(loop, one.progressions[mode])} & {*map(loop, other.progressions[mode])}, (one.name, other.name)
            assert not {repr(pattern)[repr(pattern).index("kick") :] for pattern in one.patterns} & {
                repr(pattern)[repr(pattern).index("kick") :] for pattern in other.patterns
            }
            names = ["tilt_db_per_octave", "vibrato_hz"]
            # tunings of training and validation lie within the corpus's
            names += ["tuning_cents"] if "corpus" not in (one.name, other.name) or "test" in (one.name, other.name) else []
            for name in names:
                (low, high), (other_low, other_high) = getattr(one, name), getattr(other, name)
                assert high < other_low or other_high < low, (name, one.name, other.name)


def test_pieces_of_the_splits_share_no_progression_pattern_timbre_and_tuning(scores):
    seen = {}
    for name, pieces in scores.items():
        vocabulary = VOCABULARIES.get(name, CORPUS)
        seen[name] = set()
        for index, labels in enumerate(pieces):
            chords = tuple(((span.root - labels.tonic) % 12, span.quality) for span in labels.chords if span.root is not None)
            beat_s = 60 / labels.tempo_bpm
            kicks = tuple(sorted({round(hit.onset_s / beat_s * 4) % 16 for hit in labels.drum_hits if hit.drum == "kick"}))
            colour = draw_colour(np.random.default_rng(index), vocabulary)
            seen[name].add((chords[:6], kicks, round(colour.tilt_db_per_octave, 3), labels.tuning_cents))
            low, high = vocabulary.tuning_cents
            assert low <= abs(labels.tuning_cents) <= high
            assert vocabulary.tilt_db_per_octave[0] <= abs(colour.tilt_db_per_octave) <= vocabulary.tilt_db_per_octave[1]
            assert vocabulary.vibrato_hz[0] <= colour.vibrato_hz <= vocabulary.vibrato_hz[1]
        assert len(seen[name]) == PIECES
    for axis in range(4):
        test = {piece[axis] for piece in seen["test"] if piece[axis]}
        others = {piece[axis] for name in ("corpus", "train", "validation") for piece in seen[name] if piece[axis]}
        # kicks round to sixteenths of a wandering tempo, so some collide by chance
        assert len(test & others) <= (0 if axis != 1 else PIECES // 4), axis


def test_written_patterns_are_played_where_they_stand():
    labels = next(
        piece
        for piece in (make_score("pieces", "test", index) for index in range(40))
        if piece.drum_hits and piece.beats_per_bar == 4
    )
    patterns = [pattern for pattern in VOCABULARIES["test"].patterns if pattern.beats_per_bar == 4]
    steps = {round(step * 4) for pattern in patterns for step, _ in pattern.onsets(pattern.kick)}
    beats = np.array(labels.beats_s)
    # swing moves what stands between the beats, the tracker of this test only knows the beats
    for hit in labels.drum_hits:
        if hit.drum == "kick" and hit.onset_s < beats[-1]:
            beat = max(int(np.searchsorted(beats, hit.onset_s + 0.01, side="right")) - 1, 0)
            step = 4 * (beat % 4) + 4 * (hit.onset_s - beats[beat]) / (beats[min(beat + 1, len(beats) - 1)] - beats[beat])
            assert min(abs(step - known) for known in steps) < 1.0


def test_seeds_are_no_corpus_seeds_and_none_repeats():
    seeds = [tuple(item_seed(name, split, index)) for name in ("notes", "pieces") for split in SPLITS for index in range(900)]
    assert len({*seeds}) == len(seeds)
    # numpy pads seeds with zeros: one with three or more parts of which the last is not 0 equals none with two
    assert all(len(seed) == 4 and seed[-1] for seed in seeds)


def test_the_corpus_is_what_it_was_before_vocabularies_were_kept_apart():
    piece = generate_piece([0, 3], 6.0)
    assert hashlib.sha1(repr(piece.labels).encode()).hexdigest()[:12] == LABELS_SHA1


def test_keys_modes_instruments_and_pitches_are_spread(scores):
    for split in SPLITS:
        keys = [labels.key for labels in scores[split]]
        assert len({*keys}) >= 18 and max(keys.count(key) for key in keys) < PIECES / 4
        notes = [make_score("notes", split, index).notes[0] for index in range(220)]
        counts = [sum(note.instrument == name for note in notes) for name in benchmark.INSTRUMENTS]
        assert {*counts} == {20}
        pitches = {note.pitch for note in notes}
        assert pitches <= {*range(benchmark.LOWEST_PITCH, benchmark.HIGHEST_PITCH + 1)} and len(pitches) > 40


@pytest.fixture
def small(monkeypatch):
    for name in ("notes", "pieces"):
        monkeypatch.setitem(benchmark.SIZES, name, {"train": 2, "validation": 1, "test": 1})


def test_audio_is_written_once_and_goes_on_where_it_stopped(tmp_path, small, monkeypatch):
    write_benchmark(tmp_path, "notes")
    files = {item.audio: item.audio.read_bytes() for split in SPLITS for item in benchmark_items(tmp_path, "notes", split)}
    assert len(files) == 4
    (lost, kept) = list(files)[:2]
    lost.unlink()
    before = kept.stat().st_mtime_ns
    write_benchmark(tmp_path, "notes")
    assert lost.read_bytes() == files[lost]
    assert kept.stat().st_mtime_ns == before
    monkeypatch.setattr(benchmark, "BENCHMARK_VERSION", 999)
    with pytest.raises(InputError, match="holds a synthetic benchmark of generator 1, benchmark 1, not of .* 999"):
        write_benchmark(tmp_path, "notes")


def test_a_missing_player_or_soundfont_is_said(tmp_path, small, monkeypatch):
    with pytest.raises(InputError, match="renderer 'piano' is unknown; known renderers: builtin, fluidsynth"):
        write_benchmark(tmp_path, "notes", "piano")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="program fluidsynth is not installed"):
        write_benchmark(tmp_path, "notes", "fluidsynth")
    player = tmp_path / "fluidsynth"
    player.write_text("#!/bin/sh\necho no such font >&2\nexit 1\n")
    player.chmod(0o755)
    monkeypatch.setenv(SOUNDFONT_VARIABLE, str(tmp_path / "none.sf2"))
    with pytest.raises(InputError, match=r"no General MIDI soundfont was found \(.*none.sf2\)"):
        write_benchmark(tmp_path, "notes", "fluidsynth")
    (tmp_path / "none.sf2").write_bytes(b"font")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(InputError, match="cannot play .*none.sf2: no such font"):
        write_benchmark(tmp_path, "notes", "fluidsynth")


def test_midi_bytes_say_what_is_played():
    score = Score(
        [Note(0.5, 1.25, 60, 100, "piano"), Note(1.25, 2.0, 60, 90, "piano"), Note(0.0, 1.0, 40, 80, "bass")],
        [DrumHit(0.75, "snare", 70)],
        50.0,
    )
    events = read_midi(midi_bytes(score, {"piano": 0, "bass": 33}))
    assert events == sorted(events, key=lambda event: event[0])
    # in order of name: bass on channel 0, piano on 1; drums on 9
    assert (0.0, 0xC0, 33) in events and (0.0, 0xC1, 0) in events
    # half a semitone of two: a quarter of the way from the centre to the end, 8192 + 2048
    assert (0.0, 0xE1, 10240 & 0x7F, 10240 >> 7) in events
    assert (0.0, 0x90, 40, 80) in events and (1.0, 0x80, 40, 0) in events
    assert (0.5, 0x91, 60, 100) in events and (0.75, 0x99, 38, 70) in events
    again = [event[1:] for event in events if event[0] == 1.25 and event[2] == 60]
    assert again == [(0x81, 60, 0), (0x91, 60, 90)]
    with pytest.raises(InputError, match="no General MIDI program is given for bass; known: piano"):
        midi_bytes(score, {"piano": 0})
