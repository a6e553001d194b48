"""VICReg: the crops of a track get the same vector, every dimension varies, and no two dimensions say the same."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mert_hf.objectives.across_processes import in_float32
from mert_hf.objectives.heads import Head
from mert_hf.objectives.health import Sign, measure_correlation
from mert_hf.objectives.multiview import MultiView


@in_float32
def vicreg_terms(
    first: torch.Tensor, second: torch.Tensor, least_std: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Invariance, variance and covariance (arXiv 2105.04906, section 4; means and constants of Deezer's code).

    Args:
        first, second: (batch, size), row i of both from track i.
        least_std: standard deviation below which a dimension is pushed apart.

    Returns:
        () mean squared difference of the views; () mean of max(0, least_std - standard deviation) over dimensions and views;
        () mean square of the off-diagonal covariances of features that are normalised over the batch.
    """
    views = torch.stack([first, second])
    invariance = F.mse_loss(first, second)
    variances = views.var(1)
    variance = F.relu(least_std - (variances + 1e-5).sqrt()).mean()
    centred = views - views.mean(1, keepdim=True)
    standard = centred * (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt()
    covariances = standard.mT @ standard / (len(first) - 1)
    size = first.shape[1]
    off_diagonal = covariances.square().sum((1, 2)) - covariances.diagonal(dim1=1, dim2=2).square().sum(1)
    return invariance, variance, (off_diagonal / (size * (size - 1))).mean()


class VICReg(MultiView):
    """The three terms, each with its weight, behind a projector whose layers have the sizes `head`; see [`MultiView`]."""

    signs = (
        Sign("projection_std", "the projections of all clips are nearly equal", "Raise variance_weight.", low=0.05),
        Sign("off_diagonal", "all dimensions of the projection say the same", "Raise covariance_weight.", high=0.9),
    )

    def __init__(
        self,
        model,
        max_steps: int,
        head: Sequence[int] = (1024, 1024, 2048),
        invariance_weight: float = 1.0,
        variance_weight: float = 1.0,
        covariance_weight: float = 1.0,
        least_std: float = 1.0,
    ):
        super().__init__(model, max_steps)
        self.head = Head(self.encoder.hidden_size, head)
        self.weights = (invariance_weight, variance_weight, covariance_weight)
        self.least_std = least_std

    def compare(self, views, embeddings):
        """As in [`MultiView`]; also the terms without their weights, and how far dimensions vary and repeat each other."""
        first, second = self.gather([self.head(embedding) for embedding in embeddings])
        terms = vicreg_terms(first, second, self.least_std)
        numbers = {
            **{name: term.detach() for name, term in zip(("invariance", "variance", "covariance"), terms, strict=True)},
            "projection_std": first.detach().std(0).mean(),
            "off_diagonal": measure_correlation(first.detach()),
        }
        return sum(weight * term for weight, term in zip(self.weights, terms, strict=True)), numbers
