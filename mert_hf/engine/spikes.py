"""A guard against updates that stand out: their loss or gradient lies far above those before them."""

import math
from dataclasses import asdict, dataclass

from mert_hf.common.reading import to_dataclass


@dataclass
class _State:
    count: int
    statistics: dict[str, list[float]]


class SpikeGuard:
    """Judges every update by the running mean and deviation of those before it. The paper's recipes do without.

    Args:
        deviations: an update is a spike where a number lies more than so many running standard deviations above its running
            mean; 0 turns the guard off.
        memory_steps: updates over which the running statistics forget; the first so many are only watched.
    """

    def __init__(self, deviations: float, memory_steps: int):
        self.deviations = deviations
        self.memory_steps = memory_steps
        self._state = _State(0, {})

    @property
    def enabled(self) -> bool:
        """Whether it judges at all."""
        return self.deviations > 0

    def find_spikes(self, numbers: dict[str, float]) -> list[str]:
        """Names of the numbers of an update that are spikes; where there are none, the update joins the statistics."""
        spikes = []
        if self.enabled and self._state.count >= self.memory_steps:
            for name, value in numbers.items():
                mean, variance = self._state.statistics[name]
                if value > mean + self.deviations * math.sqrt(variance):
                    spikes.append(name)
        if not spikes:
            self._learn(numbers)
        return spikes

    def state_dict(self) -> dict:
        """The running statistics, as JSON values."""
        return asdict(self._state)

    def load_state_dict(self, state: dict) -> None:
        """Go on with running statistics.

        Raises:
            InputError: they are none.
        """
        self._state = to_dataclass(_State, state, "the state of the guard against spikes")

    def _learn(self, numbers: dict[str, float]) -> None:
        self._state.count += 1
        # the plain mean and variance of the first updates, then exponentially forgetting ones
        share = 1 / min(self._state.count, self.memory_steps)
        for name, value in numbers.items():
            mean, variance = self._state.statistics.get(name, (value, 0.0))
            difference = value - mean
            self._state.statistics[name] = [mean + share * difference, (1 - share) * (variance + share * difference**2)]
