"""Linear probes that are solved: side by side what scikit-learn finds one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, Ridge
from support.probing_tasks import QUICK, RATE, pitch_task

from mert_hf.probing.features.cache import Features, FeatureWindow
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import LogMel
from mert_hf.probing.probes import probe_of, probe_solving
from mert_hf.probing.probes.bank import ProbeShape
from mert_hf.probing.probes.probe_solving import minimise, solve_probes
from mert_hf.probing.probes.probe_training import TrainingSet, read_probes
from mert_hf.probing.runner import evaluate_encoder
from mert_hf.probing.settings import ProbingSettings
from mert_hf.synthetic import benchmark
from mert_hf.tasks import TASKS

CPU = torch.device("cpu")
PENALTIES = (1.0, 1e-2, 1e-3)
ROWS, LAYERS, SIZE = 120, 2, 10


def test_every_problem_is_minimised_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((4, 6, 6))
    # one is badly conditioned, one begins at its minimum
    curvature = torch.tensor(roots @ roots.transpose(0, 2, 1) + np.diag([1e-3] * 6))
    curvature[0] *= torch.logspace(0, 2, 6).sqrt()[:, None] * torch.logspace(0, 2, 6).sqrt()
    slope = torch.tensor(rng.standard_normal((4, 6)))
    slope[3] = 0

    def objective(places):
        turned = torch.einsum("pij,pj->pi", curvature, places)
        return (0.5 * turned + slope).mul(places).sum(dim=1), turned + slope

    found, iterations = minimise(objective, torch.zeros(4, 6, dtype=torch.float64), 500, 1e-8)
    expected = -torch.linalg.solve(curvature, slope)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert iterations[3] == 0 and (iterations[:3] > 0).all()


def make_set(targets):
    rng = np.random.default_rng(1)
    features = (rng.standard_normal((ROWS, LAYERS, SIZE)) * rng.uniform(0.5, 2, SIZE) + 1).astype(np.float32)
    kept = Features([features], [[FeatureWindow(0.0, 1)]] * ROWS)
    return features, TrainingSet(kept, list(np.arange(ROWS)[:, None]), targets(features))


def solve(training_set, losses, outputs):
    shape = ProbeShape(LAYERS, SIZE, outputs, len(PENALTIES), "linear")
    penalties = np.repeat(np.array(PENALTIES)[:, None], LAYERS, axis=1)
    found = solve_probes(training_set, losses, lambda bank: np.zeros(penalties.shape), shape, penalties, 0, CPU)
    return read_probes(found.bank, training_set.features, np.arange(ROWS))


def standardised(features, layer):
    return (features[:, layer] - features[:, layer].mean(axis=0)) / features[:, layer].std(axis=0)


def test_classes_are_those_of_logistic_regression():
    def targets(features):
        noisy = features[:, 0, :4] + np.random.default_rng(2).standard_normal((ROWS, 4))
        return noisy.argmax(axis=1)

    def losses(logits, wanted):
        flat = logits.flatten(0, 1)
        return torch.stack([F.cross_entropy(one, wanted) for one in flat]).view(logits.shape[:2])

    features, training_set = make_set(targets)
    found = solve(training_set, losses, 4)
    for number, penalty in enumerate(PENALTIES):
        for layer in range(LAYERS):
            judge = LogisticRegression(C=1 / (penalty * ROWS), tol=1e-8, max_iter=5000)
            inputs = standardised(features, layer)
            expected = judge.fit(inputs, training_set.targets).predict_proba(inputs)
            probabilities = torch.from_numpy(found[number, layer]).softmax(dim=-1).numpy()
            np.testing.assert_allclose(probabilities, expected, atol=5e-3)


def test_tags_are_those_of_one_logistic_regression_each():
    def targets(features):
        return (features[:, 1, :3] + np.random.default_rng(3).standard_normal((ROWS, 3)) > 1).astype(np.float32)

    def losses(logits, wanted):
        repeated = wanted.expand(*logits.shape[:2], -1, -1)
        return F.binary_cross_entropy_with_logits(logits, repeated, reduction="none").mean(dim=(2, 3))

    features, training_set = make_set(targets)
    found = solve(training_set, losses, 3)
    for number, penalty in enumerate(PENALTIES):
        for tag in range(3):
            judge = LogisticRegression(C=1 / (penalty * ROWS * 3), tol=1e-8, max_iter=5000)
            inputs = standardised(features, 1)
            expected = judge.fit(inputs, training_set.targets[:, tag]).decision_function(inputs)
            np.testing.assert_allclose(found[number, 1, :, tag], expected, atol=0.05)


def test_numbers_are_those_of_ridge_regression():
    def targets(features):
        return (features[:, 0, :2] @ np.array([[1.0, -1.0], [0.5, 2.0]]) + 3).astype(np.float32)

    def losses(logits, wanted):
        return F.mse_loss(logits, wanted.expand(*logits.shape[:2], -1, -1), reduction="none").mean(dim=(2, 3))

    features, training_set = make_set(targets)
    found = solve(training_set, losses, 2)
    for number, penalty in enumerate(PENALTIES):
        for layer in range(LAYERS):
            inputs = standardised(features, layer)
            expected = Ridge(alpha=penalty * ROWS).fit(inputs, training_set.targets).predict(inputs)
            np.testing.assert_allclose(found[number, layer], expected, atol=5e-3)


def test_a_weighted_sum_finds_the_layer_that_knows():
    def losses(logits, wanted):
        flat = logits.flatten(0, 1)
        return torch.stack([F.cross_entropy(one, wanted) for one in flat]).view(logits.shape[:2])

    _, training_set = make_set(lambda features: (features[:, 1, 0] > 1).astype(np.int64))
    shape = ProbeShape(LAYERS, SIZE, 2, 1, "linear", summed=(0, 1))
    found = solve_probes(training_set, losses, lambda bank: np.zeros((1, 3)), shape, np.full((1, 3), 1e-2), 0, CPU)
    assert found.bank.layer_shares()[0, 1] > 0.7
    right = read_probes(found.bank, training_set.features, np.arange(ROWS))[0].argmax(axis=-1) == training_set.targets
    assert right[1].mean() > 0.95 and right[2].mean() > 0.9 and right[0].mean() < 0.75


def test_of_many_frames_some_are_learnt_from_and_of_clips_all(monkeypatch):
    heard = []

    def losses(logits, wanted):
        heard.append(len(wanted))
        return F.binary_cross_entropy_with_logits(logits, wanted.expand(*logits.shape[:2], -1, -1), reduction="none").mean(
            (2, 3)
        )

    features, clips = make_set(lambda features: (features[:, 0, :1] > 1).astype(np.float32))
    frames = replace(clips, rows=[np.arange(ROWS)], crop_rows=10)
    whole = solve(frames, losses, 1)
    np.testing.assert_allclose(whole, solve(clips, losses, 1), atol=1e-4)
    assert {*heard} == {ROWS}
    monkeypatch.setattr(probe_solving, "FRAMES_BYTES", 4 * LAYERS * SIZE * (ROWS // 2))
    heard.clear()
    half = solve(frames, losses, 1)
    assert {*heard} == {ROWS // 2}
    assert ((half[-1, 0] > 0) == (features[:, 0, :1] > 1)).mean() > 0.9
    heard.clear()
    solve(clips, losses, 1)
    assert {*heard} == {ROWS}


@pytest.fixture
def few_notes(monkeypatch):
    """A part of the suite's notes."""
    monkeypatch.setitem(benchmark.SIZES, "notes", {"train": 150, "validation": 60, "test": 100})
    benchmark.make_score.cache_clear()
    yield
    benchmark.make_score.cache_clear()


