"""Training a bank of probes: every head has its own learning rate, its own plateau and its own best epoch in validation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mert_hf.common.seeding import generator, seed_torch
from mert_hf.probing.features.cache import Features
from mert_hf.probing.probes.bank import AdamPerProbe, ProbeBank, ProbeShape
from mert_hf.tasks.base import ProbeProtocol

# rows that go through the probes at once where nothing is learnt
READ_ROWS = 4096
# most that the inputs of all probes take at once; with what is kept for the gradient, training takes a few times as much
INPUT_BYTES = 2**30
# rows from which mean and deviation of the training split are taken
STATISTICS_ROWS = 20_000

Validate = Callable[[ProbeBank], NDArray]
"""(rates, heads): how good every probe is on the validation split; larger is better."""


@dataclass(frozen=True)
class TrainingSet:
    """What probes learn from."""

    features: Features  # of the training split
    rows: list[NDArray[np.int64]]  # of every window, the numbers of its rows: one, or its frames
    targets: NDArray  # of every window; of every row of the features where there are crops
    crop_rows: int | None = None  # frames of a random crop, another one every epoch; None takes one row a window

    def epoch(self, draws: np.random.Generator, batch_size: int, steps: int | None) -> Iterator[tuple[NDArray, NDArray]]:
        """Batches of rows of the features and their targets in a fresh order: once through all windows, or `steps` batches."""
        order = draws.permutation(len(self.rows))
        if steps is not None:
            rounds = -(-steps * batch_size // len(order))
            order = np.concatenate([order, *(draws.permutation(len(order)) for _ in range(rounds - 1))])[: steps * batch_size]
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            if self.crop_rows is None:
                yield np.concatenate([self.rows[place] for place in chosen]), self.targets[chosen]
                continue
            crops = []
            for place in chosen:
                rows = self.rows[place]
                first = int(draws.integers(max(len(rows) - self.crop_rows, 0) + 1))
                crops.append(rows[first : first + self.crop_rows])
            taken = np.concatenate(crops)
            yield taken, self.targets[taken]


@dataclass(frozen=True)
class FinishedBank:
    """Probes with the weights of their best epochs."""

    bank: ProbeBank  # of the probes
    best: NDArray  # (rates, heads) of the validation split at those epochs
    epochs: NDArray  # (rates, heads) which they were, counted from 1; iterations of what was solved


def train_probes(
    training_set: TrainingSet,
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    validate: Validate,
    shape: ProbeShape,
    rates: NDArray,
    protocol: ProbeProtocol,
    seed: int,
    device: torch.device,
    title: str = "",
) -> FinishedBank:
    """Train until every probe has stopped getting better or the epochs are over.

    Args:
        losses: logits (rates, heads, batch, outputs) and targets -> (rates, heads).
        validate: see [`Validate`]; asked after every epoch, it alone chooses the epoch.
        rates: (rates, heads) learning rates at the start.
        protocol: epochs, batches, patience and weight decay.
        seed: of weights, order, crops and dropout.
        title: of the progress bar; "" shows none.
    """
    seed_torch(seed, "probe weights")
    bank = ProbeBank(shape, *statistics_of(training_set, seed)).to(device)
    optimizer = AdamPerProbe(bank, torch.tensor(rates, dtype=torch.float32, device=device), protocol.weight_decay)
    best = np.full((shape.rates, shape.heads), -np.inf)
    epochs, since_better, since_change = (np.zeros(best.shape, dtype=np.int64) for _ in range(3))
    kept = bank.snapshot()
    stopped = np.zeros(best.shape, dtype=bool)
    for epoch in tqdm(range(1, protocol.max_epochs + 1), desc=title, unit="epoch", leave=False, disable=not title):
        bank.train()
        seed_torch(seed, "probe dropout", epoch)
        draws = generator(seed, "probe order", epoch)
        for rows, targets in training_set.epoch(draws, protocol.batch_size, protocol.steps_per_epoch):
            for part in parts_of(len(rows), shape):
                features = torch.from_numpy(training_set.features.take(rows[part])).to(device)
                loss = losses(bank(features), torch.from_numpy(targets[part]).to(device)).sum()
                # the mean over the batch is that over its parts, each by its share
                (loss * (len(features) / len(rows))).backward()
            optimizer.step()
        found = validate(bank)
        better = (found > best) & ~stopped
        best[better], epochs[better] = found[better], epoch
        bank.keep_better(kept, torch.from_numpy(better).to(device))
        since_better = np.where(better, 0, since_better + 1)
        since_change = np.where(better, 0, since_change + 1)
        if protocol.plateau_patience is not None:
            flat = since_change > protocol.plateau_patience
            optimizer.rates[torch.from_numpy(flat).to(device)] *= 0.5
            since_change[flat] = 0
        if protocol.stop_patience is not None:
            stopped |= since_better >= protocol.stop_patience
            if stopped.all():
                break
    bank.restore(kept)
    return FinishedBank(bank.eval(), best, epochs)


@torch.no_grad()
def read_probes(bank: ProbeBank, features: Features, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(rates, heads, rows, outputs) logits of all probes."""
    bank.eval()
    device = bank.mean.device
    parts = []
    for part in parts_of(len(rows), bank.shape, READ_ROWS):
        batch = torch.from_numpy(features.take(rows[part])).to(device)
        parts.append(bank(batch).cpu().numpy())
    return np.concatenate(parts, axis=2)


def parts_of(rows: int, shape: ProbeShape, most: int | None = None) -> Iterator[slice]:
    """Parts of a batch, so large that the inputs of all probes keep to `INPUT_BYTES`."""
    row_bytes = 4 * shape.rates * shape.heads * shape.hidden_size
    size = max(1, min(INPUT_BYTES // row_bytes, most or rows))
    return (slice(start, start + size) for start in range(0, rows, size))


def statistics_of(training_set: TrainingSet, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (layers, hidden) of the features that are learnt from, of many rows from some drawn by the seed."""
    rows = np.concatenate(training_set.rows)
    if len(rows) > STATISTICS_ROWS:
        rows = np.sort(generator(seed, "probe statistics").choice(rows, STATISTICS_ROWS, replace=False))
    taken = torch.from_numpy(training_set.features.take(rows))
    return taken.mean(dim=0), taken.std(dim=0, unbiased=False)
