"""Linear heads at the minimum of their loss with a penalty on the weights: what logistic regression and ridge regression find.

Such a head has nothing to tune but its penalty: no learning rate, no epochs, no seed. All layers and penalties are minimised
side by side by L-BFGS (Liu and Nocedal, 1989), each as if it were alone.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.common.seeding import generator
from mert_hf.probing.probes.bank import ProbeBank, ProbeShape
from mert_hf.probing.probes.probe_training import FinishedBank, TrainingSet, Validate, statistics_of

# The largest gradient at which a problem is solved: a tenth of scikit-learn's default, below which the weakest of the suite's
# penalties (1e-4) would not be felt on classes that can be told apart without error.
MAX_ITERATIONS, GRADIENT_TOLERANCE = 150, 1e-5
# most that training frames take, all layers together: there are very many, and neighbours are much alike
FRAMES_BYTES = 2**29
# gradients that the curvature is estimated from (scipy keeps 10)
MEMORY = 10
# a step must bring this share of what the gradient promises (Armijo), or it is shortened so often by the factor
SUFFICIENT, SHORTER, MOST_SHORTENED = 1e-4, 0.3, 8

Objective = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(problems, numbers) -> values (problems,) and gradients (problems, numbers)."""


def solve_probes(
    training_set: TrainingSet,
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    validate: Validate,
    shape: ProbeShape,
    penalties: NDArray,
    seed: int,
    device: torch.device,
) -> FinishedBank:
    """Linear probes at the minimum of mean loss plus penalty / 2 times the squared weights (biases and shares are free).

    All training rows are held in memory at once. Of frames, where there are more than fit into `FRAMES_BYTES`, as many are
    drawn by the seed as do.

    Args:
        losses: logits (rates, heads, batch, outputs) and targets -> (rates, heads), a mean over the batch.
        validate: see [`Validate`]; asked once, of the solution.
        penalties: (rates, heads). scikit-learn's C of a classification is 1 / (penalty * rows).
        seed: of the frames that are learnt from and the rows that mean and deviation are taken from, where there are many.
    """
    bank = ProbeBank(shape, *statistics_of(training_set, seed)).to(device)
    rows, wanted = np.concatenate(training_set.rows), training_set.targets
    if training_set.crop_rows is not None:
        most = max(1, FRAMES_BYTES // (4 * shape.layers * shape.hidden_size))
        if len(rows) > most:
            rows = np.sort(generator(seed, "probe rows").choice(rows, most, replace=False))
        wanted = wanted[rows]  # of crops, the targets are those of all rows
    features = bank.standardise(torch.from_numpy(training_set.features.take(rows)).to(device))
    # example beside example in memory: of few outputs the products are then five times as quick
    features = features.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    targets = torch.from_numpy(wanted).to(device)
    weights = torch.tensor(penalties, dtype=torch.float32, device=device)

    def objective(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _assign(bank, numbers)
        found = losses(bank.read(features), targets)
        found = found + 0.5 * weights * sum(weight.square().sum(dim=(2, 3)) for weight in bank.weights)
        found.sum().backward()
        gradients = _gather(bank, [parameter.grad for parameter in bank.parameters()])
        bank.zero_grad()
        return found.detach().flatten(), gradients

    bank.eval()  # dropout would give another loss at every look
    start = torch.zeros_like(_gather(bank, [*bank.parameters()]))
    solution, iterations = minimise(objective, start)
    _assign(bank, solution)
    best = validate(bank)
    return FinishedBank(bank, best, iterations.view(shape.rates, shape.heads).cpu().numpy())


@torch.no_grad()
def minimise(
    objective: Objective, start: torch.Tensor, most: int = MAX_ITERATIONS, tolerance: float = GRADIENT_TOLERANCE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise many problems at once by L-BFGS, until the largest gradient of each is at most `tolerance`.

    Args:
        start: (problems, numbers).
        most: iterations.

    Returns:
        (problems, numbers) and (problems,) iterations that each took.
    """
    place = start.clone()
    iterations = torch.zeros(len(place), dtype=torch.int64, device=place.device)
    steps: list[torch.Tensor] = []
    changes: list[torch.Tensor] = []
    with torch.enable_grad():
        values, gradients = objective(place)
    for _ in range(most):
        running = gradients.abs().amax(dim=1) > tolerance
        if not running.any():
            break
        direction = _direction(gradients, steps, changes) * running[:, None]
        slope = (direction * gradients).sum(dim=1)
        length = torch.ones_like(values) if steps else 1 / gradients.norm(dim=1).clamp(min=1.0)
        for _ in range(MOST_SHORTENED):
            tried = place + length[:, None] * direction
            with torch.enable_grad():
                found, following = objective(tried)
            # rounding alone may keep a value from falling near the minimum
            short = found <= values + SUFFICIENT * length * slope + 1e-7 * values.abs()
            if (short | ~running).all():
                break
            length = torch.where(short, length, SHORTER * length)
        taken = (short & running)[:, None]
        steps, changes = [*steps, (tried - place) * taken][-MEMORY:], [*changes, (following - gradients) * taken][-MEMORY:]
        place, gradients = torch.where(taken, tried, place), torch.where(taken, following, gradients)
        values = torch.where(taken[:, 0], found, values)
        iterations += taken[:, 0]
        if not taken.any():
            break
    return place, iterations


def _direction(gradients: torch.Tensor, steps: list[torch.Tensor], changes: list[torch.Tensor]) -> torch.Tensor:
    """Minus the inverse curvature times the gradient, by the two loops of L-BFGS; pairs without curvature count nothing."""
    products = [(step * change).sum(dim=1, keepdim=True) for step, change in zip(steps, changes, strict=True)]
    inverse = [torch.where(product > 1e-12, 1 / product.clamp(min=1e-12), 0.0) for product in products]
    found, shares, scale = gradients.clone(), [], torch.ones_like(gradients[:, :1])
    for change, product, reciprocal in zip(changes, products, inverse, strict=True):
        squared = change.square().sum(dim=1, keepdim=True)
        # that of the newest pair with curvature
        scale = torch.where(reciprocal > 0, product / squared.clamp(min=1e-24), scale)
    for step, change, reciprocal in zip(steps[::-1], changes[::-1], inverse[::-1], strict=True):
        shares.append(reciprocal * (step * found).sum(dim=1, keepdim=True))
        found -= shares[-1] * change
    found *= scale
    for step, change, reciprocal, share in zip(steps, changes, inverse, shares[::-1], strict=True):
        found += step * (share - reciprocal * (change * found).sum(dim=1, keepdim=True))
    return -found


def _gather(bank: ProbeBank, values: list[torch.Tensor | None]) -> torch.Tensor:
    """Values of all parameters -> (rates * heads, numbers); the layers' shares stand with the last head, and 0 elsewhere."""
    shape, parts = bank.shape, []
    for (name, parameter), value in zip(bank.named_parameters(), values, strict=True):
        value = torch.zeros_like(parameter) if value is None else value.detach()
        if name == "layer_logits":
            spread = value.new_zeros(shape.rates, shape.heads, value.shape[1])
            spread[:, -1] = value
            value = spread
        parts.append(value.reshape(shape.rates * shape.heads, -1))
    return torch.cat(parts, dim=1)


@torch.no_grad()
def _assign(bank: ProbeBank, numbers: torch.Tensor) -> None:
    """Undo [`_gather`] into the parameters."""
    shape, first = bank.shape, 0
    for name, parameter in bank.named_parameters():
        shares = name == "layer_logits"
        size = parameter.shape[1] if shares else parameter[0, 0].numel()
        part = numbers[:, first : first + size].view(shape.rates, shape.heads, size)
        parameter.copy_(part[:, -1] if shares else part.view_as(parameter))
        first += size
