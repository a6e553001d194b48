"""Linear probes in closed form on examples that are kept in memory."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import StandardScaler
from support.probing_tasks import RATE, make_task, pitch_task, tone

from mert_hf.common.errors import InputError
from mert_hf.models.spectra_mert import LogMelSpectrum
from mert_hf.probing.online import examples as module
from mert_hf.probing.online.examples import TaskExamples, log_mel_statistics
from mert_hf.probing.online.ridge import PENALTIES, ridge_answers
from mert_hf.tasks.base import Windows
from mert_hf.tasks.examples import Example, Waveform


@pytest.mark.parametrize(("count", "hidden"), [(40, 7), (9, 30)])
def test_all_penalties_at_once_are_those_of_scikit_learn(count, hidden):
    random = np.random.default_rng(count)
    features, asked = (5 + random.normal(size=(rows, hidden)) * random.uniform(0.1, 9, hidden) for rows in (count, 6))
    features[:, 2] = asked[:, 2] = 3.3  # tells nothing
    targets = np.eye(3)[random.integers(0, 3, count)]
    (found,) = ridge_answers(features, targets, [asked])
    scaler = StandardScaler().fit(features)
    for penalty, answers in zip(PENALTIES, found, strict=True):
        theirs = Ridge(alpha=penalty * count, solver="svd").fit(scaler.transform(features), targets)
        np.testing.assert_allclose(answers, theirs.predict(scaler.transform(asked)), rtol=1e-8, atol=1e-10)


def test_whatever_scale_features_have_the_answers_are_the_same():
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(30, 5)), random.normal(size=(30, 2))
    scale = np.array([1e-6, 1.0, 1e6, 3.0, 1e-3])
    first, second = (ridge_answers(values, targets, [values])[0] for values in (features, scale * features + 7 * scale))
    np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-8)


def features_of(examples, layers):
    """Layers of random numbers (count, hidden), made from the targets of every split by the functions given."""
    random = np.random.default_rng(3)
    found = {}
    for split, listed in examples.data.splits.items():
        targets = np.array([examples.data.target(example) for example in listed])
        found[split] = np.stack([layer(random, targets) for layer in layers], axis=1)
    return found


def noise(random, targets):
    return random.normal(size=(len(targets), 6))


def telling(random, targets):
    return np.eye(6)[targets] + 0.1 * random.normal(size=(len(targets), 6))


def broken(random, targets):
    return np.full((len(targets), 6), np.nan)


def test_validation_chooses_the_layer_and_features_that_are_not_finite_are_none():
    examples = TaskExamples(pitch_task(sizes=(60, 30, 40)).load(), RATE, 1000)
    found = examples.score(features_of(examples, [noise, broken, telling, noise]))
    assert (found.layer, found.value) == (2, 1.0)
    assert np.isnan(found.layers[1]) and max(found.layers[0], found.layers[3]) < 0.6
    nothing = examples.score(features_of(examples, [broken, broken]))
    assert nothing.layer is None and np.isnan(nothing.value)


def test_the_value_is_the_tasks_measure_of_the_penalty_that_validation_chooses():
    examples = TaskExamples(pitch_task(sizes=(30, 40, 40)).load(), RATE, 1000)
    features = features_of(examples, [lambda random, targets: telling(random, targets) + random.normal(size=(len(targets), 6))])
    truth = {split: [examples.data.target(example) for example in listed] for split, listed in examples.data.splits.items()}
    scaler = StandardScaler().fit(features["train"][:, 0])
    right = []
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty * 30).fit(scaler.transform(features["train"][:, 0]), np.eye(4)[truth["train"]])
        right.append(
            [
                accuracy_score(truth[split], model.predict(scaler.transform(features[split][:, 0])).argmax(1))
                for split in ("validation", "test")
            ]
        )
    _, expected = max(right, key=lambda pair: pair[0])
    assert examples.score(features).value == expected


def test_numbers_and_tags_are_told_too():
    splits, tagged = {}, {}
    for place, split in enumerate(("train", "validation", "test")):
        random = np.random.default_rng(place)
        heard = [Waveform(tone(60, 0.1, 99), RATE)] * 30
        numbers = random.uniform(60, 180, 30)
        splits[split] = [Example(f"{split} {n}", heard[n], (numbers[n],)) for n in range(30)]
        tagged[split] = [Example(f"{split} {n}", heard[n], ("a",) if n % 2 else ("a", "b")[: n % 3]) for n in range(30)]
    numbers = TaskExamples(make_task(splits, "regression", ["tempo"], ("r2",), "r2").load(), RATE, 30)
    features = features_of(numbers, [lambda random, targets: np.tile(targets, 3) + random.normal(size=(len(targets), 3))])
    truth = {split: np.array([example.label for example in listed]) for split, listed in splits.items()}
    answers = ridge_answers(features["train"][:, 0], truth["train"], [features["validation"][:, 0], features["test"][:, 0]])
    scores = [
        [r2_score(truth[split], found[place]) for place in range(5)]
        for split, found in zip(("validation", "test"), answers, strict=True)
    ]
    assert numbers.score(features).value == pytest.approx(scores[1][int(np.argmax(scores[0]))])
    tags = TaskExamples(make_task(tagged, "multilabel", ["a", "b"], ("roc_auc",), "roc_auc").load(), RATE, 30)
    assert (
        tags.score(features_of(tags, [lambda random, targets: targets + 0.01 * random.normal(size=targets.shape)])).value == 1.0
    )


def test_examples_are_drawn_once_for_all_and_shared_by_the_processes():
    data = pitch_task(sizes=(24, 3, 12)).load()
    whole = TaskExamples(data, RATE, 7)
    assert [len(whole.data.splits[split]) for split in ("train", "validation", "test")] == [7, 3, 7]
    assert whole.count == 17 and whole.audio_bytes == 17 * 4 * RATE // 2
    names = [example.name for example in whole.data.splits["train"]]
    assert names == [example.name for example in TaskExamples(data, RATE, 7).data.splits["train"]] != names[:7][::-1]
    assert names != [example.name for example in data.splits["train"]][:7]

    def embed(clips):
        return torch.stack([clips[:, :5], clips[:, 5:10]], dim=1)

    expected = whole.embed(embed)
    for processes in (2, 5):
        shares = [TaskExamples(data, RATE, 7, rank, processes) for rank in range(processes)]
        assert sum(share.audio_bytes for share in shares) == whole.audio_bytes
        joined = whole.join([share.embed(embed) for share in shares])
        assert all((joined[split] == expected[split]).all() for split in expected)


def test_features_are_means_over_the_windows_of_an_example():
    data = pitch_task(sizes=(3, 2, 2), seconds=0.5, windows=Windows(duration_s=0.2, least_s=0.1)).load()
    found = TaskExamples(data, RATE, 9).embed(lambda clips: clips[:, None, :3] + clips.shape[1])
    for place, example in enumerate(data.splits["train"]):
        waveform = example.read(RATE)
        windows = [waveform[: RATE // 5], waveform[RATE // 5 : 2 * RATE // 5], waveform[2 * RATE // 5 :]]
        expected = np.mean([window[:3] + len(window) for window in windows], axis=0)
        np.testing.assert_allclose(found["train"][place, 0], expected, rtol=1e-6)


def test_the_spectrum_to_beat_is_mean_and_deviation_of_fine_bands():
    clips = torch.from_numpy(np.stack([tone(60, 0.5), tone(67, 0.5)]))
    found = log_mel_statistics(24000)(clips)
    frames = LogMelSpectrum(24000, 320, 128, 2048)(clips).numpy()
    np.testing.assert_allclose(found[:, 0, :128], frames.mean(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:, 0, 128:], frames.std(1), rtol=1e-4, atol=1e-4)
    assert log_mel_statistics(16000)(clips).shape == (2, 1, 256)


def test_more_audio_than_is_kept_and_what_cannot_be_read_are_told_in_a_line(monkeypatch):
    data = pitch_task(sizes=(12, 4, 4)).load()
    monkeypatch.setattr(module, "MOST_BYTES", 200_000)
    with pytest.raises(
        InputError, match=r"7 examples of test_multiclass fill \S+ GiB, the most that is kept of a task; take fewer"
    ):
        TaskExamples(data, RATE, 100)
    monkeypatch.undo()
    data.splits["test"][1] = Example("test 1", Waveform(np.full(99, np.nan, np.float32), RATE), "1")
    with pytest.raises(InputError, match="test 1: a waveform must be"):
        TaskExamples(data, RATE, 100)
