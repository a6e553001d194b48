"""Contrastive learning: a crop is closer to the other crop of its track than to all others of the batch (NT-Xent)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mert_hf.objectives.across_processes import in_float32
from mert_hf.objectives.heads import Head
from mert_hf.objectives.multiview import MultiView


@in_float32
def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """Normalised temperature-scaled cross-entropy (SimCLR, arXiv 2002.05709, equation 1; section 2.3 of the comparison).

    Every crop is asked which of the 2 * batch - 1 others is its partner; logits are cosine similarity / temperature.

    Args:
        first, second: (batch, size), row i of both from track i.
        temperature: 0.1 in the comparison.

    Returns:
        () mean over both directions.
    """
    crops = F.normalize(torch.cat([first, second]), dim=-1)
    logits = crops @ crops.T / temperature
    logits.fill_diagonal_(-torch.inf)
    partners = torch.arange(len(crops), device=crops.device).roll(len(first))
    return F.cross_entropy(logits, partners)


class Contrastive(MultiView):
    """NT-Xent behind a projector whose layers have the sizes `head`; see [`MultiView`]."""

    def __init__(self, model, max_steps: int, head: Sequence[int] = (1024, 1024, 2048), temperature: float = 0.1):
        super().__init__(model, max_steps)
        self.head = Head(self.encoder.hidden_size, head)
        self.temperature = temperature

    def compare(self, views, embeddings):
        """As in [`MultiView`]; also the mean cosine of partners and of other pairs."""
        first, second = self.gather([self.head(embedding) for embedding in embeddings])
        cosines = F.normalize(first.detach(), dim=-1) @ F.normalize(second.detach(), dim=-1).T
        partners, count = cosines.diagonal(), len(cosines)
        numbers = {"partner_cosine": partners.mean(), "other_cosine": (cosines.sum() - partners.sum()) / (count * (count - 1))}
        return nt_xent(first, second, self.temperature), numbers
