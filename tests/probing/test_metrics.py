import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import evaluate
import mir_eval
import numpy as np
import pytest
import sklearn.metrics

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics import METRIC_NAMES, load_metric
from mert_hf.probing.metrics.beat_f1 import count_matches
from mert_hf.probing.metrics.refined_key_accuracy import KEY_SCORES
from mert_hf.probing.metrics.sdr import framewise_sdr
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import KEYS

EXACT = dict(rel=0, abs=1e-9)
TAGS = ["rock", "jazz", "piano", "slow", "choir"]


def score(name, references, predictions, labels, **options):
    """As the runner and everybody else scores."""
    return load_metric(name).compute(references=references, predictions=predictions, labels=labels, **options)


def multilabel(seed, examples=60, classes=5):
    random = np.random.default_rng(seed)
    truth = (random.random((examples, classes)) < 0.3).astype(int)
    scores = np.round(random.standard_normal((examples, classes)) + truth, 1)  # rounded: ties
    truth[:2] = [[1] * classes, [0] * classes]
    return truth, scores


@pytest.mark.parametrize("seed", range(5))
def test_ranking_agrees_with_scikit_learn(seed):
    truth, scores = multilabel(seed)
    found = score("roc_auc", truth, scores, TAGS)
    assert found["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores, average="macro"), **EXACT)
    assert found["roc_auc_micro"] == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores, average="micro"), **EXACT)
    found = score("mean_average_precision", truth, scores, TAGS)
    for average, ending in (("macro", ""), ("micro", "_micro")):
        expected = sklearn.metrics.average_precision_score(truth, scores, average=average)
        assert found[f"mean_average_precision{ending}"] == pytest.approx(expected, **EXACT)
    assert list(found["per_class"]) == TAGS


def test_area_is_the_share_of_pairs_in_order():
    truth, scores = multilabel(7)
    for place, tag in enumerate(TAGS):
        positive, negative = scores[truth[:, place] == 1, place], scores[truth[:, place] == 0, place]
        order = np.sign(positive[:, None] - negative[None, :])
        expected = ((order + 1) / 2).mean()
        assert score("roc_auc", truth, scores, TAGS)["per_class"][tag] == pytest.approx(expected, **EXACT)


def test_classes_that_cannot_be_scored_are_left_out_and_named():
    truth, scores = multilabel(1)
    truth[:, 1], truth[:, 3] = 0, 1
    kept = [0, 2, 4]
    auc, precision = score("roc_auc", truth, scores, TAGS), score("mean_average_precision", truth, scores, TAGS)
    assert auc["left_out"] == {"jazz": "has no positive example", "slow": "has no negative example"}
    assert auc["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(truth[:, kept], scores[:, kept]), **EXACT)
    assert precision["left_out"] == {"jazz": "has no positive example"}
    assert precision["per_class"]["slow"] == 1.0
    with pytest.raises(InputError, match="none of the 5 classes can be scored: has no positive example"):
        score("mean_average_precision", np.zeros_like(truth), scores, TAGS)


def test_every_pair_of_keys_scores_as_in_mir_eval():
    assert KEY_SCORES.shape == (24, 24)
    for place, reference in enumerate(KEYS):
        for other, estimate in enumerate(KEYS):
            assert KEY_SCORES[place, other] == mir_eval.key.weighted_score(reference, estimate), (reference, estimate)


def test_refined_accuracy_is_the_mean_and_counts_relations():
    truth = [KEYS.index(name) for name in ("C major", "C major", "C major", "A minor", "A minor", "Db major")]
    guess = [KEYS.index(name) for name in ("C major", "G major", "F major", "C major", "A major", "A minor")]
    found = score("refined_key_accuracy", truth, guess, KEYS)
    assert found["refined_accuracy"] == pytest.approx((1 + 0.5 + 0 + 0.3 + 0.2 + 0) / 6, **EXACT)
    assert found["accuracy"] == pytest.approx(1 / 6, **EXACT)
    assert [found[f"share_{name}"] for name in ("fifth", "relative", "parallel", "other")] == pytest.approx(
        [1 / 6, 1 / 6, 1 / 6, 2 / 6], **EXACT
    )
    assert found["per_class"] == pytest.approx({"C major": 0.5, "A minor": 0.25, "Db major": 0.0}, **EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_r2_agree_with_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth, guess = random.integers(0, 4, 50), random.integers(0, 4, 50)
    found = score("accuracy", truth, guess, ["a", "b", "c", "d"])
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, guess), **EXACT)
    recalls = sklearn.metrics.recall_score(truth, guess, average=None)
    assert [*found["per_class"].values()] == pytest.approx(recalls, **EXACT)
    truth, guess = random.normal(5, 2, (40, 2)), random.normal(5, 2, (40, 2))
    found = score("r2", truth, guess, ["arousal", "valence"])
    expected = sklearn.metrics.r2_score(truth, guess, multioutput="raw_values")
    assert [found["r2_arousal"], found["r2_valence"]] == pytest.approx(expected, **EXACT)
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(truth, guess), **EXACT)


