import time

import numpy as np
import pytest
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics import load_metric
from mert_hf.probing.probes.beat_tracking import BeatTracker
from mert_hf.probing.probes.beats import draw_through
from mert_hf.probing.probes.onsets import onset_activation


def beats_of(tempi_bpm, beats_each, start_s=0.3):
    """Times of beats that keep every tempo for a while."""
    periods = np.repeat(60 / np.array(tempi_bpm, dtype=float), beats_each)
    return start_s + np.concatenate([[0.0], np.cumsum(periods)[:-1]])


def activation_of(beats, frame_rate, seed=0, noise=0.1, missing=0.0, eighths=0.0):
    """What a beat detector would say: a peak two frames wide at every beat, noise, weaker peaks between, some peaks missing."""
    random = np.random.default_rng(seed)
    frames = int((beats[-1] + 1) * frame_rate)
    time_s = np.arange(frames) / frame_rate
    activation = noise * random.random(frames)
    heard = beats[random.random(len(beats)) >= missing]
    for times, height in ((heard, 0.9), (beats[:-1] + np.diff(beats) / 2, eighths)):
        for beat in times:
            activation = np.maximum(activation, height * np.exp(-0.5 * ((time_s - beat) * frame_rate) ** 2))
    return np.clip(activation, 0, 1)


def f1(truth, found):
    return load_metric("beat_f1").compute(references=[truth], predictions=[found])["beat_f1"]


@pytest.mark.parametrize("frame_rate", [50, 75, 100])
@pytest.mark.parametrize("bpm", [60, 75, 90, 105, 120, 140, 160, 180])
def test_steady_tempi_are_tracked(bpm, frame_rate):
    beats = beats_of([bpm], bpm // 2)
    assert f1(beats, BeatTracker(frame_rate)(activation_of(beats, frame_rate))) >= 0.98


@pytest.mark.parametrize("tempi", [(60, 90), (90, 60), (100, 130), (120, 180), (180, 120), (160, 150, 140)])
def test_changes_of_tempo_are_followed(tempi):
    beats = beats_of(tempi, 40)
    assert f1(beats, BeatTracker(100)(activation_of(beats, 100))) >= 0.98


def test_a_curve_through_few_frames_tells_what_lies_between():
    times = np.arange(200) / 25
    slow, fine = np.sin(2 * np.pi * 3 * times), np.arange(199 * 4 + 1) / 100
    drawn = draw_through(slow, 4)
    assert drawn[::4] == pytest.approx(slow, abs=1e-6)
    assert drawn == pytest.approx(np.sin(2 * np.pi * 3 * fine), abs=0.06)


@pytest.mark.parametrize("bpm", [97, 120, 134])
def test_beats_of_25_frames_a_second_are_placed_between_the_frames(bpm):
    beats = beats_of([bpm], 60, start_s=0.31)
    times = np.arange(int((beats[-1] + 1) * 25)) / 25
    # log-odds that fall off within 50 ms of a beat
    log_odds = 4 - 8 * np.clip(np.abs(times[:, None] - beats).min(axis=1) / 0.05, 0, 1.5) ** 2
    coarse = BeatTracker(25)(1 / (1 + np.exp(-log_odds)))
    fine = BeatTracker(50)(1 / (1 + np.exp(-draw_through(log_odds, 2).astype(float))))

    def within_20_ms(found):
        return load_metric("beat_f1").compute(references=[beats], predictions=[found])["beat_f1_20ms"]

    assert within_20_ms(fine) >= 0.95 > within_20_ms(coarse)


def test_silent_beats_are_bridged_and_eighths_passed_over():
    beats = beats_of([110], 60)
    activation = activation_of(beats, 100, missing=0.2, eighths=0.4)
    found = BeatTracker(100)(activation)
    assert f1(beats, found) >= 0.98
    # picking peaks alone finds the eighths too and misses what is silent
    peaks = np.flatnonzero((activation[1:-1] > 0.3) & (activation[1:-1] >= np.maximum(activation[:-2], activation[2:]))) + 1
    assert f1(beats, peaks / 100) < 0.8


def dense_viterbi(activation, frame_rate, min_bpm, max_bpm, rate, width):
    """The likeliest path from the model's definition, over a matrix of all transitions: (frames,) whether it is in a beat."""
    states = [
        (period, position)
        for period in range(round(60 * frame_rate / max_bpm), round(60 * frame_rate / min_bpm) + 1)
        for position in range(period)
    ]
    moves = np.zeros((len(states), len(states)))
    for place, (period, position) in enumerate(states):
        for other, (next_period, next_position) in enumerate(states):
            if position + 1 < period:
                moves[place, other] = next_period == period and next_position == position + 1
            elif next_position == 0:
                moves[place, other] = np.exp(-rate * abs(next_period / period - 1))
    moves /= moves.sum(axis=1, keepdims=True)
    in_beat = np.array([position / period < 1 / width for period, position in states])
    with np.errstate(divide="ignore"):
        log_moves = np.log(moves)
        likelihood = np.log(np.where(in_beat, activation[:, None], (1 - activation[:, None]) / (width - 1)))
    scores, origins = np.full(len(states), -np.log(len(states))), []
    for frame in range(len(activation)):
        options = scores[:, None] + log_moves
        origins.append(options.argmax(axis=0))
        scores = options.max(axis=0) + likelihood[frame]
    path = [int(scores.argmax())]
    for origin in origins[:0:-1]:
        path.append(int(origin[path[-1]]))
    return in_beat[path[::-1]]


@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_the_likeliest_of_the_model(seed):
    activation = np.random.default_rng(seed).uniform(0.01, 0.99, 150) ** 3
    expected = dense_viterbi(activation, 10, 60, 150, 20.0, 4)
    tracker = BeatTracker(10, min_bpm=60, max_bpm=150, transition_lambda=20.0, observation_lambda=4)
    np.testing.assert_array_equal(tracker._decode(activation), expected)
    found = np.round(tracker(activation) * 10).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], expected, [0]])))
    runs = list(zip(edges[::2], edges[1::2], strict=True))
    assert [start + int(np.argmax(activation[start:stop])) for start, stop in runs] == found.tolist()


