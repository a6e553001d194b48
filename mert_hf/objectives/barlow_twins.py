"""Barlow Twins: each dimension agrees between the crops of a track and is unrelated to the other dimensions."""

from collections.abc import Sequence

import torch

from mert_hf.objectives.across_processes import in_float32
from mert_hf.objectives.heads import Head
from mert_hf.objectives.health import Sign, measure_correlation
from mert_hf.objectives.multiview import MultiView


@in_float32
def barlow_twins(first: torch.Tensor, second: torch.Tensor, off_diagonal_weight: float = 1.0) -> torch.Tensor:
    """Mean of (1 - C_ii)^2 + weight * mean of C_ij^2, with C the cross-correlation of two views (arXiv 2103.03230).

    Both parts are means, as in Deezer's code; the paper's sums with lambda are this with weight lambda * (size - 1).

    Args:
        first, second: (batch, size), row i of both from track i.
        off_diagonal_weight: 1 in Deezer's code.

    Returns:
        () loss; it does not change when a dimension is shifted or scaled by a positive number.
    """
    correlation = standardise(first).T @ standardise(second) / (len(first) - 1)
    on_diagonal = (1 - correlation.diagonal()).square()
    size = len(correlation)
    off_diagonal = correlation.square().sum() - correlation.diagonal().square().sum()
    return on_diagonal.mean() + off_diagonal_weight * off_diagonal / (size * (size - 1))


def standardise(features: torch.Tensor) -> torch.Tensor:
    """(batch, size) with mean 0 and variance 1 in each dimension: batch normalisation without weights."""
    centred = features - features.mean(0)
    return centred * (centred.square().mean(0) + 1e-5).rsqrt()


class BarlowTwins(MultiView):
    """The cross-correlation of two views behind a projector whose layers have the sizes `head`; see [`MultiView`]."""

    signs = (Sign("off_diagonal", "all dimensions of the projection say the same", "Raise off_diagonal_weight.", high=0.9),)

    def __init__(self, model, max_steps: int, head: Sequence[int] = (1024, 1024, 2048), off_diagonal_weight: float = 1.0):
        super().__init__(model, max_steps)
        self.head = Head(self.encoder.hidden_size, head)
        self.off_diagonal_weight = off_diagonal_weight

    def compare(self, views, embeddings):
        """As in [`MultiView`]; also the mean absolute correlation of different dimensions."""
        first, second = self.gather([self.head(embedding) for embedding in embeddings])
        return barlow_twins(first, second, self.off_diagonal_weight), {"off_diagonal": measure_correlation(first.detach())}
