"""What every objective gives back."""

from typing import NamedTuple

import torch


class ObjectiveOutput(NamedTuple):
    """Output of an objective.

    Attributes:
        loss: () float, to be minimised.
        logs: detached numbers to watch, each () or a vector.
    """

    loss: torch.Tensor
    logs: dict[str, torch.Tensor]
