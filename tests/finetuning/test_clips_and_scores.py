"""Clips that are trained on and measured, and what predictions are worth."""

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.common.seeding import generator
from mert_hf.data.corpus import open_folder
from mert_hf.finetuning.clips import EvaluationClips, RandomChoice, TrainingClips
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


def test_one_clip_a_track_is_the_one_it_was_before_there_could_be_several(folder):
    clips = TrainingClips(open_folder(folder, 0.5), np.array([0, 0, 1]), [0, 1, 2], 8000, 8000, seed=7)
    for epoch in range(3):
        clips.set_epoch(epoch)
        for place, available in enumerate((16000, 24000, 32000)):
            start = int(generator(7, "clip", epoch, place).integers(0, available - 8000 + 1))
            np.testing.assert_array_equal(clips[place]["waveform"], clips.corpus.read(place, 8000, start, 8000))


def test_several_clips_lie_one_in_each_part_of_a_track_whenever_they_are_asked_for():
    choice, again = RandomChoice(3, 4), RandomChoice(3, 4)
    epochs = []
    for choice.epoch in range(20):
        again.epoch = choice.epoch
        drawn = [choice.place(5, number, 1000) for number in range(4)]
        assert [place // 250 for place in drawn] == [0, 1, 2, 3]
        assert [again.place(5, number, 1000) for number in (3, 0, 2, 1)] == [drawn[number] for number in (3, 0, 2, 1)]
        assert drawn != [choice.place(6, number, 1000) for number in range(4)]
        epochs.append(tuple(drawn))
    assert len(set(epochs)) == 20
    assert {choice.place(5, number, 1) for number in range(4)} == {0}  # a track that is one clip
    assert [choice.place(5, number, 2) for number in range(4)] == [0, 0, 1, 1]


def test_a_track_is_as_many_clips_of_an_epoch_as_are_asked_for_and_as_many_of_a_validation_as_are_allowed(folder):
    corpus, targets = open_folder(folder, 0.5), np.array([0, 0, 1])
    clips = TrainingClips(corpus, targets, [1, 2], 4000, 8000, seed=3, per_track=3)
    assert [clips[number]["labels"] for number in range(len(clips))] == [0, 0, 0, 1, 1, 1]
    assert len({clips[number]["waveform"].tobytes() for number in range(len(clips))}) == 6
    every = EvaluationClips(corpus, targets, [0, 2], 4000, 8000)  # of 2 s and 4 s, in clips of half a second
    assert [every.span(number)[:2] for number in range(len(every))] == [
        *((0, 4000 * number) for number in range(4)),
        *((2, 4000 * number) for number in range(8)),
    ]
    some = EvaluationClips(corpus, targets, [0, 2], 4000, 8000, most=4)
    assert [some.span(number)[1] // 4000 for number in range(len(some))] == [0, 1, 2, 3, 0, 2, 4, 6]
    assert some.answered_for == [(0, 4), (2, 4)] and [some.target(number) for number in (0, 7)] == [0, 1]
    alone = EvaluationClips(corpus, targets, [0, 2], 4000, 8000, most=4, alone=True)
    assert alone.answered_for == [(0, 1)] * 4 + [(2, 1)] * 4


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