def test_half_a_minute_takes_less_than_two_seconds():
    activation = np.random.default_rng(0).random(3000)
    tracker = BeatTracker(100)
    tracker(activation[:10])
    start = time.perf_counter()
    tracker(activation)
    assert time.perf_counter() - start < 2


def test_nothing_to_follow():
    assert len(BeatTracker(75)(np.zeros(500))) == 0
    assert len(BeatTracker(75)(np.zeros(0))) == 0
    assert (np.diff(BeatTracker(75)(np.ones(500))) > 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BeatTracker(75)([0.1, float("nan")]), "numbers from 0 to 1"),
        (lambda: BeatTracker(75)([0.1, 1.5]), "numbers from 0 to 1"),
        (lambda: BeatTracker(75)(np.ones((2, 3))), r"got shape \(2, 3\)"),
        (lambda: BeatTracker(5), "5 frames a second cannot resolve 215 beats a minute"),
        (lambda: BeatTracker(0), "cannot resolve"),
        (lambda: BeatTracker(75, min_bpm=200, max_bpm=100), "0 < min_bpm <= max_bpm"),
        (lambda: onset_activation(np.zeros((2, 9)), 24000), "must be"),
        (lambda: onset_activation(np.full(900, np.nan), 24000), "finite"),
        (lambda: onset_activation(np.zeros(900), 24000, 70), "frame_rate 70 does not divide"),
    ],
)
def test_what_cannot_be_tracked_is_an_error(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_clicks_in_music_become_an_activation_whose_beats_are_found():
    beats = beats_of([96], 25)
    waveform = 0.3 * make_tones(15.6, 24000)
    random = np.random.default_rng(0)
    for beat in beats:
        start = round(beat * 24000)
        waveform[start : start + 1200] += 0.5 * random.standard_normal(1200) * np.exp(-np.arange(1200) / 200)
    activation = onset_activation(waveform, 24000, 100)
    assert activation.shape == (1561,)
    assert (activation.min(), activation.max()) == (0, 1)
    found = BeatTracker(100)(activation)
    assert f1(beats, found) >= 0.98
    np.testing.assert_allclose(onset_activation(0.01 * waveform, 24000, 100), activation, atol=1e-4)
    assert not onset_activation(np.zeros(24000), 24000).any()
    assert onset_activation(np.ones(1), 24000).shape == (1,)
