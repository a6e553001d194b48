import dataclasses
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from mert_hf.synthetic import INSTRUMENTS, Note, PieceLabels, generate_piece, write_corpus
from mert_hf.synthetic.labelled_corpus import write_labelled_corpus
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.instruments import INSTRUMENT_TABLE
from mert_hf.synthetic.sound.render import render

RATE = 24000
SCALES = {"major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 10}}
# how well the twelve degrees fit a key in the probe-tone experiments of Krumhansl and Kessler (1982)
KRUMHANSL = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
HARTE = {"maj": {0, 4, 7}, "min": {0, 3, 7}, "dim": {0, 3, 6}, "sus4": {0, 5, 7}} | {
    "7": {0, 4, 7, 10},
    "maj7": {0, 4, 7, 11},
    "min7": {0, 3, 7, 10},
    "hdim7": {0, 3, 6, 10},
    "dim7": {0, 3, 6, 9},
}


@pytest.fixture(scope="module")
def pieces():
    return [generate_piece([11, index], 20.0, RATE) for index in range(40)]


@pytest.fixture(scope="module")
def scores():
    return [compose([12, index], 20.0) for index in range(480)]


def chromagram(waveform, tuning_cents, hop=2048, size=8192):
    """Magnitudes by pitch class, of shape (frames, 12): peaks of the semitones from 100 to 1000 Hz, octaves added."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop] * np.hanning(size).astype(np.float32)
    frequencies = np.fft.rfftfreq(size, 1 / RATE)
    used = (frequencies > 100) & (frequencies < 1000)
    pitches = 69 + 12 * np.log2(frequencies[used] / 440) - tuning_cents / 100
    semitones = np.round(pitches).astype(int)
    weights = np.exp(-0.5 * ((pitches - semitones) / 0.2) ** 2)
    magnitudes = np.abs(np.fft.rfft(frames, axis=1))[:, used] * weights
    chroma = np.zeros((len(frames), 12))
    for semitone in np.unique(semitones):
        chroma[:, semitone % 12] += np.sqrt(magnitudes[:, semitones == semitone].max(axis=1))
    return chroma


def estimated_key(chroma):
    keys = list(itertools.product(range(12), KRUMHANSL))
    fits = [np.corrcoef(chroma, np.roll(KRUMHANSL[mode], tonic))[0, 1] for tonic, mode in keys]
    return keys[int(np.argmax(fits))]


def are_related(key, other):
    """The same key, a fifth apart, or relative or parallel major and minor."""
    (tonic, mode), (other_tonic, other_mode) = key, other
    interval = (other_tonic - tonic) % 12
    if mode == other_mode:
        return interval in (0, 5, 7)
    return interval == 0 or interval == (9 if mode == "major" else 3)


def one_note(instrument, pitch, length_s=1.5, tuning_cents=0.0, seed=0):
    """An isolated note with its waveform of 2 s; the note starts after 0.1 s."""
    labels = dataclasses.replace(
        compose(0, 1.0),
        notes=[Note(0.1, 0.1 + length_s, pitch, 90, instrument)],
        drum_hits=[],
        tuning_cents=tuning_cents,
    )
    return render(labels, 2 * RATE, RATE, np.random.SeedSequence(seed))


def comfortable_pitch(instrument):
    return 60 if INSTRUMENT_TABLE[instrument].highest > 60 else 40


def fingerprint(piece):
    labels = json.dumps(piece.labels.to_dict()).encode()
    return hashlib.sha256(piece.waveform.tobytes() + labels).hexdigest()


def test_same_seed_gives_the_same_piece_here_and_in_another_process():
    here = [fingerprint(generate_piece(seed, 8.0)) for seed in (7, [3, 4])]
    assert here == [fingerprint(generate_piece(seed, 8.0)) for seed in (7, [3, 4])]
    assert here[0] != here[1]
    code = (
        "import hashlib, json\n"
        "from mert_hf.synthetic import generate_piece\n"
        "for seed in (7, [3, 4]):\n"
        "    piece = generate_piece(seed, 8.0)\n"
        "    labels = json.dumps(piece.labels.to_dict()).encode()\n"
        "    print(hashlib.sha256(piece.waveform.tobytes() + labels).hexdigest())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "17"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_labels_do_not_depend_on_the_sampling_rate():
    assert generate_piece(5, 4.0, 24000).labels == generate_piece(5, 4.0, 16000).labels


@pytest.mark.parametrize(("duration_s", "rate"), [(0.01, 24000), (1.0, 8000), (3.33333, 22050), (61.0, 24000)])
def test_length_is_exact(duration_s, rate):
    piece = generate_piece(1, duration_s, rate)
    assert piece.waveform.shape == (round(duration_s * rate),)
    assert piece.waveform.dtype == np.float32
    assert piece.sampling_rate == rate


def test_waveforms_are_sound(pieces):
    for piece in pieces:
        assert np.isfinite(piece.waveform).all()
        assert 0.49 < np.abs(piece.waveform).max() < 0.96
        assert np.sqrt(np.mean(piece.waveform**2)) > 0.02
        assert abs(piece.waveform.mean()) < 1e-3
        # music all the way: no gap of a second or more
        power = np.mean(piece.waveform[RATE // 2 :][: 19 * RATE].reshape(19, RATE) ** 2, axis=1)
        assert np.sqrt(power.min()) > 0.003


def test_beats_and_bars(scores):
    for labels in scores:
        beats = np.array(labels.beats_s)
        assert beats[0] >= 0
        assert beats[-1] < 20.0
        assert (np.diff(beats) > 0).all()
        assert labels.downbeats_s == labels.beats_s[:: labels.beats_per_bar]
        assert 60 / np.diff(beats).mean() == pytest.approx(labels.tempo_bpm, rel=0.016)
        assert 20.0 - beats[-1] < 1.05 * 60 / labels.tempo_bpm


def test_chords_tile_the_piece(scores):
    names = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
    for labels in scores:
        assert labels.chords[0].start_s == 0.0
        assert labels.chords[-1].end_s == 20.0
        for chord, following in itertools.pairwise(labels.chords):
            assert chord.start_s < chord.end_s == following.start_s
            assert chord.name != following.name
        assert labels.chords[0].name == "N"
        for chord in labels.chords[1:]:
            assert chord.name == f"{names[chord.root]}:{chord.quality}"
            # chords change on the beat
            assert min(abs(chord.start_s - beat) for beat in labels.beats_s) < 1e-5


def test_notes_are_ordered_clipped_and_playable(scores):
    for labels in scores:
        assert [note.onset_s for note in labels.notes] == sorted(note.onset_s for note in labels.notes)
        assert [hit.onset_s for hit in labels.drum_hits] == sorted(hit.onset_s for hit in labels.drum_hits)
        for note in labels.notes:
            assert 0 <= note.onset_s < note.offset_s <= 20.0
            assert 1 <= note.velocity <= 127
            instrument = INSTRUMENT_TABLE[note.instrument]
            assert instrument.lowest <= note.pitch <= instrument.highest
        assert set(labels.instruments) - {"drums"} == {note.instrument for note in labels.notes}
        assert ("drums" in labels.instruments) == bool(labels.drum_hits)
        last_offset = {}
        for note in labels.notes:
            key = note.instrument, note.pitch
            assert note.onset_s >= last_offset.get(key, 0.0)
            last_offset[key] = note.offset_s


def test_notes_follow_key_and_chords(scores):
    in_key, in_chord, roots_in_bass = [], [], []
    for labels in scores:
        scale = {(tone + labels.tonic) % 12 for tone in SCALES[labels.mode]}
        starts = [chord.start_s for chord in labels.chords]
        for note in labels.notes:
            # a note may be a little early: the chord of a moment later is meant
            chord = labels.chords[int(np.searchsorted(starts, note.onset_s + 0.03, side="right")) - 1]
            if chord.root is None:
                continue
            tones = {(chord.root + interval) % 12 for interval in HARTE[chord.quality]}
            in_key.append(note.pitch % 12 in scale)
            in_chord.append(note.pitch % 12 in tones)
            if note.instrument in ("bass", "synth_bass") and abs(note.onset_s - chord.start_s) < 0.025:
                roots_in_bass.append(note.pitch % 12 == chord.root)
    assert np.mean(in_key) > 0.9
    assert np.mean(in_chord) > 0.8
    assert np.mean(in_chord) < 0.99  # passing notes exist
    assert np.mean(roots_in_bass) > 0.97


def test_many_seeds_cover_keys_metres_tempos_and_instruments(scores):
    keys = Counter(labels.key for labels in scores)
    assert len(keys) == 24
    assert min(keys.values()) > 5
    assert max(keys.values()) < 40
    metres = Counter(labels.beats_per_bar for labels in scores)
    assert set(metres) == {2, 3, 4, 5}
    assert metres[4] > metres[3] > metres[5] > 10
    tempos = np.array([labels.tempo_bpm for labels in scores])
    assert tempos.min() >= 60
    assert tempos.max() <= 180
    assert (np.histogram(tempos, [60, 80, 100, 120, 140, 160, 180.1])[0] > 20).all()
    played = Counter(name for labels in scores for name in labels.instruments)
    assert set(played) == {*INSTRUMENTS, "drums"}
    assert min(played.values()) > 40
    tunings = [labels.tuning_cents for labels in scores]
    assert min(tunings) < -25
    assert max(tunings) > 25
    assert len({chord.quality for labels in scores for chord in labels.chords}) >= 9


def test_one_label_does_not_give_another_away(scores):
    major = np.array([labels.mode == "major" for labels in scores])
    tempos = np.log([labels.tempo_bpm for labels in scores])
    assert abs(tempos[major].mean() - tempos[~major].mean()) < 0.1
    assert abs(np.corrcoef(tempos, [labels.tonic for labels in scores])[0, 1]) < 0.15
    for name in INSTRUMENTS:
        plays = np.array([name in labels.instruments for labels in scores])
        assert 0.35 < major[plays].mean() < 0.65
        assert abs(tempos[plays].mean() - tempos.mean()) < 0.12
        tonics = np.exp(2j * np.pi / 12 * np.array([labels.tonic for labels in scores])[plays])
        assert abs(tonics.mean()) < 0.35


def test_key_can_be_heard(pieces):
    truth = [(piece.labels.tonic, piece.labels.mode) for piece in pieces]
    heard = [estimated_key(chromagram(piece.waveform, piece.labels.tuning_cents).mean(axis=0)) for piece in pieces]
    exact = np.mean([key == guess for key, guess in zip(truth, heard, strict=True)])
    related = np.mean([are_related(key, guess) for key, guess in zip(truth, heard, strict=True)])
    assert exact > 0.5  # chance: 1 in 24
    assert related > 0.8  # chance: 5 in 24


def test_chords_can_be_heard(pieces):
    triads = {
        (root, quality): np.isin(np.arange(12), [(root + tone) % 12 for tone in HARTE[quality]])
        for root in range(12)
        for quality in ("maj", "min")
    }
    right = []
    for piece in pieces:
        chroma = chromagram(piece.waveform, piece.labels.tuning_cents)
        chroma = chroma / chroma.mean(axis=0)  # what always sounds says nothing about the change of chords
        times = (np.arange(len(chroma)) * 2048 + 4096) / RATE
        for chord in piece.labels.chords:
            inside = (times > chord.start_s + 0.1) & (times < chord.end_s - 0.1)
            if chord.quality[:3] in ("maj", "min") and inside.sum() > 5:
                mean = chroma[inside].mean(axis=0)
                fits = {name: np.corrcoef(mean, triad)[0, 1] for name, triad in triads.items()}
                right.append(max(fits, key=fits.get) == (chord.root, chord.quality[:3]))
    assert len(right) > 150
    assert np.mean(right) > 0.55  # chance: 1 in 24


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("tuning_cents", [-30.0, 17.0])
def test_notes_have_the_labelled_pitch(instrument, tuning_cents):
    pitch = comfortable_pitch(instrument)
    expected = 440 * 2 ** ((pitch - 69 + tuning_cents / 100) / 12)
    waveform = one_note(instrument, pitch, tuning_cents=tuning_cents)
    tone = waveform[RATE // 4 : RATE // 4 + 5 * RATE // 4] * np.hanning(5 * RATE // 4)
    power = np.abs(np.fft.rfft(tone, 16 * RATE)) ** 2
    frequencies = np.fft.rfftfreq(16 * RATE, 1 / RATE)
    near = np.abs(np.log2(frequencies[1:] / expected)) < 70 / 1200
    measured = np.sum((frequencies[1:] * power[1:])[near]) / np.sum(power[1:][near])
    assert abs(1200 * np.log2(measured / expected)) < 5
    # nothing an octave or a fifth below the fundamental
    below = (frequencies[1:] > 30) & (frequencies[1:] < 0.8 * expected)
    assert power[1:][below].max() < 1e-3 * power[1:][near].max()


def describe_tone(instrument, seed):
    """Levels of ten harmonics in dB and how the tone starts and dies away."""
    pitch = comfortable_pitch(instrument)
    waveform = one_note(instrument, pitch, seed=seed)
    power = np.abs(np.fft.rfft(waveform[3000:15000] * np.hanning(12000), 48000)) ** 2
    harmonics = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 11) * 2
    levels = [10 * np.log10(power[round(0.98 * bin_) : round(1.02 * bin_) + 1].max()) for bin_ in harmonics]
    levels = np.maximum(np.array(levels) - max(levels), -60)
    loudness = [10 * np.log10(np.mean(waveform[start : start + 480] ** 2)) for start in (2640, 4800, 12000, 34000)]
    return np.concatenate([levels, 2 * np.diff(np.maximum(loudness, -60))])


def test_instruments_can_be_told_apart():
    descriptions = {name: np.array([describe_tone(name, seed) for seed in range(4)]) for name in INSTRUMENTS}
    right = []
    for name, seed in itertools.product(INSTRUMENTS, range(4)):
        others = {
            other: np.delete(found, seed, axis=0).mean(axis=0) if other == name else found.mean(axis=0)
            for other, found in descriptions.items()
        }
        distances = {other: np.linalg.norm(descriptions[name][seed] - centre) for other, centre in others.items()}
        right.append(min(distances, key=distances.get) == name)
    assert np.mean(right) > 0.85  # chance: 1 in 11


def onset_strength(waveform, hop=240, size=1024):
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop] * np.hanning(size).astype(np.float32)
    levels = np.log(np.abs(np.fft.rfft(frames, axis=1)) + 1e-2)
    return np.maximum(np.diff(levels, axis=0), 0).mean(axis=1), (np.arange(1, len(levels)) * hop + size / 2) / RATE


def test_beats_can_be_heard(pieces):
    rng = np.random.default_rng(0)
    stronger = []
    for piece in pieces:
        hits = np.array([hit.onset_s for hit in piece.labels.drum_hits])
        if not len(hits):
            continue
        strength, times = onset_strength(piece.waveform)
        struck = [beat for beat in piece.labels.beats_s if np.abs(hits - beat).min() < 0.02 and 0.1 < beat < 19.8]

        def around(moments, strength=strength, times=times):
            return np.mean([strength[np.abs(times - moment) < 0.03].max() for moment in moments])

        stronger.append(around(struck) / around(rng.uniform(0.1, 19.8, 100)))
    assert len(stronger) > 20
    assert min(stronger) > 1.0
    assert np.mean(stronger) > 1.5


def test_silence_before_the_music_and_sound_at_its_onset(pieces):
    for piece in pieces:
        first = min(note.onset_s for note in piece.labels.notes)
        before = piece.waveform[: max(int((first - 0.01) * RATE), 1)]
        after = piece.waveform[int(first * RATE) : int((first + 0.3) * RATE)]
        assert np.abs(before).max() < 0.1 * np.abs(after).max()


def test_labels_survive_json(scores):
    for labels in scores[:20]:
        assert PieceLabels.from_dict(json.loads(json.dumps(labels.to_dict()))) == labels


def test_labels_of_something_else_are_refused():
    with pytest.raises(ValueError, match="missing fields.*tonic.*unknown fields.*genre"):
        PieceLabels.from_dict({"key": "C major", "genre": "rock"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 0, "duration_s": -1.0}, "duration_s is -1.0"),
        ({"seed": 0, "duration_s": float("nan")}, "duration_s is nan"),
        ({"seed": 0, "sampling_rate": 4000}, "sampling_rate is 4000"),
        ({"seed": 0, "sampling_rate": 24000.5}, "sampling_rate is 24000.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": []}, r"seed is \[\]"),
        ({"seed": [0, 1.5]}, "seed is"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_piece(**arguments)


def test_corpus_holds_the_pieces_of_its_seed(tmp_path):
    write_corpus(tmp_path / "music", 3, 2.0, seed=9)
    names = sorted(path.name for path in (tmp_path / "music").iterdir())
    assert names == ["corpus.json"] + [f"piece_0000{k}.{kind}" for k in range(3) for kind in ("flac", "json")]
    for index in range(3):
        piece = generate_piece([9, index], 2.0)
        path = tmp_path / "music" / f"piece_0000{index}.flac"
        waveform, rate = soundfile.read(path, dtype="float64")
        assert rate == 24000
        assert soundfile.info(path).subtype == "PCM_16"
        assert np.abs(waveform - piece.waveform).max() <= 1.01 / 32768
        assert PieceLabels.from_dict(json.loads(path.with_suffix(".json").read_text())) == piece.labels


def test_corpus_is_resumed_and_extended(tmp_path):
    write_corpus(tmp_path, 3, 1.0, seed=2)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    (tmp_path / "piece_00001.json").unlink()
    write_corpus(tmp_path, 4, 1.0, seed=2)
    written = {path.name for path in tmp_path.iterdir() if path.stat().st_mtime > 1}
    assert written == {f"piece_0000{index}.{kind}" for index in (1, 3) for kind in ("flac", "json")}
    assert content == {name: (tmp_path / name).read_bytes() for name in content}


def test_interrupted_corpus_leaves_no_half_written_piece(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PieceLabels, "to_dict", fail)
    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path, 2, 1.0, seed=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.json", "piece_00000.flac"]
    monkeypatch.undo()
    write_corpus(tmp_path, 2, 1.0, seed=2)
    assert len(list(tmp_path.iterdir())) == 5


def test_corpus_of_other_settings_is_refused(tmp_path):
    write_corpus(tmp_path, 1, 1.0, seed=2)
    with pytest.raises(ValueError, match=r"seed is 2 there and 3 here; sampling_rate is 24000 there and 16000 here"):
        write_corpus(tmp_path, 1, 1.0, seed=3, sampling_rate=16000)


def test_labelled_music_is_not_taken_for_a_corpus(tmp_path):
    """Its pieces have the same names."""
    write_labelled_corpus(tmp_path, "key", 1, 1.0, seed=2)
    with pytest.raises(ValueError, match=r"task is 'key' there and None here"):
        write_corpus(tmp_path, 1, 1.0, seed=2)


def test_pieces_of_unknown_settings_are_refused(tmp_path):
    write_corpus(tmp_path, 1, 1.0)
    (tmp_path / "corpus.json").unlink()
    with pytest.raises(ValueError, match="holds pieces without the corpus.json"):
        write_corpus(tmp_path, 1, 1.0)


@pytest.mark.parametrize(("num_pieces", "seed"), [(0, 0), (-1, 0), (1, -1), (1, 2**32)])
def test_impossible_corpus_is_refused(tmp_path, num_pieces, seed):
    with pytest.raises(ValueError, match="; pass"):
        write_corpus(tmp_path / "music", num_pieces, 1.0, seed)
    assert not (tmp_path / "music").exists()