def random_beats(seed):
    random = np.random.default_rng(seed)
    truth = np.cumsum(random.uniform(0.3, 0.7, 40))
    guess = np.sort(np.concatenate([truth[5:] + random.normal(0, 0.05, 35), random.uniform(0, 20, 10)]))
    return truth, np.unique(np.abs(guess))


def test_beats_agree_with_mir_eval_track_by_track_and_summed():
    tracks = [random_beats(seed) for seed in range(8)]
    truths, guesses = zip(*tracks, strict=True)
    found = score("beat_f1", truths, guesses, [])
    for tolerance_s, ending in ((0.07, ""), (0.02, "_20ms")):
        single = [mir_eval.beat.f_measure(*pair, f_measure_threshold=tolerance_s) for pair in tracks]
        assert found[f"beat_f1_macro{ending}"] == pytest.approx(np.mean(single), **EXACT)
        matches = [len(mir_eval.util.match_events(*pair, tolerance_s)) for pair in tracks]
        assert [count_matches(*pair, tolerance_s) for pair in tracks] == matches
        total = sum(len(truth) + len(guess) for truth, guess in tracks)
        assert found[f"beat_f1{ending}"] == pytest.approx(2 * sum(matches) / total, **EXACT)
    trimmed = score("beat_f1", truths, guesses, [], trim_s=5.0)
    single = [mir_eval.beat.f_measure(*map(mir_eval.beat.trim_beats, pair)) for pair in tracks]
    assert trimmed["beat_f1_macro"] == pytest.approx(np.mean(single), **EXACT)


def test_many_beats_close_together_are_matched_as_often_as_possible():
    random = np.random.default_rng(3)
    for _ in range(50):
        truth, guess = np.sort(random.uniform(0, 1, 15)), np.sort(random.uniform(0, 1, 15))
        assert count_matches(truth, guess, 0.07) == len(mir_eval.util.match_events(truth, guess, 0.07))


def test_tracks_without_beats():
    found = score("beat_f1", [[1.0, 2.0], []], [[1.0, 2.0], [3.0]], ["song", "noise"])
    assert (found["beat_f1"], found["beat_f1_macro"]) == (1.0, 1.0)
    assert found["left_out"] == {"noise": "has no beats"}
    assert score("beat_f1", [[1.0, 2.0]], [[]], [])["beat_f1"] == 0.0
    with pytest.raises(InputError, match="none of the tracks has a beat"):
        score("beat_f1", [[]], [[1.0]], [])


@pytest.mark.filterwarnings("ignore")  # mir_eval announces that it will part with separation
def test_sdr_agrees_with_bss_eval():
    random = np.random.default_rng(0)
    truth = random.standard_normal((2, 6000))
    guess = truth + random.uniform(0.1, 1, (2, 1)) * random.standard_normal((2, 6000)) + 0.2 * truth[::-1]
    whole = mir_eval.separation.bss_eval_images(truth[..., None], guess[..., None], compute_permutation=False)[0]
    assert framewise_sdr(truth, guess, 6000)[:, 0] == pytest.approx(whole, **EXACT)
    frames = mir_eval.separation.bss_eval_images_framewise(truth[..., None], guess[..., None], window=2000, hop=2000)[0]
    assert framewise_sdr(truth, guess, 2000) == pytest.approx(frames, **EXACT)


def test_sdr_is_the_median_over_frames_then_tracks():
    random = np.random.default_rng(1)
    truths, guesses = [], []
    for errors in ([0.1, 0.5, 1.0], [0.2, 0.2, 2.0], [0.3, 0.3, 0.3]):
        truth = random.choice([-1.0, 1.0], (2, 300))
        truths.append(truth)
        guesses.append(truth * (1 + np.repeat(errors, 100)))
    found = score("sdr", truths, guesses, ["vocals", "other"], frame_samples=100)
    # medians over frames: 0.5, 0.2, 0.3; over tracks: 0.3
    for name in ("sdr", "sdr_vocals", "sdr_other"):
        assert found[name] == pytest.approx(-20 * np.log10(0.3), **EXACT)


