"""The small networks between an encoder's embedding and a loss; they are not part of the published model."""

from collections.abc import Sequence

import torch.nn as nn

from mert_hf.objectives.across_processes import GlobalBatchNorm


class Head(nn.Sequential):
    """Linear layers without bias; behind all but the last normalisation over the batch of all processes and ReLU.

    Deezer's projector is 1024 -> 1024 -> 1024 -> 2048, 4,198,400 parameters (section 2.2 of the comparison, and its code).

    Args:
        in_size: size of the input.
        sizes: of the output of each layer.
    """

    def __init__(self, in_size: int, sizes: Sequence[int]):
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [nn.Linear(in_size, size, bias=False), GlobalBatchNorm(size), nn.ReLU()]
            in_size = size
        super().__init__(*layers, nn.Linear(in_size, sizes[-1], bias=False))
