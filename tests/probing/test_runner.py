import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from support.probing_tasks import QUICK, RATE, beat_task, make_task, pitch_task, tone

from mert_hf.audio import AudioError
from mert_hf.common.errors import InputError
from mert_hf.probing.features import extraction as features
from mert_hf.probing.features.cache import Features, FeatureWindow
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import LogMel
from mert_hf.probing.probes import probe_of
from mert_hf.probing.probes.beats import BeatProbe, beat_targets
from mert_hf.probing.probes.clips import ClassProbe, ClipScorer, NumberProbe, TagProbe, join_windows
from mert_hf.probing.report.intervals import bootstrap_intervals, bootstrap_means, draw_share, resampled
from mert_hf.probing.report.plots import circle_of_fifths
from mert_hf.probing.report.results import averages, markdown_table, number, result_rows
from mert_hf.probing.runner import evaluate_baseline, evaluate_encoder
from mert_hf.probing.settings import ProbingSettings
from mert_hf.probing.suite import list_evaluations, run_evaluations
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import KEYS, SPLITS, Windows
from mert_hf.tasks.examples import Example, Waveform

SETTINGS = ProbingSettings(seeds=2)


@pytest.fixture
def extraction(tmp_path):
    return Extraction(tmp_path / "features")


def test_a_task_that_can_be_heard_is_learnt(extraction):
    data = pitch_task((40, 16, 24)).load()
    result = evaluate_encoder(LogMel(RATE), data, extraction, replace(SETTINGS, limited=True))
    value = result["values"]["accuracy"]
    assert value["value"] > 0.9 and value["low"] <= value["value"] <= value["high"] and len(value["seeds"]) == 2
    assert np.sum(result["confusion"]) == 24
    assert np.trace(result["confusion"]) / 24 == value["seeds"][0]
    assert result["layer"] == "log-mel" and set(result["layers"]) == {"log-mel"}
    assert [found["examples"] for found in result["limited"].values()] == [2, 2, 4, 8]
    assert result["limited"]["0.01"]["mean"] < result["limited"]["0.2"]["mean"] + 0.05
    json.dumps(result)
    guess = evaluate_baseline(data, probe_of(data.task).baselines(data)["majority"])["values"]["accuracy"]
    assert guess["value"] == 0.25 and guess["low"] < 0.25 < guess["high"]


def test_learning_rate_epoch_and_layer_never_see_the_test_split(extraction):
    data = pitch_task((40, 16, 24)).load()
    result = evaluate_encoder(LogMel(RATE), data, extraction, SETTINGS)
    wrong = [replace(example, label=str((int(example.label) + 1) % 4)) for example in data.splits["test"]]
    mislabelled = replace(data, splits={**data.splits, "test": wrong})
    again = evaluate_encoder(LogMel(RATE), mislabelled, extraction, SETTINGS)
    for name in ("layer", "learning_rates", "epochs"):
        assert result[name] == again[name]
    assert again["values"]["accuracy"]["value"] < 0.1


def test_beats_are_tracked_and_silent_tracks_left_out(extraction):
    data = beat_task((10, 3, 4), silent_tracks=1, protocol=replace(QUICK, max_epochs=30)).load()
    result = evaluate_encoder(LogMel(RATE), data, extraction, SETTINGS)
    assert result["values"]["beat_f1"]["value"] > 0.85
    assert list(result["left_out"].values()) == ["has no beats"] and "test 0" in next(iter(result["left_out"]))
    drawn = result["activation"]
    assert drawn["example"] == 1 and len(drawn["times_s"]) == len(drawn["activation"])
    assert any("validation loss" in note for note in result["notes"])


def test_no_track_with_a_beat_is_an_error(extraction):
    data = beat_task((4, 2, 2), silent_tracks=2).load()
    with pytest.raises(InputError, match="none of the tracks has a beat"):
        evaluate_encoder(LogMel(RATE), data, extraction, SETTINGS)