def test_silent_frames_and_silent_sources():
    truth = np.ones((2, 400))
    truth[0, :100] = 0
    assert np.isnan(framewise_sdr(truth, truth * 1.1, 100)[:, 0]).all()
    assert np.isfinite(framewise_sdr(truth, truth * 1.1, 100)[:, 1:]).all()
    quiet = np.stack([np.zeros(400), np.ones(400)])
    found = score("sdr", [truth, quiet], [truth * 1.1, quiet * 1.1], ["vocals", "bass"], frame_samples=100)
    assert found["left_out"] == {"track 1, vocals": "silent throughout", "track 1, bass": "silent throughout"}
    assert found["sdr"] == pytest.approx(20, **EXACT)
    with pytest.raises(InputError, match="vocals, bass cannot be scored: silent in every frame"):
        score("sdr", [quiet], [quiet], ["vocals", "bass"], frame_samples=100)


NAN = float("nan")


@pytest.mark.parametrize(
    ("metric", "references", "predictions", "labels", "message"),
    [
        ("roc_auc", [[1, 0]], [[0.1, NAN]], ["a", "b"], "predictions hold NaN or infinity in 1 of 2 places"),
        ("roc_auc", [[2, 0]], [[0.1, 0.2]], ["a", "b"], "must be 0 or 1"),
        ("roc_auc", [[1, 0]], [[0.1, 0.2]], ["a"], "must have 1 columns, one a label"),
        ("mean_average_precision", [[1, 0], [0, 1]], [[0.1, 0.2]], ["a", "b"], "2 references and 1 predictions"),
        ("accuracy", [0, 1], [0, 2], ["a", "b"], "predictions must lie from 0 to 1; they reach from 0 to 2"),
        ("accuracy", [0, 1], [0.0, 1.0], ["a", "b"], "must be .* integers"),
        ("accuracy", [], [], ["a"], "0 references and 0 predictions"),
        ("refined_key_accuracy", [0], [1], ["C major"], "keys need 24 labels; got 1"),
        ("r2", [[1.0, 2.0], [1.0, 3.0]], [[1, 2], [3, 4]], ["a", "b"], "R2 of a has no meaning"),
        ("r2", [[1.0, 2.0], [2.0, 3.0]], [[1, NAN], [3, 4]], ["a", "b"], "NaN"),
        ("beat_f1", [[1.0, NAN]], [[1.0]], [], "beats of track 0 hold NaN"),
        ("beat_f1", [[1.0]], [[2.0, 1.0]], ["song"], "estimated beats of song must be ascending"),
        ("beat_f1", [[-1.0]], [[1.0]], [], "0 s or later"),
        ("sdr", [np.ones((1, 9))], [np.ones((2, 9))], ["a"], r"track 0 is \(1, 9\), its estimate \(2, 9\)"),
        ("sdr", [np.ones((1, 9))], [np.ones((1, 9))], ["a"], "9 samples hold no frame of 24000"),
        ("sdr", [np.ones((2, 24000))], [np.ones((2, 24000))], ["a"], "track 0 has 2 sources, there are 1 labels"),
    ],
)
def test_what_cannot_be_scored_is_an_error(metric, references, predictions, labels, message):
    with pytest.raises(InputError, match=message):
        score(metric, references, predictions, labels)


