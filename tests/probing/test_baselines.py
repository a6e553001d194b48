import numpy as np
import pytest
from support.probing_tasks import RATE, beat_task, clicks, make_task, pitch_task

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics import load_metric
from mert_hf.probing.probes import probe_of
from mert_hf.probing.probes.baselines import estimate_key, estimate_tempo, krumhansl_keys, onset_beats
from mert_hf.probing.probes.onsets import onset_activation
from mert_hf.synthetic import generate_piece
from mert_hf.tasks.base import KEYS
from mert_hf.tasks.examples import Example, Waveform


def score(name, references, predictions, labels=()):
    return load_metric(name).compute(references=references, predictions=predictions, labels=labels)


def majority(data):
    return probe_of(data.task).baselines(data)["majority"](data)


def test_majority_is_what_the_training_split_says():
    data = pitch_task((9, 4, 6), classes=2).load()
    assert majority(data).tolist() == [0] * 6  # five of nine
    rows = [Example(str(n), Waveform(np.zeros(8, np.float32), 8), label) for n, label in enumerate([("a",), ("a", "b"), ()])]
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    tags = make_task(splits, "multilabel", "ab", ("roc_auc",), "roc_auc").load()
    np.testing.assert_allclose(majority(tags), [[2 / 3, 1 / 3]] * 3)
    assert score("roc_auc", [[1, 0], [1, 1], [0, 0]], majority(tags), "ab")["roc_auc"] == 0.5
    numbers = [Example(str(n), rows[0].audio, (value,)) for n, value in enumerate((1.0, 2.0, 6.0))]
    regression = make_task(dict.fromkeys(splits, numbers), "regression", "x", ("r2",), "r2").load()
    assert majority(regression).tolist() == [[3.0]] * 3
    assert score("r2", [[1.0], [2.0], [6.0]], majority(regression), "x")["r2"] == pytest.approx(0)


def test_majority_beats_keep_the_median_tempo():
    data = beat_task((3, 1, 2)).load()
    for beats in majority(data):
        np.testing.assert_allclose(np.diff(beats), 0.45)
    with pytest.raises(InputError, match="test_beats: no track of the training split has two beats"):
        majority(beat_task((2, 1, 2), silent_tracks=2).load())


@pytest.mark.parametrize("key", ["C major", "Gb major", "A minor", "Eb minor"])
def test_the_profile_of_a_key_is_that_key(key):
    # Temperley's counts of pitch classes in the Kostka-Payne corpus, major and minor, from the tonic
    corpus = {
        "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
        "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
    }
    tonic, mode = KEYS.index(key) % 12, key.split()[1]
    assert KEYS[estimate_key(np.roll(corpus[mode], tonic))] == key


def test_keys_of_music_are_heard_by_chroma():
    pieces = [generate_piece([77, index], 8.0) for index in range(12)]
    rows = [Example(str(n), Waveform(piece.waveform, 24000), piece.labels.key) for n, piece in enumerate(pieces)]
    data = make_task(
        dict.fromkeys(("train", "validation", "test"), rows), "key", KEYS, ("refined_key_accuracy",), "accuracy"
    ).load()
    truth = [data.target(row) for row in rows]
    found = score("refined_key_accuracy", truth, krumhansl_keys(data), KEYS)
    assert found["refined_accuracy"] > 0.4  # a 24th is chance


@pytest.mark.parametrize("bpm", [70, 96, 128, 170])
def test_tempo_of_clicks(bpm):
    sound, _ = clicks(60 / bpm, 8.0)
    assert estimate_tempo(onset_activation(sound, RATE, 100.0)) == pytest.approx(bpm, rel=0.03)


def test_beats_of_clicks_are_found():
    data = beat_task((2, 1, 3)).load()
    truth = [data.target(example) for example in data.splits["test"]]
    assert score("beat_f1", truth, onset_beats(data))["beat_f1"] > 0.95


def test_every_kind_has_the_baselines_of_the_tables():
    pitches, beats = pitch_task((2, 1, 1)), beat_task((2, 1, 1))
    assert list(probe_of(pitches).baselines(pitches.load())) == ["majority"]
    assert list(probe_of(beats).baselines(beats.load())) == ["majority", "onset activation + HMM"]
