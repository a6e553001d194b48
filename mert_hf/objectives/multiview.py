"""What the multi-view objectives share: two crops of each track, one encoder, statistics over the batch of all processes."""

from collections.abc import Sequence

import torch
import torch.nn as nn

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.models.code_head_mert import at_least_float32
from mert_hf.models.modeling_mert import MERTModel
from mert_hf.models.modeling_multiview import MultiViewModel
from mert_hf.objectives.across_processes import gather, normalise_globally
from mert_hf.objectives.base import Batch, Counts, Objective, ObjectiveOutput
from mert_hf.objectives.health import CollapseWatch, Sign, measure_rank, measure_spread

# Updates between two looks at the signs of collapse: the effective rank costs an eigenvalue decomposition.
HEALTH_EVERY = 10

SIGNS = (
    Sign(
        "embedding_std", "all clips get nearly the same embedding", "Lower training.learning_rate or take larger batches.", 0.05
    ),
    Sign("embedding_rank", "embeddings differ in hardly more than one direction", "Lower training.learning_rate.", 2.0),
)


class PooledEncoder(nn.Module):
    """One vector a clip, of the ResNet or of MERT, whose frames are averaged.

    Args:
        model: a [`MultiViewModel`], or a [`MERTModel`] in its place.
    """

    def __init__(self, model: MultiViewModel | MERTModel):
        super().__init__()
        self.model = model
        self.hidden_size = model.config.hidden_size

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, hidden)."""
        if isinstance(self.model, MultiViewModel):
            return self.model(waveforms).pooler_output
        frames = self.model.count_frames(waveforms.shape[1])
        # an empty mask: without one, HuBERT would draw its own from numpy's global state
        mask = torch.zeros(len(waveforms), frames, dtype=torch.bool, device=waveforms.device)
        return self.model(waveforms, mask_time_indices=mask).last_hidden_state.mean(1)


class MultiView(Objective):
    """Base of the objectives that compare two crops of a track.

    Losses are those of the batch of all processes: negatives, normalisations and covariances include the clips of the others.
    They are no sums over clips, so with gradient accumulation each part is a batch of its own, and the loss is their mean.
    Each of the two views is normalised by its own statistics, as in Deezer's code.

    Args:
        model: what is trained; published in the end without the heads.
        max_steps: updates of the run, for schedules.
    """

    # signs of collapse beside those of every method
    signs: tuple[Sign, ...] = ()

    def __init__(self, model: MultiViewModel | MERTModel, max_steps: int):
        super().__init__()
        self.encoder = PooledEncoder(normalise_globally(model))
        self.max_steps = max_steps
        # updates done; part of checkpoints, since schedules depend on it
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._watch = CollapseWatch(type(self).__name__, (*SIGNS, *self.signs))
        self._health: dict[str, torch.Tensor] = {}

    def compare(self, views: Sequence[torch.Tensor], embeddings: Sequence[torch.Tensor]) -> tuple[torch.Tensor, dict]:
        """Loss () of the batch of all processes, and detached numbers () to watch.

        Args:
            views: the two crops of this process's tracks, (batch, samples) each.
            embeddings: of them, (batch, hidden) each, with a graph.
        """
        raise NotImplementedError

    @torch.no_grad()
    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """The two views of pairs (batch, 2, samples); nothing is drawn here.

        Raises:
            InputError: clips instead of pairs.
        """
        if waveforms.ndim != 3 or waveforms.shape[1] != 2:
            raise InputError(
                f"{type(self).__name__} compares two crops of a track, (batch, 2, samples); got {tuple(waveforms.shape)}. Read"
                " them with mert_hf.data.pairs.PairedCrops."
            )
        return {"views": waveforms}

    def count(self, batch: Batch) -> Counts:
        """Batches, over which the losses are averaged."""
        return {"batches": torch.ones((), dtype=torch.int64, device=batch["views"].device)}

    def forward(self, batch: Batch, totals: Counts) -> ObjectiveOutput:
        """Share of the mean over the batches of all processes.

        Raises:
            InputError: one pair in the batch of all processes.
        """
        views = batch["views"].unbind(1)
        embeddings = [self.encoder(view) for view in views]
        loss, numbers = self.compare(views, embeddings)
        if not self.training or int(self.steps) % HEALTH_EVERY == 0:
            numbers |= self._measure_health(embeddings)
        if self.training:
            self._health = numbers
        logs = {"loss": loss.detach(), **numbers}
        return ObjectiveOutput(loss / totals["batches"], {name: value / totals["batches"] for name, value in logs.items()})

    def after_step(self, step: int) -> None:
        """Count, and warn of collapse."""
        if int(self.steps) % HEALTH_EVERY == 0:
            self._watch.look(self._health, step)
        self.steps.fill_(step + 1)

    def moving_buffers(self) -> list[torch.Tensor]:
        """Running statistics of batch normalisation, and what a method keeps beside them."""
        return list(self.buffers())

    def export(self) -> MultiViewModel | MERTModel:
        """The encoder."""
        return self.encoder.model

    def gather(self, embeddings: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Both views (batch, size) of all processes in float32, in the same order.

        Raises:
            InputError: one pair, of which nothing can be said: there is nothing else to tell it from.
        """
        gathered = [gather(at_least_float32(values)) for values in embeddings]
        if len(gathered[0]) < 2:
            raise InputError(
                f"{type(self).__name__} compares the pairs of a batch and got one; use --training.batch_size 2 or more (the"
                " paper: 256)."
            )
        return gathered

    def _measure_health(self, embeddings: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        everything = torch.cat([gather(at_least_float32(values.detach())) for values in embeddings])
        return {"embedding_std": measure_spread(everything), "embedding_rank": measure_rank(everything)}
