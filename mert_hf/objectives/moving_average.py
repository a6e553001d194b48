"""Moving averages of what is trained: teachers, and the weights that are saved in place of the last ones."""

import contextlib
import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn as nn


@torch.no_grad()
def move_average(average: Sequence[torch.Tensor], followed: Sequence[torch.Tensor], momentum: float) -> None:
    """average <- momentum * average + (1 - momentum) * followed, in place."""
    torch._foreach_lerp_(list(average), list(followed), 1 - momentum)


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

    def move(self, momentum: float) -> None:
        """As [`move_average`], for all parameters."""
        move_average(list(self.parameters()), self._parameters_followed(), momentum)

    @torch.no_grad()
    def measure_distance(self) -> torch.Tensor:
        """() norm of the difference of all parameters over the norm of those that are followed."""
        followed = self._parameters_followed()
        differences = torch._foreach_sub(list(self.parameters()), followed)
        norms = [torch.stack(torch._foreach_norm(values)).norm() for values in (differences, followed)]
        return norms[0] / norms[1]

    def _parameters_followed(self) -> list[torch.Tensor]:
        return [parameter.detach() for module in self._followed for parameter in module.parameters()]


class AverageWeights:
    """The moving average of all that a model learns, which can take the place of the weights for a while.

    Args:
        followed: by name, the tensors that are averaged; they must stay where they are.
        decay: of the average far from the beginning.
    """

    def __init__(self, followed: dict[str, torch.Tensor], decay: float):
        self.decay = decay
        self._followed = {name: value.detach() for name, value in followed.items()}
        self._average = {name: value.clone() for name, value in self._followed.items()}

    def move(self, step: int) -> None:
        """Move by update `step` (0, 1, 2 ...).

        The decay begins at a tenth and rises as in tf.train.ExponentialMovingAverage: the weights that a run begins with would
        count for long otherwise.
        """
        momentum = min(self.decay, (1 + step) / (10 + step))
        move_average(list(self._average.values()), list(self._followed.values()), momentum)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average where the weights are; behind it the weights are back, bit by bit."""
        kept = {name: value.clone() for name, value in self._followed.items()}
        _copy(self._average, self._followed)
        try:
            yield
        finally:
            _copy(kept, self._followed)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The average by name, as it is now."""
        return {name: value.clone(memory_format=torch.contiguous_format) for name, value in self._average.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from an average; KeyError where it lacks a name, RuntimeError where a size differs."""
        _copy({name: state[name] for name in self._average}, self._average)


@torch.no_grad()
def _copy(values: dict[str, torch.Tensor], into: dict[str, torch.Tensor]) -> None:
    for name, place in into.items():
        place.copy_(values[name])
