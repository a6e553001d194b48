"""Signs of collapse: a model that maps everything to the same place, or uses a small part of its space."""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

logger = logging.getLogger(__name__)

# Updates before anything is concluded: a fresh network's outputs look alike.
FIRST_JUDGED_STEP = 100


@dataclass(frozen=True)
class Sign:
    """When a logged number is a sign of collapse: below `low` or above `high`."""

    name: str
    meaning: str  # what has happened then
    remedy: str  # what may help
    low: float = -torch.inf
    high: float = torch.inf


class CollapseWatch:
    """Warns, by name and once, when a number becomes a sign of collapse, and says when it no longer is."""

    def __init__(self, objective: str, signs: Iterable[Sign], first_judged_step: int = FIRST_JUDGED_STEP):
        self.objective = objective
        self.first_judged_step = first_judged_step
        self.signs = {sign.name: sign for sign in signs}
        self._warned: set[str] = set()

    def look(self, numbers: Mapping[str, torch.Tensor], step: int) -> None:
        """Judge the numbers of an update."""
        if step < self.first_judged_step:
            return
        for name, sign in self.signs.items():
            if name not in numbers:
                continue
            value = float(numbers[name])
            if math.isnan(value):
                continue  # of an update that is left out
            collapsed = not sign.low <= value <= sign.high
            if collapsed and name not in self._warned:
                self._warned.add(name)
                bound = f"below {sign.low:g}" if value < sign.low else f"above {sign.high:g}"
                told = f"{sign.meaning}. {sign.remedy}"
                logger.warning("%s at update %d: %s is %.3g, %s: %s", self.objective, step, name, value, bound, told)
            elif not collapsed and name in self._warned:
                self._warned.remove(name)
                logger.warning("%s at update %d: %s is %.3g again", self.objective, step, name, value)


@torch.no_grad()
def measure_spread(embeddings: torch.Tensor) -> torch.Tensor:
    """() standard deviation of embeddings (clips, hidden) scaled to length 1, times sqrt(hidden).

    0 where all are equal, about 1 where they are spread over the sphere (SimSiam, arXiv 2011.10566, section 4.1).
    """
    directions = F.normalize(embeddings.float(), dim=-1)
    return directions.std(0, correction=0).mean() * directions.shape[1] ** 0.5


@torch.no_grad()
def measure_rank(embeddings: torch.Tensor) -> torch.Tensor:
    """() effective rank of centred embeddings (clips, hidden): exp of the entropy of their singular values.

    Roy and Vetterli, "The effective rank", 2007; at most min(clips - 1, hidden); 0 where all are equal, NaN where one is not
    finite.
    """
    if not embeddings.isfinite().all():  # an eigenvalue decomposition would raise
        return embeddings.new_tensor(torch.nan, dtype=torch.float32)
    centred = embeddings.double() - embeddings.double().mean(0)
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    scale = gram.diagonal().sum()
    singular = torch.linalg.eigvalsh(gram / scale.clamp(min=1e-30)).clamp(min=0).sqrt()
    shares = singular / singular.sum().clamp(min=1e-30)
    rank = torch.special.entr(shares).sum().exp()
    return torch.where(scale > 1e-12 * embeddings.double().square().sum(), rank, 0).float()


@torch.no_grad()
def measure_correlation(features: torch.Tensor) -> torch.Tensor:
    """() mean absolute correlation of two different dimensions of features (clips, hidden): 0 unrelated, 1 all the same."""
    # float64, which autocast leaves alone
    standard = features.double() - features.double().mean(0)
    standard = standard / standard.norm(dim=0).clamp(min=1e-12)
    correlation = (standard.T @ standard).float()
    hidden = len(correlation)
    return (correlation.abs().sum() - correlation.diagonal().abs().sum()) / (hidden * (hidden - 1))
