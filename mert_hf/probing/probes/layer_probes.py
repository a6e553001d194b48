"""Probes of all layers at once: learning rates tried side by side, the best of every head kept, then other seeds."""

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.probing.features.cache import Features
from mert_hf.probing.probes.bank import WEIGHTED_SUM, ProbeBank, ProbeShape
from mert_hf.probing.probes.base import TaskProbe, TrainedProbes
from mert_hf.probing.probes.probe_training import FinishedBank, TrainingSet, train_probes


class LayerProbes(TaskProbe):
    """A bank of small heads on cached features; see [`TaskProbe`]."""

    features: dict[str, Features]  # by split
    outputs: int  # numbers a head gives

    @abstractmethod
    def training_set(self, chosen: NDArray[np.int64] | None = None) -> TrainingSet:
        """What to learn from: all training examples, or those chosen."""

    @abstractmethod
    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `train_probes`."""

    @abstractmethod
    def validate(self, bank: ProbeBank) -> NDArray:
        """(rates, heads), larger is better."""

    @abstractmethod
    def answers(self, bank: ProbeBank, rates: NDArray[np.int64]) -> NDArray:
        """Of every head with the learning rate that `rates` (heads,) says, its answers on the test split."""

    def train(self) -> TrainedProbes:
        protocol, encoder = self.data.task.protocol, self.encoder
        tried = np.array(protocol.learning_rates or (protocol.learning_rate,))
        heads = (*encoder.layers, WEIGHTED_SUM) if self.summed else encoder.layers
        first = self._train(self.training_set(), np.repeat(tried[:, None], len(heads), axis=1), 0)
        chosen = first.best.argmax(axis=0)
        rates = dict(zip(heads, tried[chosen].tolist(), strict=True))
        validation, answers = [first.best.max(axis=0)], [self.answers(first.bank, chosen)]
        for seed in range(1, self.settings.seeds):
            again = self._train(self.training_set(), _one_each(rates), seed)
            validation.append(again.best[0])
            answers.append(self._only_answers(again.bank))
        return TrainedProbes(
            heads,
            np.stack(validation),
            answers,
            rates,
            dict(zip(heads, first.epochs[chosen, np.arange(len(heads))].tolist(), strict=True)),
            first.bank.layer_shares()[chosen[-1]].tolist() if self.summed else None,
        )

    def train_on(self, chosen, seed, trained):
        found = self._train(self.training_set(chosen), _one_each(trained.learning_rates), seed, shown=False)
        return self._only_answers(found.bank)

    def _train(self, training_set: TrainingSet, rates: NDArray, seed: int, shown: bool = True) -> FinishedBank:
        """Probes with (rates, heads) learning rates."""
        protocol, device = self.data.task.protocol, torch.device(self.settings.device)
        head = self.settings.head or protocol.head
        shape = ProbeShape(
            len(self.encoder.layers),
            self.features["train"].hidden_size,
            self.outputs,
            len(rates),
            head,
            protocol.hidden_size,
            protocol.dropout if head == "mlp" else 0.0,
            protocol.bias,
            self.summed,
        )
        title = f"{self.data.task.title}: probes on {self.encoder.title}" if shown else ""
        return train_probes(training_set, self.losses, self.validate, shape, rates, protocol, seed, device, title)

    def _only_answers(self, bank: ProbeBank) -> NDArray:
        """Answers of a bank of one learning rate a head."""
        return self.answers(bank, np.zeros(bank.shape.heads, dtype=np.int64))


def _one_each(rates: dict[str, float]) -> NDArray:
    return np.array([[*rates.values()]])
