"""What a loss over the whole batch needs of the other processes: their clips and their statistics, with gradients.

Gradients are those of the sum of all processes' losses. A process that returns its share of one loss therefore gets exactly the
gradient that one process with the whole batch would compute.
"""

import functools
from collections.abc import Callable

import torch
import torch.distributed as distributed
import torch.nn as nn
from torch.distributed.nn.functional import all_gather, all_reduce

from mert_hf.models.code_head_mert import at_least_float32


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather(values: torch.Tensor) -> torch.Tensor:
    """(rows, ...) of this process -> (rows of all processes, ...), in the order of the processes; rows may differ in number."""
    if world_size() == 1:
        return values
    counts = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(world_size())]
    distributed.all_gather(counts, torch.tensor([len(values)], device=values.device))
    most = int(max(counts))
    padded = torch.cat([values, values.new_zeros(most - len(values), *values.shape[1:])])
    return torch.cat([part[: int(count)] for part, count in zip(all_gather(padded), counts, strict=True)])


def in_float32(loss: Callable) -> Callable:
    """A loss of two batches of vectors, computed in float32 also under autocast.

    Its matrix products would be half precision there: in bfloat16 the gradients of NT-Xent and Barlow Twins are 2 % off
    (measured with 64 vectors of 256).
    """

    @functools.wraps(loss)
    def computed(first: torch.Tensor, second: torch.Tensor, *args, **kwargs):
        with torch.autocast(first.device.type, enabled=False):
            return loss(at_least_float32(first), at_least_float32(second), *args, **kwargs)

    return computed


def add_up(values: torch.Tensor) -> torch.Tensor:
    """Sum over the processes, element by element."""
    return values if world_size() == 1 else all_reduce(values)


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batch of all processes, on any device (torch's own SyncBatchNorm needs a GPU)."""

    def _check_input_dim(self, values: torch.Tensor) -> None:
        if values.ndim < 2:
            raise ValueError(f"batch normalisation takes (batch, channels, ...); got {tuple(values.shape)}.")

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, channels, ...) -> the same."""
        if world_size() == 1 or not self.training:
            return super().forward(values)
        axes = [axis for axis in range(values.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(values.ndim)]
        with torch.autocast(values.device.type, enabled=False):
            exact = at_least_float32(values)  # statistics over a batch need the digits
            count = add_up(exact.new_tensor(exact.numel() / exact.shape[1]))
            mean = add_up(exact.sum(axes)) / count
            centred = exact - mean.view(shape)
            variance = add_up(centred.square().sum(axes)) / count
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            normalised = centred * (variance + self.eps).rsqrt().view(shape)
            if self.affine:
                normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(values.dtype)


def normalise_globally(module: nn.Module) -> nn.Module:
    """Put [`GlobalBatchNorm`] in place of every batch normalisation of a module; weights, statistics and names stay."""
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            replacement = GlobalBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            replacement.load_state_dict(child.state_dict())
            setattr(module, name, replacement.train(child.training).to(child.running_mean.device))
        else:
            normalise_globally(child)
    return module
