"""Probes of all layers at once: kinds of head and their trials side by side, the best of every layer kept, then other seeds."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.probing.features.cache import Features
from mert_hf.probing.probes.bank import WEIGHTED_SUM, ProbeBank, ProbeShape
from mert_hf.probing.probes.base import TaskProbe, TrainedProbes
from mert_hf.probing.probes.probe_solving import solve_probes
from mert_hf.probing.probes.probe_training import FinishedBank, TrainingSet, train_probes
from mert_hf.tasks.base import ProbeProtocol


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

    def judge(self, found: FinishedBank) -> NDArray:
        """(rates, heads), larger is better: what chooses trial, kind of head and layer; by default what chose the epochs."""
        return found.best

    @abstractmethod
    def answers(self, bank: ProbeBank, rates: NDArray[np.int64]) -> NDArray:
        """Of every head with the trial whose place `rates` (heads,) says, its answers on the test split."""

    def train(self) -> TrainedProbes:
        encoder = self.encoder
        heads = (*encoder.layers, WEIGHTED_SUM) if self.summed else encoder.layers
        found = [self._try(plan, len(heads)) for plan in self.plans]
        validation = np.stack([bank.best.max(axis=0) for bank in found])
        plans, places = validation.argmax(axis=0), np.arange(len(heads))
        # of every plan and head, the trial that is best in validation
        trials = np.stack([bank.best.argmax(axis=0) for bank in found])
        tried = [self.plans[plan].trials[trials[plan, place]] for place, plan in enumerate(plans)]
        solved = [bool(self.plans[plan].penalties) for plan in plans]
        given = [self.answers(bank.bank, chosen) for bank, chosen in zip(found, trials, strict=True)]
        shares = [bank.bank.layer_shares()[chosen[-1]].tolist() for bank, chosen in zip(found, trials, strict=True)]
        first = TrainedProbes(
            heads,
            validation.max(axis=0)[None],
            [_of_plans(given, plans)],
            dict(zip(heads, tried, strict=True)),
            {heads[n]: int(found[plans[n]].epochs[trials[plans[n], n], n]) for n in places if not solved[n]},
            shares[plans[-1]] if self.summed else None,
            {head: self.plans[plan].head for head, plan in zip(heads, plans, strict=True)},
            frozenset(head for head, is_solved in zip(heads, solved, strict=True) if is_solved),
            tuple(int(plan) for plan in plans),
        )
        others = [self._again(self.training_set(), seed, first, same_examples=True) for seed in range(1, self.settings.seeds)]
        return replace(
            first,
            validation=np.stack([first.validation[0], *(best for best, _ in others)]),
            answers=[*first.answers, *(answers for _, answers in others)],
        )

    def train_on(self, chosen, seed, trained):
        return self._again(self.training_set(chosen), seed, trained, same_examples=False)[1]

    @cached_property
    def plans(self) -> tuple[ProbeProtocol, ...]:
        """The probes that are tried: that of the protocol and its alternatives, or those with the head that was asked for."""
        protocol, head = self.data.task.protocol, self.settings.head
        plans = (protocol, *protocol.alternatives)
        fitting = tuple(plan for plan in plans if head in (None, plan.head))
        return fitting or (replace(protocol, head=head, penalties=()),)  # none of them is solved

    def _try(self, plan: ProbeProtocol, heads: int) -> FinishedBank:
        found = self._train(plan, self.training_set(), np.repeat(np.array(plan.trials)[:, None], heads, axis=1), 0)
        return replace(found, best=self.judge(found))

    def _again(
        self, training_set: TrainingSet, seed: int, trained: TrainedProbes, same_examples: bool
    ) -> tuple[NDArray, NDArray]:
        """Validation and answers by head of probes with the trials that were chosen, from another seed or other examples.

        On the same examples, what was solved does not depend on the seed, and is not solved again.
        """
        validation, answers = trained.validation[0].copy(), np.array(trained.answers[0])
        for number in sorted({*trained.plans}):
            plan, own = self.plans[number], np.array(trained.plans) == number
            if plan.penalties and same_examples:
                continue
            # heads of other plans take part with a trial of this one, and do not count
            trials = np.where(own, [*trained.trials.values()], plan.trials[0])[None]
            bank = self._train(plan, training_set, trials, seed, shown=same_examples)
            answers[own] = self._only_answers(bank.bank)[own]
            if same_examples:
                validation[own] = self.judge(bank)[0, own]
        return validation, answers

    def _train(
        self, plan: ProbeProtocol, training_set: TrainingSet, trials: NDArray, seed: int, shown: bool = True
    ) -> FinishedBank:
        """Probes with (rates, heads) learning rates or penalties."""
        device = torch.device(self.settings.device)
        shape = ProbeShape(
            len(self.encoder.layers),
            self.features["train"].hidden_size,
            self.outputs,
            len(trials),
            plan.head,
            plan.hidden_size,
            plan.dropout if plan.head == "mlp" else 0.0,
            plan.bias,
            self.summed,
        )
        if plan.penalties:
            return solve_probes(training_set, self.losses, self.validate, shape, trials, seed, device)
        title = f"{self.data.task.title}: probes on {self.encoder.title}" if shown else ""
        return train_probes(training_set, self.losses, self.validate, shape, trials, plan, seed, device, title)

    def _only_answers(self, bank: ProbeBank) -> NDArray:
        """Answers of a bank of one trial a head."""
        return self.answers(bank, np.zeros(bank.shape.heads, dtype=np.int64))


def _of_plans(given: Sequence[NDArray], plans: NDArray[np.int64]) -> NDArray:
    """Of every head, the answers of the plan that was chosen for it."""
    return np.stack([given[plan][place] for place, plan in enumerate(plans)])
