"""What is done to pieces is what it is called, measured on their sound and in their scores."""

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.catalogue.retrieval.disturbances import (
    TITLES,
    add_noise,
    at_tempo,
    compress,
    cut_score,
    exchange_instruments,
    scale,
    transpose,
)
from mert_hf.catalogue.retrieval.pieces import FolderPieces, SyntheticPieces
from mert_hf.common.errors import InputError
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.instruments import INSTRUMENT_TABLE
from mert_hf.synthetic.score.labels import DrumHit, Note, Score
from mert_hf.synthetic.sound import render as rendering
from mert_hf.synthetic.sound.render import render

RATE = 24000


def power(waveform):
    return np.mean(waveform.astype(np.float64) ** 2)


def play(score, seconds=2.0, apart=True):
    return render(score, round(seconds * RATE), RATE, np.random.SeedSequence(3), apart=apart)


def frequency(waveform):
    size = 2**20
    return np.argmax(np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), size))) * RATE / size


def test_mp3_keeps_place_and_length_and_loses_something():
    clip = make_tones(3.0, RATE) + 0.02 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    heard = compress(clip, RATE)
    assert heard.shape == clip.shape
    inner = slice(RATE, 2 * RATE)
    shifts = {shift: power(heard[RATE + shift : 2 * RATE + shift] - clip[inner]) for shift in range(-5, 6)}
    assert min(shifts, key=shifts.get) == 0
    assert 5 < 10 * np.log10(power(clip[inner]) / shifts[0]) < 40


def test_gain_is_in_decibels():
    clip = make_tones(1.0, RATE)
    assert 10 * np.log10(power(scale(clip)) / power(clip)) == pytest.approx(-12.0, abs=1e-4)


def test_noise_stands_20_db_below_and_is_white():
    clip = make_tones(4.0, RATE)
    noise = add_noise(clip, np.random.default_rng(0)) - clip
    assert 10 * np.log10(power(clip) / power(noise)) == pytest.approx(20.0, abs=0.01)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    assert spectrum[1:20000].mean() == pytest.approx(spectrum[-20000:].mean(), rel=0.05)


@pytest.mark.parametrize(("semitones", "hz"), [(0, 440.0), (1, 466.1638), (-1, 415.3047)])
def test_a_transposed_score_sounds_a_semitone_off(semitones, hz):
    score = Score([Note(0.0, 2.0, 69, 90, "organ")], [], 0.0)
    assert frequency(play(transpose(score, semitones))) == pytest.approx(hz, abs=1.0)


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_a_score_at_another_tempo_keeps_its_pitches(factor):
    score = Score([Note(1.1, 1.98, 69, 90, "organ")], [DrumHit(0.55, "snare", 80)], 0.0)
    changed = at_tempo(score, factor)
    assert changed.notes == [Note(pytest.approx(1.1 / factor), pytest.approx(1.98 / factor), 69, 90, "organ")]
    assert changed.drum_hits == [DrumHit(pytest.approx(0.55 / factor), "snare", 80)]
    sound = play(Score(changed.notes, [], 0.0), 3.0)
    first = np.flatnonzero(np.abs(sound) > 0.2)[0] / RATE
    assert first == pytest.approx(1.1 / factor, abs=0.03)
    assert frequency(sound) == pytest.approx(440.0, abs=1.0)


@pytest.mark.parametrize("apart", [True, False])
def test_the_same_specimens_play_at_another_tempo(apart, monkeypatch):
    heard = []
    render_tone = rendering.render_tone
    monkeypatch.setattr(
        rendering, "render_tone", lambda name, tone, rng: heard.append((name, tone.colour)) or render_tone(name, tone, rng)
    )
    # the breath of a flute takes as many random numbers as the power of two above its samples; the piano is drawn behind it
    score = Score([Note(0.0, 1.4, 72, 90, "flute"), Note(0.0, 1.0, 60, 90, "piano")], [], 0.0)
    play(score, apart=apart)
    play(at_tempo(score, 1.1), apart=apart)
    assert [name for name, _ in heard] == ["flute", "piano"] * 2
    assert (heard[1] == heard[3]) is apart
    assert heard[0] == heard[2]