INPUTS = {
    "accuracy": ([0, 1, 1], [0, 1, 0], ["a", "b"]),
    "refined_key_accuracy": ([0, 5, 23], [7, 5, 1], list(KEYS)),
    "roc_auc": ([[1, 0], [0, 1], [1, 1]], [[0.7, 0.1], [0.3, 0.6], [1 / 3, 0.5]], ["a", "b"]),
    "mean_average_precision": ([[1, 0], [0, 1], [1, 1]], [[0.7, 0.1], [0.3, 0.6], [1 / 3, 0.5]], ["a", "b"]),
    "r2": ([[1.0, 2.0], [2.0, 1.0], [4.0, 4.0]], [[1.1, 2.0], [2.0, 1 / 3], [3.0, 4.0]], ["a", "b"]),
    "beat_f1": ([[0.5, 1.0, 1.5], [2.0]], [[0.51, 1.06], [2.5, 3.0]], ["x", "y"]),
    "sdr": (
        [np.arange(1, 9.0).reshape(2, 4), np.ones((2, 4))],
        [np.arange(1, 9.0).reshape(2, 4) * 0.9, np.ones((2, 4)) * 1.2],
        ["a", "b"],
    ),
}


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_modules_of_evaluate_load_offline_and_give_the_same(name, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("this needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    references, predictions, labels = INPUTS[name]
    options = {"frame_samples": 2} if name == "sdr" else {}
    module = load_metric(name)
    assert isinstance(module, evaluate.Metric)
    expected = module.score(references, predictions, labels, **options)
    found = module.compute(references=references, predictions=predictions, labels=labels, **options)
    assert {key: found[key] for key in expected.values} == expected.values
    assert (found["per_class"], found["left_out"]) == (expected.per_class, expected.left_out)
    for reference, prediction in zip(references, predictions, strict=True):
        module.add(reference=reference, prediction=prediction)
    assert module.compute(labels=labels, **options) == found
    module.add_batch(references=references[:1], predictions=predictions[:1])
    assert module.compute(references=references[1:], predictions=predictions[1:], labels=labels, **options) == found
    # nothing is left, neither in the measure nor on the disk
    assert score(name, references, predictions, labels, **options) == found and not len(module)
    assert not [*Path(module.data_dir).rglob("*.arrow")]


def test_what_is_collected_keeps_every_digit():
    truth, scores = multilabel(3, examples=400)
    scores = scores + np.random.default_rng(0).uniform(0, 1e-9, scores.shape)  # what float32 could not tell apart
    module = load_metric("roc_auc")
    for start in range(0, 400, 150):
        module.add_batch(references=truth[start : start + 150], predictions=scores[start : start + 150])
    assert module.compute(labels=TAGS) == score("roc_auc", truth, scores, TAGS)


@pytest.mark.parametrize("name", ["accuracy", "refined_key_accuracy"])
def test_classes_that_are_no_integers_are_refused_however_they_come(name):
    module, labels = load_metric(name), list(KEYS)
    for predictions in ([0.7, 1.2], [0.0, 1.0], ["a", "b"]):
        for given in (
            lambda found: module.compute(references=[0, 1], predictions=found, labels=labels),
            lambda found: module.add_batch(references=[0, 1], predictions=found),
            lambda found: module.add(reference=0, prediction=found[0]),
        ):
            with pytest.raises(InputError, match=r"predictions must be \(examples,\) integers; they are"):
                given(predictions)
    assert module.compute(references=[0, 1], predictions=[0, 1], labels=labels)["accuracy"] == 1.0


def test_accuracy_and_r2_are_those_of_before_to_the_last_bit():
    """As they were written out before scikit-learn's took their place."""
    random = np.random.default_rng(11)
    for examples in (2, 3, 7, 50, 1001):
        truth, guess = random.integers(0, 4, examples), random.integers(0, 4, examples)
        assert score("accuracy", truth, guess, list("abcd"))["accuracy"] == float((truth == guess).mean())
        truth = random.normal(5, 2, (examples, 2)).astype(np.float32)
        guess = truth + random.normal(0, 1, (examples, 2))
        exact = truth.astype(np.float64)
        spread = ((exact - exact.mean(axis=0)) ** 2).sum(axis=0)
        values = 1 - ((exact - guess) ** 2).sum(axis=0) / spread
        found = score("r2", truth, guess, ["a", "b"])
        assert [found["r2_a"], found["r2_b"], found["r2"]] == [*values.tolist(), float(np.mean(values))]


LOADS = """
import json
from mert_hf.probing.metrics import METRIC_NAMES, load_metric
for name in METRIC_NAMES:
    load_metric(name)
print(json.dumps(load_metric("accuracy").compute(references=[0, 1], predictions=[0, 0], labels=["a", "b"])["accuracy"]))
"""


def test_processes_that_begin_together_load_measures_from_an_empty_cache(tmp_path):
    places = ("HF_HOME", "HF_MODULES_CACHE", "HF_METRICS_CACHE", "HF_EVALUATE_CACHE", "HF_DATASETS_CACHE", "TMPDIR")
    environment = {**os.environ, **{name: str(tmp_path / name) for name in places}}
    (tmp_path / "TMPDIR").mkdir()
    ran = [
        subprocess.Popen([sys.executable, "-c", LOADS], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in ran:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
        assert json.loads(output) == 0.5
    assert not [*(tmp_path / "TMPDIR").iterdir()] and not [*tmp_path.rglob("*.arrow")]


def test_a_cache_that_cannot_be_written_is_told_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path / "file")
    with pytest.raises(InputError, match=r"its cache, which cannot be written \(.*file.*\); set HF_HOME"):
        load_metric("accuracy")


def test_unknown_metrics_name_the_known_ones():
    with pytest.raises(InputError, match="'auc' is unknown; known metrics: accuracy, beat_f1"):
        load_metric("auc")


def test_the_functions_of_before_are_those_of_the_modules_and_say_so():
    with pytest.warns(FutureWarning, match=r"METRICS\[name\]\(\.\.\.\) is now load_metric\(name\)\.compute"):
        from mert_hf.probing.metrics import METRICS
    found = METRICS["accuracy"]([0, 1, 1], [0, 1, 0], ["a", "b"])
    assert (found.values["accuracy"], found.per_class) == (2 / 3, {"a": 1.0, "b": 0.5})
    assert set(METRICS) == set(METRIC_NAMES)


def test_tasks_and_metrics_fit_together():
    for task in TASKS.values():
        assert set(task.metrics) <= set(METRIC_NAMES), task.name
