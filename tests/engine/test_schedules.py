import math

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.ramps import cosine_ramp, linear_ramp
from mert_hf.engine.schedules import SCHEDULES
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.updates import Updater


def rates(name, warmup, updates, steps):
    return [SCHEDULES[name](step, warmup, updates) for step in steps]


def test_cosine_rises_on_a_line_and_falls_along_half_a_cosine():
    assert rates("cosine", 10, 110, (0, 9, 10, 60, 110)) == pytest.approx([0.1, 1, 1, 0.5, 0], abs=1e-12)
    assert rates("cosine", 0, 100, (0, 25)) == pytest.approx([1, (1 + math.cos(math.pi / 4)) / 2])


def test_tri_stage_stays_for_90_percent_and_ends_at_a_hundredth():
    """fairseq's tri_stage with phases of 3, 90 and 7 %."""
    steps = (0, 29, 30, 500, 929, 930, 965, 1000)
    expected = [0.01 + 0.99 / 30, 1, 1, 1, 1, 1, 0.1, 0.01]
    assert rates("tri_stage", 30, 1000, steps) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_within_0_and_1_and_never_rise_behind_the_warmup(name):
    shares = rates(name, 20, 200, range(200))
    assert min(shares) >= 0 and max(shares) == 1
    assert all(before >= after for before, after in zip(shares[20:], shares[21:], strict=False))


def test_ramps_at_known_steps():
    assert [cosine_ramp(step, 100, 0.996, 1.0) for step in (0, 50, 100, 200)] == pytest.approx([0.996, 0.998, 1.0, 1.0])
    decays = [linear_ramp(step, 30_000, 0.999, 0.9999) for step in (0, 15_000, 30_000, 60_000)]
    assert decays == pytest.approx([0.999, 0.99945, 0.9999, 0.9999], rel=1e-12)
    assert cosine_ramp(0, 0, 1.0, 2.0) == linear_ramp(0, 0, 1.0, 2.0) == 2.0


def test_the_rate_and_the_weight_decay_of_an_update():
    """Deezer's numbers: 3e-4 to 1e-7, 0.04 to 0.4."""
    settings = TrainingSettings(
        max_steps=100, warmup_steps=0, learning_rate=3e-4, min_learning_rate=1e-7, schedule="cosine", weight_decay=0.04
    )
    updater = Updater.__new__(Updater)
    updater.settings = settings
    assert [updater.rate(step) for step in (0, 50, 100)] == pytest.approx([3e-4, (3e-4 + 1e-7) / 2, 1e-7])
    assert updater.weight_decay(50) == 0.04
    settings.weight_decay_end = 0.4
    assert [updater.weight_decay(step) for step in (0, 50, 100)] == pytest.approx([0.04, 0.22, 0.4])
    with pytest.raises(InputError, match="training.min_learning_rate=0.1 must lie within 0 and training.learning_rate"):
        TrainingSettings(min_learning_rate=0.1)
