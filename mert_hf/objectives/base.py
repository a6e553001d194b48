"""The contract between objectives and the training loop."""

from typing import NamedTuple

import torch
import torch.nn as nn

from mert_hf.common.seeding import Draws

# What an objective computes its loss of: tensors by name.
Batch = dict[str, torch.Tensor | None]
# What its means are taken over: int64 tensors by name, which add up over batches.
Counts = dict[str, torch.Tensor]


class ObjectiveOutput(NamedTuple):
    """Output of an objective.

    Attributes:
        loss: () float, to be minimised; adds up over the parts of a global batch.
        logs: detached numbers to watch, each () or a vector; they add up in the same way.
    """

    loss: torch.Tensor
    logs: dict[str, torch.Tensor]


class Objective(nn.Module):
    """What a model is trained to do.

    The global batch of an update is what all processes hear in all their batches of it. Its loss is a mean over the global
    batch, whichever way it is cut into parts: the loop prepares all parts, adds up what `count` says of them, and gives the sum
    to each call of `forward`, which returns its share of the mean.
    """

    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """Targets and everything drawn for clean clips (batch, samples), whose codes may be known already; keeps no graph.

        In `eval()` nothing is drawn that only makes training harder.
        """
        raise NotImplementedError

    def count(self, batch: Batch) -> Counts:
        """What the means of this batch's loss are taken over."""
        raise NotImplementedError

    def forward(self, batch: Batch, totals: Counts) -> ObjectiveOutput:
        """This batch's share of the loss of the global batch, whose counts are `totals`.

        In `eval()` the logs may hold more, such as what predictions were made.
        """
        raise NotImplementedError

    def summarise(self, logs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Numbers to report, of logs added up over a global batch."""
        return logs

    def state(self) -> dict[str, torch.Tensor]:
        """Numbers to watch that are no means over clips, such as a learnt temperature."""
        return {}

    def after_step(self, step: int) -> None:
        """Move what is not moved by gradients."""

    def moving_buffers(self) -> list[torch.Tensor]:
        """What `forward` itself moves, such as running statistics; an update that is left out puts it back."""
        return []

    def export(self) -> nn.Module:
        """The model to publish."""
        raise NotImplementedError
