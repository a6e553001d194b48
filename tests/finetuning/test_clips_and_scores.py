"""Clips that are trained on and measured, and what predictions are worth."""

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.data.corpus import open_folder
from mert_hf.finetuning.clips import EvaluationClips, TrainingClips
from mert_hf.finetuning.scores import chance_scores, probabilities, score_tracks
from mert_hf.tasks.labelled import LabelledFolder, labelled_task

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("jazz/a.wav", "jazz/b.wav", "rock/c.wav")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, make_tones(2 + number, 8000, seed=number), 8000)
    return tmp_path


def score(predicted, targets, problem_type, by=score_tracks):
    task = labelled_task(LabelledFolder("here", problem_type=problem_type))
    targets = np.asarray(targets)
    return by(np.asarray(predicted), targets, task, list("abc")[: 1 if problem_type == "regression" else 3])


def test_clips_are_drawn_anew_in_every_epoch_and_cover_the_track_in_evaluation(folder):
    corpus = open_folder(folder, 0.5)
    targets = np.array([0, 0, 1])
    clips = TrainingClips(corpus, targets, [0, 2], 8000, 8000, seed=3)
    first = [clips[1]["waveform"] for _ in range(2)]
    np.testing.assert_array_equal(*first)
    clips.set_epoch(1)
    assert not np.array_equal(clips[1]["waveform"], first[0])
    assert (len(clips), clips[1]["labels"]) == (2, 1)
    every = EvaluationClips(corpus, targets, [0, 2], 12000, 8000)  # tracks of 2 s and 4 s, clips of 1.5 s
    assert [len(every[number]["waveform"]) for number in range(len(every))] == [12000, 12000, 12000, 8000]
    assert every.track_of_clip.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(every.mean_by_track(np.array([[1.0], [3], [4], [8]])), [[1], [5]])


def test_scores():
    logits = np.log([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2]])
    np.testing.assert_allclose(probabilities(logits, SINGLE), np.exp(logits))
    scores = score(logits, [0, 0, 2, 0], SINGLE)
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["macro_f1"] == pytest.approx((0.8 + 1) / 2)
    assert score([0, 2, 2], [0, 0, 2, 0], SINGLE, chance_scores)["accuracy"] == 0.25
    targets = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]])
    found = score([[0.9, 0.2, 0.1], [0.1, 0.1, 0.1], [0.2, 0.3, 0.1]], targets, MULTI)
    assert found["classes_scored"] == 2  # all tracks have the third label
    assert found["roc_auc"] == pytest.approx((1 + 0) / 2)
    assert found["mean_average_precision"] == pytest.approx((1 + 1 / 3) / 2)
    assert score(targets, targets, MULTI, chance_scores)["roc_auc"] == 0.5
    numbers = np.array([[1.0], [2.0], [3.0]])
    assert score(numbers, numbers, "regression") == {"r2": 1.0, "mean_absolute_error": 0.0}
    assert score(numbers, numbers, "regression", chance_scores)["r2"] == 0.0
