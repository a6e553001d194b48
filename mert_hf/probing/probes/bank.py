"""Probes: small heads on frozen features, one a layer and one on a learned weighted sum of layers, all trained together.

Heads of all layers and trials (learning rates, or penalties) are slices of the same tensors, so that a step of all of them is
a few batched matrix products. No head sees another's gradient: every head has its own weights and its own step size, and the
sum of all losses separates into theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from mert_hf.common.errors import InputError

# name of the probe on the weighted sum, beside those of the layers
WEIGHTED_SUM = "weighted sum"
# torch's defaults
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class ProbeShape:
    """Sizes of a bank of probes."""

    layers: int  # of the features
    hidden_size: int  # of the features
    outputs: int  # numbers a probe gives
    rates: int = 1  # trials side by side: learning rates, or penalties
    head: str = "mlp"  # linear, ReLU, dropout, linear; or "linear"
    width: int = 512
    dropout: float = 0.2  # of a linear head: of its input
    bias: bool = True
    summed: tuple[int, ...] = ()  # places of the layers in the weighted sum; none leaves it out

    @property
    def heads(self) -> int:
        """Probes a trial."""
        return self.layers + bool(self.summed)


class ProbeBank(nn.Module):
    """All probes of a task.

    Features are standardised by the mean and deviation (layers, hidden) of the training split, layer by layer: layers differ in
    scale, and no learning rate would suit all of them.
    """

    def __init__(self, shape: ProbeShape, mean: torch.Tensor, deviation: torch.Tensor):
        super().__init__()
        if shape.head not in ("mlp", "linear"):
            raise InputError(f"a probe is 'mlp' or 'linear', not {shape.head!r}.")
        self.shape = shape
        self.register_buffer("mean", mean)
        self.register_buffer("scale", 1 / deviation.clamp(min=1e-6))
        lead = (shape.rates, shape.heads)
        sizes = [shape.hidden_size, shape.width, shape.outputs] if shape.head == "mlp" else [shape.hidden_size, shape.outputs]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for size, following in zip(sizes, sizes[1:], strict=False):
            bound = size**-0.5  # as torch.nn.Linear is initialised
            self.weights.append(nn.Parameter(torch.empty(*lead, size, following).uniform_(-bound, bound)))
            if shape.bias:
                self.biases.append(nn.Parameter(torch.empty(*lead, 1, following).uniform_(-bound, bound)))
        # equal shares at first, as in s3prl; MARBLE draws them
        self.layer_logits = nn.Parameter(torch.zeros(shape.rates, len(shape.summed)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, layers, hidden) -> (rates, heads, batch, outputs)."""
        return self.read(self.standardise(features))

    def standardise(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, layers, hidden) -> the same, by mean and deviation of the training split."""
        return (features - self.mean) * self.scale

    def read(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, layers, hidden) standardised -> (rates, heads, batch, outputs)."""
        shape = self.shape
        if shape.head == "linear":
            features = F.dropout(features, shape.dropout, self.training)
        hidden = self._first_products(features)
        if shape.bias:
            hidden = hidden + self.biases[0]
        for number in range(1, len(self.weights)):
            hidden = F.dropout(hidden.relu(), shape.dropout, self.training)
            weight = self.weights[number].flatten(0, 1)
            if shape.bias:
                hidden = torch.baddbmm(self.biases[number].flatten(0, 1), hidden.flatten(0, 1), weight)
            else:
                hidden = torch.bmm(hidden.flatten(0, 1), weight)
            hidden = hidden.unflatten(0, (shape.rates, shape.heads))
        return hidden

    def _first_products(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, layers, hidden) standardised -> (rates, heads, batch, following).

        All trials of a layer share its features: their weights side by side are one matrix, and nothing is copied for each.
        """
        shape, weight = self.shape, self.weights[0]
        beside = weight[:, : shape.layers].permute(1, 2, 0, 3).flatten(2)
        shares, layers = self.layer_logits.softmax(dim=-1), list(shape.summed)
        # what is added up is the lesser: features of all layers, or what the summing head makes of each
        products_first = bool(layers) and weight.shape[-1] * len(layers) < shape.hidden_size
        if products_first:
            summing = weight[:, -1].permute(1, 0, 2).flatten(1)
            beside = torch.cat([beside, summing.expand(shape.layers, -1, -1)], dim=-1)
        # weights first, and a gradient that lies as the product does: of few columns each is five to ten times as quick
        products = torch.bmm(beside.mT, features.permute(1, 2, 0))
        if products.requires_grad:
            products.register_hook(torch.Tensor.contiguous)
        products = products.mT.unflatten(-1, (1 + products_first, shape.rates, -1))
        found = products[:, :, 0].permute(2, 0, 1, 3)
        if not layers:
            return found
        if products_first:
            summed = torch.einsum("rl,lbrf->rbf", shares, products[layers, :, 1])
        else:
            summed = torch.bmm(torch.einsum("rl,blh->rbh", shares, features[:, layers]), weight[:, -1])
        return torch.cat([found, summed[:, None]], dim=1)

    def layer_shares(self) -> torch.Tensor:
        """(rates, summed layers) shares of the weighted sum."""
        return self.layer_logits.detach().softmax(dim=-1)

    def snapshot(self) -> list[torch.Tensor]:
        """Copies of all weights."""
        return [parameter.detach().clone() for parameter in self.parameters()]

    @torch.no_grad()
    def keep_better(self, kept: Sequence[torch.Tensor], better: torch.Tensor) -> None:
        """Copy the weights of some probes into a snapshot; `better` (rates, heads) says whose."""
        for (name, parameter), copy in zip(self.named_parameters(), kept, strict=True):
            # the shares belong to the last head
            chosen = better[:, -1] if name == "layer_logits" else better
            copy[chosen] = parameter[chosen]

    @torch.no_grad()
    def restore(self, kept: Sequence[torch.Tensor]) -> None:
        """Put a snapshot back."""
        for parameter, copy in zip(self.parameters(), kept, strict=True):
            parameter.copy_(copy)


class AdamPerProbe:
    """Adam (Kingma and Ba, 2015) with a learning rate of its own for every probe; torch's has one a tensor.

    Args:
        bank: its parameters begin with the axes (rates, heads).
        rates: (rates, heads) learning rates; may be changed between steps.
        weight_decay: of the weights alone, neither of biases nor of the layers' shares; decoupled from the gradient (AdamW).
    """

    def __init__(self, bank: ProbeBank, rates: torch.Tensor, weight_decay: float = 0.0):
        self._bank, self.rates, self._weight_decay, self._steps = bank, rates, weight_decay, 0
        self._moments = [(torch.zeros_like(parameter), torch.zeros_like(parameter)) for parameter in bank.parameters()]

    @torch.no_grad()
    def step(self) -> None:
        """Move all weights by their gradients and forget those."""
        self._steps += 1
        first, second = ADAM_BETAS
        for (name, parameter), (mean, square) in zip(self._bank.named_parameters(), self._moments, strict=True):
            if parameter.grad is None:
                continue
            mean.lerp_(parameter.grad, 1 - first)
            square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
            rates = self.rates[:, -1] if name == "layer_logits" else self.rates
            rates = rates.reshape(*rates.shape, *[1] * (parameter.ndim - rates.ndim))
            if self._weight_decay and name.startswith("weights"):
                parameter.mul_(1 - rates * self._weight_decay)
            scale = (square / (1 - second**self._steps)).sqrt_().add_(ADAM_EPSILON)
            parameter.sub_(rates * (mean / (1 - first**self._steps)) / scale)
            parameter.grad = None
