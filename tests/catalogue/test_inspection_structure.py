"""Self-similarity, novelty and borders, against loops over single numbers and on sounds whose sections are known."""

import math

import numpy as np
import pytest

from mert_hf.catalogue.inspection.structure import (
    LEAST_NOVELTY,
    MOST_STEPS,
    TimeScale,
    layer_energy,
    novelty_curve,
    pick_borders,
    self_similarity,
)


def blocks(lengths, hidden=16, noise=0.3, seed=0) -> np.ndarray:
    """(steps, hidden) sections of so many steps, each about a point of its own."""
    random = np.random.default_rng(seed)
    centres = [np.repeat(random.standard_normal((1, hidden)), length, axis=0) for length in lengths]
    return np.concatenate(centres) + noise * random.standard_normal((sum(lengths), hidden))


def novelty_by_loops(similarity, reach):
    """Foote's kernel, cell by cell: like weighs plus, unlike minus, each part by its own sum of weights."""
    steps, found = len(similarity), [0.0]
    for border in range(1, steps):
        sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
        for row in range(steps):
            for column in range(steps):
                down, across = row + 0.5 - border, column + 0.5 - border
                if max(abs(down), abs(across)) > reach or row == column:
                    continue
                weight = math.exp(-2 * (down**2 + across**2) / reach**2)
                part = sums[(row < border) == (column < border)]
                part[0] += weight * similarity[row][column]
                part[1] += weight
        means = {same: total / weight if weight else 0.0 for same, (total, weight) in sums.items()}
        found.append(means[True] - means[False])
    return found


@pytest.mark.parametrize(("lengths", "reach"), [((20, 13, 17), 8), ((3, 4), 8), ((30,), 3), ((2,), 8), ((1,), 8)])
def test_novelty_is_that_of_single_cells(lengths, reach):
    similarity = self_similarity(blocks(lengths))
    np.testing.assert_allclose(novelty_curve(similarity, reach), novelty_by_loops(similarity.tolist(), reach), atol=2e-6)


def test_similarity_is_the_cosine_of_standard_scores():
    features = blocks((6, 5), noise=1.0) * np.logspace(-3, 3, 16) + np.linspace(-50, 50, 16)
    scores = [(column - np.mean(column)) / np.std(column) for column in features.T]
    rows = np.transpose(scores)
    expected = [[a @ b / math.sqrt((a @ a) * (b @ b)) for b in rows] for a in rows]
    np.testing.assert_allclose(self_similarity(features), expected, atol=1e-6)
    # scales and places of the dimensions say nothing
    np.testing.assert_allclose(self_similarity(3 * features - 7), expected, atol=1e-6)


def test_silence_and_noise_have_no_sections():
    random = np.random.default_rng(0)
    # what differs in the last digits is rounding, not music
    silence = (5 + random.uniform(-1, 1, 16) + 1e-7 * random.standard_normal((200, 16))).astype(np.float32)
    assert np.abs(self_similarity(silence)).max() < 0.03
    for features in (silence, random.standard_normal((400, 64))):
        assert not len(pick_borders(novelty_curve(self_similarity(features), 24), 24))


@pytest.mark.parametrize("reach", [8, 12, 24])
def test_borders_lie_where_sections_meet(reach):
    lengths = (40, 30, 55, 25, 50)
    novelty = novelty_curve(self_similarity(blocks(lengths, hidden=32)), reach)
    assert pick_borders(novelty, reach).tolist() == np.cumsum(lengths)[:-1].tolist()


def test_a_section_that_returns_is_alike():
    features = blocks((20, 20), noise=0.1)
    similarity = self_similarity(np.concatenate([features, features[:20]]))
    assert similarity[:20, 40:].mean() > 0.5 > 0 > similarity[:20, 20:40].mean()


def test_borders_are_apart_and_neither_at_an_end_nor_low():
    novelty = np.zeros(100, dtype=np.float32)
    novelty[[2, 30, 33, 60, 80, 97]] = [0.9, 0.8, 0.7, 0.9 * LEAST_NOVELTY, 0.5, 0.9]
    assert pick_borders(novelty, 8).tolist() == [30, 80]  # 2 and 97 are within half a reach of an end, 33 of 30
    novelty[30:34] = 0.8  # a plateau is one border
    assert pick_borders(novelty, 8).tolist() == [30, 80]
    assert pick_borders(novelty[:8], 8).tolist() == []


@pytest.mark.parametrize("duration_s", [0.02, 0.5, 5, 20, 60, 200, 600, 3600, 7200, 36000])
@pytest.mark.parametrize(("rate", "hop"), [(24000, 320), (24000, 960), (16000, 320)])
def test_the_scale_fits_tracks_of_any_length(duration_s, rate, hop):
    num_samples = round(duration_s * rate)
    scale = TimeScale.of(num_samples, rate, hop)
    steps, reach_s = num_samples / scale.step_samples, scale.reach_steps * scale.step_samples / rate
    assert hop <= scale.step_samples
    assert steps <= MOST_STEPS + 1
    if duration_s >= 5:
        assert steps >= 60  # something to see
        assert scale.reach_steps >= 8 and reach_s <= 0.15 * duration_s
    if 32 <= duration_s <= 600:
        assert scale.step_samples == rate // 2
    if 96 <= duration_s <= 600:
        assert reach_s == 12
    if duration_s >= 3600:
        assert abs(reach_s - duration_s / 60) < 0.05 * reach_s


def test_energy_is_that_of_what_changes_relative_to_its_mean():
    features = np.stack([blocks((5, 7)), 100 + 10 * blocks((12,), seed=1)])
    expected = []
    for layer in features:
        distances = [sum((value - layer[:, place].mean()) ** 2 for place, value in enumerate(step)) for step in layer]
        expected.append([10 * math.log10(distance / np.mean(distances)) for distance in distances])
    np.testing.assert_allclose(layer_energy(features), expected, atol=1e-4)
    assert np.isfinite(layer_energy(np.ones((2, 4, 3)))).all()  # silence