def test_other_instruments_play_the_same_notes_within_their_ranges():
    kept = reached = 0
    for seed in range(40):
        labels = compose([5, seed], 8.0)
        score = Score(labels.notes, labels.drum_hits, labels.tuning_cents)
        exchanged = exchange_instruments(score, np.random.default_rng(seed))
        before, after = ({note.instrument for note in one.notes} for one in (score, exchanged))
        assert not before & after and len(before) == len(after)
        assert exchanged.drum_hits == score.drum_hits
        for old, new in zip(score.notes, exchanged.notes, strict=True):
            assert (old.onset_s, old.offset_s, old.pitch, old.velocity) == (new.onset_s, new.offset_s, new.pitch, new.velocity)
            kept += 1
            reached += INSTRUMENT_TABLE[new.instrument].lowest <= new.pitch <= INSTRUMENT_TABLE[new.instrument].highest
    assert reached / kept > 0.9


def test_synthetic_pieces_are_what_they_are_called():
    made = SyntheticPieces(3, 2.0, seed=0)
    one, two, three = made.clips(RATE)
    assert set(one.queries) == set(made.made) == set(TITLES)
    lengths = {name: len(clip) for name, clip in one.queries.items()}
    assert lengths.pop("tempo_up") == round(2 * RATE / 1.1)
    assert lengths.pop("tempo_down") == round(2 * RATE / 0.9)
    assert set(lengths.values()) == {len(one.original)} == {2 * RATE}
    # what goes on is neither the clip nor played from its beginning
    assert abs(np.corrcoef(one.original, one.queries["part"])[0, 1]) < 0.3
    assert abs(np.corrcoef(one.original, one.queries["recording"])[0, 1]) < 0.9
    assert abs(np.corrcoef(one.original, two.original)[0, 1]) < 0.3
    # piece k is the same of however many, and whatever was drawn before; another seed gives others
    np.random.seed(5)
    again = next(iter(SyntheticPieces(1, 2.0, seed=0).clips(RATE)))
    assert np.array_equal(again.original, one.original)
    assert all(np.array_equal(again.queries[name], clip) for name, clip in one.queries.items())
    assert not np.array_equal(next(iter(SyntheticPieces(1, 2.0, seed=1).clips(RATE))).original, one.original)
    assert three.name == "piece_00002"


def test_a_cut_score_holds_what_begins_before():
    score = Score([Note(0.5, 3.0, 60, 80, "piano"), Note(1.0, 2.0, 60, 80, "piano")], [DrumHit(1.5, "kick", 80)], 0.0)
    assert cut_score(score, 1.0) == Score(score.notes[:1], [], 0.0)


def test_tracks_give_two_clips_that_meet_in_the_middle(music_folder):
    whole = make_tones(6.0, RATE, seed=9)
    soundfile.write(music_folder / "z.wav", whole, RATE, subtype="FLOAT")
    soundfile.write(music_folder / "silent.wav", np.zeros(6 * RATE), RATE)
    soundfile.write(music_folder / "short.wav", whole[:RATE], RATE)
    (music_folder / "cut.flac").write_bytes((music_folder / "b.flac").read_bytes()[:20000])
    pieces = FolderPieces(music_folder, 20, 2.0, seed=0)
    clips = {one.name: one for one in pieces.clips(RATE)}
    assert set(clips) == {"a.wav", "b.flac", "c.ogg", "d.mp3", "album/e.wav", "album/f.flac", "z.wav"}
    assert set(pieces.left_out) == {"silent.wav", "short.wav", "cut.flac"}
    assert np.allclose(clips["z.wav"].original, whole[RATE : 3 * RATE], atol=1e-6)
    assert np.allclose(clips["z.wav"].queries["part"], whole[3 * RATE : 5 * RATE], atol=1e-6)
    for clip in clips.values():
        assert set(clip.queries) == set(pieces.made) == set(TITLES) - {"recording", "instruments"}
        assert len(clip.original) == len(clip.queries["part"]) == len(clip.queries["pitch_up"]) == 2 * RATE
        assert len(clip.queries["tempo_up"]) == round(2 * RATE / 1.1)
    few = [one.name for one in FolderPieces(music_folder, 4, 2.0, seed=0).clips(RATE)]
    assert few == list(clips)[:4]


def test_folders_without_tracks_are_told(tmp_path):
    with pytest.raises(InputError, match="--music .*nowhere is no folder; give one of audio files"):
        FolderPieces(tmp_path / "nowhere", 4, 2.0, 0)
    with pytest.raises(InputError, match="^--music: .* holds no audio file"):
        FolderPieces(tmp_path, 4, 2.0, 0)
