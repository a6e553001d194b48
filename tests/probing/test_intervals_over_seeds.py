"""How often an interval over training seeds and test examples holds the truth, found by simulation."""

import numpy as np
import pytest

from mert_hf.probing.report.intervals import bootstrap_draws, interval_over_seeds

EXAMPLES, DRAWS, TRIALS = 100, 200, 600
COUNTS = np.stack(
    [
        np.bincount(np.random.default_rng(draw).integers(EXAMPLES, size=EXAMPLES), minlength=EXAMPLES) / EXAMPLES
        for draw in range(DRAWS)
    ]
)


def simulate(seeds: int, of_seeds: float, of_examples: float, of_both: float) -> tuple[float, float, float]:
    """Share of the intervals that hold the true mean 0: ours, percentiles over seeds alone, and over examples alone."""
    rng = np.random.default_rng(7)
    held = np.zeros(3)
    for _ in range(TRIALS):
        values = of_seeds * rng.standard_normal((seeds, 1)) + of_examples * rng.standard_normal((1, EXAMPLES))
        values = values + of_both * rng.standard_normal((seeds, EXAMPLES))
        draws = COUNTS @ values.mean(axis=0)
        ends = [interval_over_seeds(values.mean(axis=1), draws, EXAMPLES)]
        picks = rng.integers(seeds, size=(200, seeds))
        ends += [np.percentile(values.mean(axis=1)[picks].mean(axis=1), (2.5, 97.5)), np.percentile(draws, (2.5, 97.5))]
        held += [low <= 0 <= high for low, high in ends]
    return tuple(held / TRIALS)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("of_seeds", "of_examples", "of_both"),
    [(1.0, 0.1, 0.1), (0.1, 1.0, 0.0), (0.1, 1.0, 1.0), (0.03, 0.3, 0.3), (0.0, 0.0, 1.0)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, of_seeds, of_examples, of_both):
    held, _, _ = simulate(seeds, of_seeds, of_examples, of_both)
    # of 600 trials, 0.95 minus two deviations; two seeds that agree by chance hide their variance (0.922 found)
    assert held >= (0.93 if seeds > 2 else 0.91)
    if of_seeds == 1.0:  # nothing counts twice: nor is it wider than it need be
        assert held <= 0.985


def test_plainer_intervals_hold_it_far_too_seldom():
    _, over_seeds, over_examples = simulate(3, 1.0, 0.1, 0.1)
    assert over_seeds < 0.8 and over_examples < 0.3


def test_it_is_students_where_examples_leave_no_doubt_and_the_normal_one_where_seeds_agree():
    values = np.array([1.0, 2.0, 3.0])
    low, high = interval_over_seeds(values, np.full(10, 2.0), 100)
    assert (low, high) == pytest.approx((2 - 4.303 / np.sqrt(3), 2 + 4.303 / np.sqrt(3)), abs=1e-3)  # t of two degrees
    draws = 2 + 0.5 * np.random.default_rng(0).standard_normal(5000)
    low, high = interval_over_seeds([2.0, 2.0], draws, 10_000)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5, rel=0.02)
    assert interval_over_seeds([1.0, 1.0], [1.0, 1.0], 5) == (1.0, 1.0)
    with pytest.raises(ValueError, match="one seed says nothing"):
        interval_over_seeds([1.0], draws, 10)


def test_draws_are_of_the_same_examples_whatever_is_scored():
    values = np.random.default_rng(0).random((2, 50))
    one, other, both = (
        np.array(bootstrap_draws(lambda chosen, found=found: [{"x": float(found[chosen].mean())}], 50, 40)["x"])
        for found in (values[0], values[1], values[0] - values[1])
    )
    np.testing.assert_allclose(one - other, both, atol=1e-12)
