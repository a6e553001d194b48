"""Random numbers as a function of what they are for, so that no random state has to be saved.

Every draw of a training run comes from a generator named by the run's seed, a purpose and counters (step, rank, clip). A run
that is stopped and resumed, or read by another number of workers, therefore draws the same numbers.
"""

import zlib
from dataclasses import dataclass

import numpy as np


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A fresh generator for one purpose: equal arguments give equal draws, different ones independent draws.

    Args:
        seed: of the run, 0 or more.
        purpose: what is drawn, such as "mask".
        counters: which of them, such as step and rank; 0 or more.
    """
    return np.random.default_rng(_entropy(seed, purpose, counters))


def seed_torch(seed: int, purpose: str, *counters: int) -> None:
    """Set torch's global state, which dropout and LayerDrop read, to that of one purpose (all devices)."""
    import torch

    state = np.random.SeedSequence(_entropy(seed, purpose, counters)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(state))


@dataclass(frozen=True)
class Draws:
    """Where a batch stands in a run, and with that everything that is drawn for it.

    Attributes:
        seed: of the run.
        step: the update the batch belongs to.
        batch: which batch of its process, counted from the start of the run.
    """

    seed: int
    step: int = 0
    batch: int = 0
    rank: int = 0

    def for_batch(self, purpose: str) -> np.random.Generator:
        """A generator of this batch alone."""
        return generator(self.seed, purpose, self.batch, self.rank)

    def for_update(self, purpose: str) -> np.random.Generator:
        """A generator that all batches of the update share, on all processes."""
        return generator(self.seed, purpose, self.step)

    def seed_torch(self, purpose: str) -> None:
        """Set torch's global state for this batch alone."""
        seed_torch(self.seed, purpose, self.batch, self.rank)


def _entropy(seed: int, purpose: str, counters: tuple[int, ...]) -> list[int]:
    return [seed, zlib.crc32(purpose.encode()), *counters]