def test_the_suites_probe_finds_what_logistic_regression_finds(few_notes, tmp_path):
    """Of one layer, with the penalty chosen on the validation split; whole tasks: tests/benchmarks/benchmark_probes.py."""
    extraction = Extraction(tmp_path / "features", "float32")
    for name in ("synthetic_pitch", "synthetic_instrument"):
        data = TASKS[name].load(tmp_path)
        probe = probe_of(data.task)(LogMel(), data, extraction, ProbingSettings(seeds=1, head="linear"))
        inputs = {split: found.shards[0][:, 0] for split, found in probe.features.items()}
        mean, deviation = inputs["train"].mean(axis=0), inputs["train"].std(axis=0)
        inputs = {split: (values - mean) / deviation for split, values in inputs.items()}
        scores = []
        for penalty in probe.plans[0].penalties:
            judge = LogisticRegression(C=1 / (penalty * len(inputs["train"])), tol=1e-5, max_iter=1000)
            judge.fit(inputs["train"], probe.targets["train"])
            scores.append([judge.score(inputs[split], probe.targets[split]) for split in ("validation", "test")])
        expected = max(scores, key=lambda pair: pair[0])
        found = evaluate_encoder(LogMel(), data, extraction, ProbingSettings(seeds=2, head="linear"))
        assert found["values"]["accuracy"]["value"] >= expected[1] - 0.01
        assert found["validation"] >= expected[0] - 0.01
        assert found["probe"] == "linear" and found["penalties"] and not found["learning_rates"]
        one, other = found["values"]["accuracy"]["seeds"]
        assert one == other  # there is one minimum


def test_of_both_heads_validation_chooses(tmp_path):
    both = replace(QUICK, alternatives=(replace(QUICK, head="linear", learning_rates=(), penalties=(1e-2,)),))
    data = pitch_task((40, 16, 24), protocol=both).load()
    extraction = Extraction(tmp_path)
    chosen = evaluate_encoder(LogMel(RATE), data, extraction, ProbingSettings(seeds=2, limited=True))
    alone = {
        head: evaluate_encoder(LogMel(RATE), data, extraction, ProbingSettings(seeds=1, head=head))
        for head in ("mlp", "linear")
    }
    best = max(alone, key=lambda head: alone[head]["validation"])
    assert (alone["mlp"]["probe"], alone["linear"]["probe"]) == ("mlp", "linear")
    assert chosen["probe"] == best and chosen["validation"] == pytest.approx(alone[best]["validation"], abs=0.1)
    assert set(chosen["limited"]) == {"0.01", "0.05", "0.1", "0.2"}