def test_the_frame_of_a_beat_is_a_target_and_windows_have_their_own_times():
    cached = Features(
        [np.zeros((12, 1, 2), np.float32)], [[FeatureWindow(0.0, 6), FeatureWindow(3.0, 4)], [FeatureWindow(0.0, 2)]]
    )
    found = beat_targets(cached, [np.array([0.0, 1.1, 3.5]), np.zeros(0)], 2.0, 0.0)
    # frames of half a second: beats at frames 0 and 2 of the first window, 1 of the second
    assert found[:, 0].tolist() == [1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(("frame_rate", "targets"), [(25.0, [5]), (50.0, [9, 10, 11]), (75.0, [14, 15, 16])])
def test_frames_within_20_ms_of_a_beat_are_targets_whatever_the_frame_rate(frame_rate, targets):
    frames = Features([np.zeros((40, 1, 2), np.float32)], [[FeatureWindow(0.0, 40)]])
    # MARBLE's are the nearest of 75 frames a second and its two neighbours
    found = beat_targets(frames, [np.array([0.2])], frame_rate, 0.0)
    assert np.flatnonzero(found[:, 0]).tolist() == targets


def test_classes_without_positives_are_named(extraction):
    rows = [
        Example(str(n), Waveform(np.zeros(RATE, np.float32), RATE), label) for n, label in enumerate([("a",), (), ("a", "b")])
    ]
    splits = {"train": rows[:2], "validation": rows, "test": rows[:2]}
    data = make_task(splits, "multilabel", "ab", ("roc_auc", "mean_average_precision"), "roc_auc").load()
    notes = TagProbe(LogMel(RATE), data, extraction, SETTINGS).notes
    assert notes[0] == "no training example of b" and "standardised" in notes[1]
    scores = ClipScorer(data, "test")(np.array([[0.9, 0.1], [0.1, 0.2]]))
    assert scores.per_class == {"roc_auc": {"a": 1.0}, "mean_average_precision": {"a": 1.0}}
    assert scores.values["roc_auc"] == 1.0 and scores.left_out == {"b": "has no positive example"}


def test_labels_outside_the_list_and_flat_outputs_are_refused_before_anything_is_heard(extraction):
    rows = [Example("x", Waveform(np.zeros(8, np.float32), 8), "sitar")]
    with pytest.raises(InputError, match="x is labelled 'sitar', which is none of the task's 2 labels"):
        ClassProbe(
            LogMel(RATE), make_task(dict.fromkeys(SPLITS, rows), "multiclass", ("a", "b"), (), "").load(), None, SETTINGS
        )
    rows = [Example(str(n), rows[0].audio, (1.0,)) for n in range(3)]
    with pytest.raises(InputError, match="the same in all training examples"):
        data = make_task(dict.fromkeys(SPLITS, rows), "regression", "x", (), "").load()
        NumberProbe(LogMel(RATE), data, extraction, SETTINGS)
    assert not extraction.folder.exists()


def test_windows_become_one_answer():
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 3.0]])
    owners = np.array([0, 0, 0, 1])
    found = join_windows(logits, owners, 2, "mean_logits")
    np.testing.assert_allclose(found["mean"], [[2 / 3, 2 / 3], [0.5, 3.0]])
    ensembles = join_windows(logits, owners, 2, "best_ensemble")
    probabilities = torch.from_numpy(logits).softmax(dim=-1).numpy()
    np.testing.assert_allclose(ensembles["mean"][0], probabilities[:3].mean(axis=0))
    np.testing.assert_allclose(np.exp(ensembles["gmean"][0]), np.prod(probabilities[:3], axis=0) ** (1 / 3))
    np.testing.assert_allclose(np.exp(ensembles["max"][0]), probabilities[:3].max(axis=0))
    assert {name: int(answer[0].argmax()) for name, answer in ensembles.items()}["vote"] == 1
    assert int(ensembles["max"][0].argmax()) == 0


