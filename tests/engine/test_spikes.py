import json
import math

import numpy as np

from mert_hf.engine.spikes import SpikeGuard


def test_a_spike_lies_k_running_deviations_above_the_running_mean():
    """Against mean and deviation worked out by numpy, while the guard still remembers everything."""
    values = np.random.default_rng(0).normal(10, 1, 50)
    guard = SpikeGuard(4.0, memory_steps=50)
    for value in values:
        assert guard.find_spikes({"loss": value, "gradient norm": 1.0 + value}) == []
    limit = values.mean() + 4 * values.std()
    assert guard.find_spikes({"loss": limit + 1e-6, "gradient norm": 1.0}) == ["loss"]
    assert guard.find_spikes({"loss": 1.0, "gradient norm": 1 + limit + 1e-6}) == ["gradient norm"]
    assert guard.find_spikes({"loss": limit - 1e-6, "gradient norm": limit}) == []


def test_spikes_do_not_move_the_statistics_and_the_first_updates_are_only_watched():
    guard = SpikeGuard(3.0, memory_steps=10)
    for step in range(10):
        assert guard.find_spikes({"loss": 100.0 if step == 3 else 1.0}) == []
    guard = SpikeGuard(3.0, memory_steps=10)
    for step in range(10):
        guard.find_spikes({"loss": 1.0 + 0.1 * (step % 2)})
    before = json.dumps(guard.state_dict())
    assert all(guard.find_spikes({"loss": 50.0}) == ["loss"] for _ in range(5))
    assert json.dumps(guard.state_dict()) == before


def test_it_forgets_exponentially_and_goes_on_from_its_state():
    guard = SpikeGuard(3.0, memory_steps=4)
    mean = 0.0
    for step, value in enumerate([1.0, 2.0, 3.0, 2.0, 2.5, 2.4]):
        assert guard.find_spikes({"loss": value}) == []
        mean += (value - mean) / min(step + 1, 4)
    assert math.isclose(guard.state_dict()["statistics"]["loss"][0], mean)
    again = SpikeGuard(3.0, memory_steps=4)
    again.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert again.find_spikes({"loss": 9.0}) == guard.find_spikes({"loss": 9.0}) == ["loss"]
    assert again.state_dict() == guard.state_dict()


def test_it_is_off_by_default():
    guard = SpikeGuard(0.0, memory_steps=1)
    assert not any(guard.find_spikes({"loss": value}) for value in (1.0, 1.0, 1e9))
