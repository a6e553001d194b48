"""What the multi-view objectives share: two crops of each track, one encoder, statistics over the batch of all processes."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
from transformers import PreTrainedModel

from mert_hf.architectures import ARCHITECTURES, architecture_of
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.common.settings import check_values, require, setting, suggest
from mert_hf.models.code_head_mert import at_least_float32
from mert_hf.objectives.across_processes import gather, normalise_globally
from mert_hf.objectives.base import Batch, Counts, Objective, ObjectiveOutput
from mert_hf.objectives.health import CollapseWatch, Sign, measure_rank, measure_spread

ENCODERS = ", ".join(name for name, architecture in ARCHITECTURES.items() if architecture.embeds_clips)
# Updates between two looks at the signs of collapse: the effective rank costs an eigenvalue decomposition.
HEALTH_EVERY = 10

SIGNS = (
    Sign(
        "embedding_std", "all clips get nearly the same embedding", "Lower training.learning_rate or take larger batches.", 0.05
    ),
    Sign("embedding_rank", "embeddings differ in hardly more than one direction", "Lower training.learning_rate.", 2.0),
)


@dataclass
class MultiViewSettings:
    """Two crops of data.crop_s of each track (section 2.1 of Deezer's comparison)."""

    encoder: str = setting("resnet", f"what is trained, {ENCODERS}; model.* are the fields of its configuration")
    min_distance_s: float = setting(
        4.0, "least seconds from the beginning of one crop to that of the other", least=0, most=86_400
    )
    max_distance_s: float = setting(
        16.0, "most seconds from the beginning of one crop to that of the other", least=0, most=86_400
    )
    options: dict[str, Any] = setting({}, "arguments of the objective by name, such as head or temperature")

    def __post_init__(self):
        check_values(self, "multiview")
        known = getattr(ARCHITECTURES.get(self.encoder), "embeds_clips", False)
        require(known, f"multiview.encoder={self.encoder[:60]!r}: there are {ENCODERS}.")
        require(
            self.min_distance_s <= self.max_distance_s,
            f"multiview.min_distance_s={self.min_distance_s} and max_distance_s={self.max_distance_s} must be 0 or more and"
            " ordered.",
        )


class PooledEncoder(nn.Module):
    """One vector a clip, as the model's architecture makes it."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self.hidden_size = model.config.hidden_size
        self.architecture = architecture_of(model.config)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, hidden)."""
        return self.architecture.embed(self.model, waveforms)


class MultiView(Objective):
    """Base of the objectives that compare two crops of a track.

    Losses are those of the batch of all processes: negatives, normalisations and covariances include the clips of the others.
    They are no sums over clips, so with gradient accumulation each part is a batch of its own, and the loss is their mean.
    Each of the two views is normalised by its own statistics, as in Deezer's code.

    Args:
        model: what is trained; published in the end without the heads.
        max_steps: updates of the run, for schedules.
    """

    sections = {"multiview": MultiViewSettings}
    model_prefix = "encoder.model."
    # signs of collapse beside those of every method
    signs: tuple[Sign, ...] = ()
    # options that are numbers of updates
    counted_options: tuple[str, ...] = ()

    def __init__(self, model: PreTrainedModel, max_steps: int):
        super().__init__()
        self.encoder = PooledEncoder(normalise_globally(model))
        self.max_steps = max_steps
        # updates done; part of checkpoints, since schedules depend on it
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._watch = CollapseWatch(type(self).__name__, (*SIGNS, *self.signs))
        self._health: dict[str, torch.Tensor] = {}

    @classmethod
    def architecture(cls, settings):
        return ARCHITECTURES[settings.multiview.encoder]

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Names and defaults of what `multiview.options` can hold."""
        arguments = inspect.signature(cls).parameters
        return {name: given.default for name, given in arguments.items() if name not in ("model", "max_steps")}

    @classmethod
    def check(cls, settings):
        cls._check_options(settings)
        data, least_s = settings.data, settings.multiview.min_distance_s
        require(not data.streaming, "pairs of crops cannot be read from a stream; leave out data.streaming.")
        needed_s = data.crop_s + least_s
        require(
            data.min_track_s >= needed_s,
            f"data.min_track_s={data.min_track_s} is too short for two crops of data.crop_s={data.crop_s},"
            f" multiview.min_distance_s={least_s} apart; it must be {needed_s:g} or more.",
        )

    @classmethod
    def _check_options(cls, settings) -> None:
        for name in settings.multiview.options:
            known = list(cls.options())
            require(name in known, f"multiview.options.{name} is no argument of {settings.objective}" + suggest(name, known))

    @classmethod
    def pair_distances_s(cls, settings):
        return settings.multiview.min_distance_s, settings.multiview.max_distance_s

    @classmethod
    def counted_in_updates(cls, settings):
        """As in [`Objective`]; also where a recipe leaves an option to its default."""
        given = {**cls.options(), **settings.multiview.options}
        return {f"multiview.options.{name}": given[name] for name in cls.counted_options}

    @classmethod
    def describe(cls, settings, teachers):
        return f"{settings.objective}: two crops of {settings.data.crop_s:g} s of a track agree"

    @classmethod
    def from_settings(cls, settings, model, teachers):
        try:
            return cls(model, settings.training.max_steps, **settings.multiview.options)
        except (TypeError, ValueError) as error:
            raise InputError(f"multiview.options: {error}") from None

    def compare(
        self, views: Sequence[torch.Tensor], embeddings: Sequence[torch.Tensor], **others: torch.Tensor
    ) -> tuple[torch.Tensor, dict]:
        """Loss () of the batch of all processes, and detached numbers () to watch.

        Args:
            views: the two crops of this process's tracks, (batch, samples) each.
            embeddings: of them, (batch, hidden) each, with a graph.
            others: what `prepare` of a method gives beside the views, by name.
        """
        raise NotImplementedError

    @torch.no_grad()
    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """The two views of pairs (batch, 2, samples); InputError where clips are given instead. Nothing is drawn here."""
        if waveforms.ndim != 3 or waveforms.shape[1] != 2:
            raise InputError(
                f"{type(self).__name__} compares two crops of a track, (batch, 2, samples); got {tuple(waveforms.shape)}. Read"
                " them with mert_hf.data.pairs.PairedCrops."
            )
        return {"views": waveforms}

    def count(self, batch: Batch) -> Counts:
        return {"batches": torch.ones((), dtype=torch.int64, device=batch["views"].device)}

    def forward(self, batch: Batch, totals: Counts) -> ObjectiveOutput:
        """Share of the mean over the batches of all processes; InputError where these hold one pair."""
        views = batch["views"].unbind(1)
        embeddings = [self.encoder(view) for view in views]
        others = {name: value for name, value in batch.items() if name != "views"}
        return self._judge(views, embeddings, totals, **others)

    def _judge(self, views, embeddings, totals: Counts, **others: torch.Tensor) -> ObjectiveOutput:
        loss, numbers = self.compare(views, embeddings, **others)
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

    def export(self) -> PreTrainedModel:
        return self.encoder.model

    def layers(self):
        return self.encoder.architecture.layers(self.encoder.model)

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