def test_windows_that_are_examples_of_their_own_are_scored_each_and_resampled_by_file(extraction):
    data = pitch_task((24, 8, 12), seconds=1.0, windows=Windows(duration_s=0.25), aggregation="window").load()
    logits = np.arange(8.0).reshape(4, 2)
    assert (join_windows(logits, np.array([0, 0, 1, 1]), 2, "window")["window"] == logits).all()
    # the first half of every test clip sounds another pitch: every second window is wrong, which no mean would show
    mixed = []
    for place, example in enumerate(data.splits["test"]):
        sound = example.audio.samples.copy()
        sound[: RATE // 2] = tone(50 + 7 * ((place + 1) % 4), 0.5)
        mixed.append(replace(example, audio=Waveform(sound, RATE)))
    data = replace(data, splits={**data.splits, "test": mixed}, fingerprint="mixed")
    result = evaluate_encoder(LogMel(RATE), data, extraction, SETTINGS)
    assert result["values"]["accuracy"]["value"] == pytest.approx(0.5, abs=0.1)
    assert np.sum(result["confusion"]) == 48
    assert np.trace(result["confusion"]) / 48 == result["values"]["accuracy"]["seeds"][0]
    # the windows of a file come and go together, so resampling files leaves the half that is right
    assert result["values"]["accuracy"]["high"] - result["values"]["accuracy"]["low"] < 0.2
    scorer = ClassProbe(LogMel(RATE), data, extraction, SETTINGS).scorer
    assert (scorer.groups, len(scorer.references)) == (12, 48)
    right = scorer.references.copy()
    right[:4] = (right[:4] + 1) % 4  # the first file is wrong throughout
    assert [scorer(right, np.array(files)).values["accuracy"] for files in ([0], [1], [0, 0, 1])] == [0, 1, 1 / 3]
    guess = evaluate_baseline(data, lambda data: np.arange(12) % 4)  # right for every file
    assert guess["values"]["accuracy"]["value"] == 1.0
    uneven = [replace(example, end_s=0.25 if place == 0 else None) for place, example in enumerate(mixed)]
    wrong = evaluate_baseline(
        replace(data, splits={**data.splits, "test": uneven}), lambda data: np.array([1, *np.arange(1, 12) % 4])
    )
    assert wrong["values"]["accuracy"]["value"] == pytest.approx(44 / 45)  # the short file is one window of 45


def test_a_few_damaged_clips_are_left_out_by_name(extraction, monkeypatch, tmp_path):
    monkeypatch.setattr(features, "LEAST_EXAMPLES", 12)
    data = pitch_task((40, 16, 12)).load()
    broken = {split: list(examples) for split, examples in data.splits.items()}
    for split, place in (("train", 3), ("test", 0)):
        broken[split][place] = replace(broken[split][place], audio=b"no audio at all")
    damaged = replace(data, splits=broken, fingerprint="damaged")
    settings = replace(SETTINGS, limited=True)
    result = evaluate_encoder(LogMel(RATE), damaged, extraction, settings)
    assert [note for note in result["notes"] if "cannot be read" in note] == [
        "left out of the train split, as their audio cannot be read: train 3",
        "left out of the test split, as their audio cannot be read: test 0",
    ]
    # as if they had never been there
    whole = {split: [example for example in broken[split] if example.audio != b"no audio at all"] for split in broken}
    whole = replace(data, splits=whole, fingerprint="whole")
    expected = evaluate_encoder(LogMel(RATE), whole, extraction, settings)
    for name in ("values", "confusion", "limited", "epochs"):
        assert result[name] == expected[name]
    # baselines are scored on the same clips, and say so
    damaged, whole = (replace(one, task=replace(one.task, aggregation="window")) for one in (damaged, whole))
    scored = {}
    for name, one in (("damaged", damaged), ("whole", whole)):
        _, evaluation = list_evaluations([one], LogMel(RATE), [], SETTINGS, "float16", tmp_path / name)
        run_evaluations([evaluation], extraction)
        scored[name] = evaluation.result()
    assert scored["damaged"]["values"] == scored["whole"]["values"] and not scored["whole"]["notes"]
    assert scored["damaged"]["notes"] == [note for note in result["notes"] if "cannot be read" in note]
    broken["train"][4] = replace(broken["train"][4], audio=b"")
    with pytest.raises(AudioError, match="train 3"):
        evaluate_encoder(LogMel(RATE), replace(damaged, fingerprint="more"), extraction, SETTINGS)
    assert [features.most_damaged(count) for count in (11, 12, 1000, 1001, 55_000)] == [0, 1, 1, 2, 55]
    monkeypatch.undo()
    assert features.most_damaged(99) == 0 and features.most_damaged(443) == 1


def test_examples_of_a_group_are_resampled_together():
    rows = [Example(str(n), Waveform(np.zeros(8, np.float32), 8), "a", group=f"piece {n // 3}") for n in range(6)]
    data = make_task(dict.fromkeys(SPLITS, rows), "multiclass", "ab", ("accuracy",), "accuracy").load()
    scorer = ClipScorer(data, "test")
    assert scorer.groups == 2
    answers = np.array([0, 0, 0, 1, 1, 0])
    assert [scorer(answers, np.array(pieces)).values["accuracy"] for pieces in ([0], [1], [1, 1])] == [1, 1 / 3, 1 / 3]
    assert scorer(answers).values["accuracy"] == pytest.approx(4 / 6)
    values = evaluate_baseline(data, lambda data: answers)["values"]["accuracy"]
    assert (values["low"], values["high"]) == (pytest.approx(1 / 3), 1.0)  # the four draws of two pieces


@pytest.mark.parametrize("aggregation", ["mean_logits", "mean_features"])
def test_every_window_or_every_example_is_learnt_from(aggregation, extraction):
    data = pitch_task((8, 4, 4), seconds=1.0, windows=Windows(duration_s=0.5), aggregation=aggregation).load()
    probe = ClassProbe(LogMel(RATE), data, extraction, SETTINGS)
    assert len(probe.training_set().rows) == (16 if aggregation == "mean_logits" else 8)
    assert len(probe.training_set(np.array([1, 5])).rows) == (4 if aggregation == "mean_logits" else 2)
    beats = BeatProbe(LogMel(RATE), beat_task((3, 1, 2)).load(), extraction, SETTINGS)
    assert len(beats.training_set(np.array([2])).rows) == 1


def test_bootstrap_covers_the_binomial_interval():
    right = np.arange(200) < 140
    (low, high) = bootstrap_intervals(lambda chosen: [{"accuracy": right[chosen].mean()}], 200, 1000)["accuracy"]
    spread = 1.96 * np.sqrt(0.7 * 0.3 / 200)
    assert low == pytest.approx(0.7 - spread, abs=0.015) and high == pytest.approx(0.7 + spread, abs=0.015)
    mean, std = resampled(lambda chosen: [{"accuracy": right[chosen].mean()}], 200, 400, 0.5)["accuracy"]
    # drawn without replacement: half the variance of a sample of 100
    assert mean == pytest.approx(0.7, abs=0.01) and std == pytest.approx(np.sqrt(0.7 * 0.3 / 100 / 2), rel=0.15)


def test_intervals_of_many_means_are_those_of_each():
    values = np.random.default_rng(0).random((30, 2, 3))
    low, high = bootstrap_means(values, 200)
    assert low.shape == high.shape == (2, 3)
    for place in np.ndindex(2, 3):
        column = values[:, *place]
        (least, greatest) = bootstrap_intervals(lambda chosen, column=column: [{"x": column[chosen].mean()}], 30, 200)["x"]
        assert (low[place], high[place]) == pytest.approx((least, greatest), abs=1e-12)


def test_a_measure_without_meaning_on_a_draw_is_drawn_again_but_not_for_ever():
    def scores(chosen):
        if 0 not in chosen:
            raise InputError("no positive example")
        return [{"x": float(accuracy_score([1], [1]))}]

    assert bootstrap_intervals(scores, 4, 50) == {"x": (1.0, 1.0)}

    def never(chosen):
        raise InputError("never any")

    with pytest.raises(InputError, match="never any"):
        bootstrap_intervals(never, 4, 50)


def test_shares_of_the_training_split_keep_the_classes(extraction):
    targets = np.repeat([0, 1, 2], (100, 60, 40))
    few = draw_share(targets, 0.1, 0, 0)
    assert np.bincount(targets[few]).tolist() == [10, 6, 4]
    assert (draw_share(targets, 0.1, 0, 0) == few).all()
    assert (draw_share(targets, 0.1, 0, 1) != few).any()
    assert len(draw_share(targets, 0.001, 0, 0)) == 2
    values = np.linspace(0, 1, 90)
    rows = [Example(str(n), Waveform(np.zeros(RATE // 4, np.float32), RATE), (value,)) for n, value in enumerate(values)]
    regression = make_task(dict.fromkeys(SPLITS, rows), "regression", "x", (), "").load()
    few = draw_share(NumberProbe(LogMel(RATE), regression, extraction, SETTINGS).strata, 0.1, 0, 0)
    assert np.histogram(values[few], (0, 1 / 3, 2 / 3, 1))[0].tolist() == [3, 3, 3]


def evaluated(value, layers=("0", "1")):
    seeds = [value - 0.01, value + 0.01]
    return {
        "layer": layers[-1],
        "probe": "mlp",
        "protocol": "MARBLE",
        "values": {
            name: {"value": value, "std": 0.01, "low": value - 0.1, "high": value + 0.1, "seeds": seeds}
            for name in ("accuracy", "roc_auc", "roc_auc_micro", "mean_average_precision", "r2", "r2_valence", "r2_arousal")
        },
        "layers": {layer: {"accuracy": value, "r2_valence": value, "r2_arousal": value, "roc_auc": value} for layer in layers},
        "left_out": {},
        "notes": [],
    }


def test_rows_carry_published_numbers_and_the_papers_average():
    rows = []
    for name, value in (("gtzan_genre", 0.7), ("emomusic", 0.5)):
        data = replace(pitch_task((2, 1, 1)).load(), task=TASKS[name])
        found = evaluated(value)
        if name == "gtzan_genre":
            found["values"] = {"accuracy": found["values"]["accuracy"]}
        rows += result_rows(data, "marble", found, {"random weights": evaluated(value - 0.2)})
    assert [(row["task"], row["metric"], row["value"]) for row in rows] == [
        ("gtzan_genre", "accuracy", 70.0),
        ("emomusic", "r2_valence", 50.0),
        ("emomusic", "r2_arousal", 50.0),
    ]
    first = rows[0]
    assert (first["unit"], first["low"], first["high"], first["std"]) == ("%", pytest.approx(60), pytest.approx(80), 1.0)
    assert first["published"]["MERT-v1-95M"] == 74.8 and first["baselines"]["random weights"]["value"] == pytest.approx(50)
    mean = averages(rows)
    assert mean["this model"] == pytest.approx((70 + 50) / 2)  # both emotions are one task
    assert mean["MERT-v1-95M"] == pytest.approx((74.8 + (55.5 + 76.3) / 2) / 2)
    assert "MERT-v1-330M (v5)" in mean and len(mean) > 10
    table = markdown_table({"title": "mine", "results": rows}).splitlines()
    assert table[0].startswith("| task | measure | layer | mine | random weights | Jukebox-5B |")
    assert "70.0 (60.0 to 80.0)" in table[2] and table[-1].startswith("| average of 2 tasks |  |  | 60.0 |")
    assert len({line.count("|") for line in table}) == 1


def test_rows_say_what_was_chosen_and_beats_are_scored_in_all_ways():
    found = evaluated(0.5) | {"summed_layers": ["1"], "layer_shares": [1.0], "learning_rates": {"0": 1e-3, "1": 5e-3}}
    found["epochs"] = {"0": 3, "1": 7}
    names = ("beat_f1", "beat_f1_macro", "beat_f1_20ms", "beat_f1_macro_20ms")
    found["values"] = {name: found["values"]["r2"] for name in names}
    found["layers"] = {layer: dict.fromkeys(names, 0.5) for layer in ("0", "1")}
    beats = beat_task((2, 1, 1)).load()
    rows = result_rows(replace(beats, task=TASKS["gtzan_rhythm"]), "marble", found, {})
    assert [row["metric"] for row in rows] == [*names] and averages(rows)["MERT-v1-95M"] == 88.3
    assert [bool(row["published"]) for row in rows] == [True, False, False, False]
    chosen = [rows[0][name] for name in ("learning_rate", "epoch", "summed_layers", "layer_shares")]
    assert chosen == [5e-3, 7, ["1"], [1.0]]
    synthetic = result_rows(replace(beats, task=TASKS["synthetic_beat"]), "synthetic", found, {})
    assert [row["metric"] for row in synthetic] == ["beat_f1", "beat_f1_20ms"]
    half = {"value": 41.2, "low": 40.0, "high": 42.0, "resampled_mean": 41.1, "resampled_std": 0.32}
    assert number(half) == "41.2 (40.0 to 42.0); halves 41.1 ± 0.3"


def test_keys_stand_by_fifths():
    order = [KEYS[key] for key in circle_of_fifths()]
    assert order[:6] == ["C major", "A minor", "G major", "E minor", "D major", "B minor"]
    assert len({*order}) == 24


def test_an_encoder_that_fails_is_named_with_the_clip(extraction):
    examples = [Example("blip", Waveform(tone(60, 0.5), RATE), "0")]
    task = make_task(dict.fromkeys(SPLITS, examples), "multiclass", "0", ("accuracy",), "accuracy")

    class Broken(LogMel):
        def __call__(self, waveforms):
            raise RuntimeError("out of\nmemory")

    with pytest.raises(InputError, match=r"log-mel mean \+ std fails on blip \(0.50 s\): out of memory"):
        evaluate_encoder(Broken(RATE), task.load(), extraction, SETTINGS)
