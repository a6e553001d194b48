"""Teachers that are moving averages of what is trained."""

import copy

import torch
import torch.nn as nn


class MovingAverage(nn.Module):
    """The moving average of some modules, one behind the other: it begins as they are, gets no gradient, and is moved."""

    def __init__(self, *modules: nn.Module):
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(module).requires_grad_(False) for module in modules)
        # in a tuple, so that torch does not see them: they are part of the objective already
        self._followed = modules

    def train(self, mode: bool = True) -> "MovingAverage":
        """Batch normalisation takes the statistics of the batch while training; dropout and LayerDrop stay off."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(mode)
        return self

    @torch.no_grad()
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Through the averages of all modules."""
        for module in self.copies:
            values = module(values)
        return values

    @torch.no_grad()
    def move(self, momentum: float) -> None:
        """average <- momentum * average + (1 - momentum) * followed, for all parameters."""
        torch._foreach_lerp_(list(self.parameters()), self._parameters_followed(), 1 - momentum)

    @torch.no_grad()
    def measure_distance(self) -> torch.Tensor:
        """() norm of the difference of all parameters over the norm of those that are followed."""
        followed = self._parameters_followed()
        differences = torch._foreach_sub(list(self.parameters()), followed)
        norms = [torch.stack(torch._foreach_norm(values)).norm() for values in (differences, followed)]
        return norms[0] / norms[1]

    def _parameters_followed(self) -> list[torch.Tensor]:
        return [parameter.detach() for module in self._followed for parameter in module.parameters()]
