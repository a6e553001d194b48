"""The contract between objectives, the training loop, and a run that sets one up from a recipe."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn as nn
from transformers import PreTrainedModel

from mert_hf.architectures import Architecture
from mert_hf.common.figures import plot_numbers
from mert_hf.common.seeding import Draws

# What an objective computes its loss of: tensors by name.
Batch = dict[str, torch.Tensor | None]
# What its means are taken over: int64 tensors by name, which add up over batches.
Counts = dict[str, torch.Tensor]


class ObjectiveOutput(NamedTuple):
    """Output of an objective."""

    loss: torch.Tensor  # () float, to be minimised; adds up over the parts of a global batch
    logs: dict[str, torch.Tensor]  # detached numbers to watch, each () or a vector; they add up in the same way


class Teachers(NamedTuple):
    """What a model learns from beside the audio."""

    codes: Any = None  # gives codes, or holds them (a label store); None where there are none
    spectrum: nn.Module | None = None  # gives the constant-Q spectrum; None where that is not wanted
    spectrum_mean: torch.Tensor | None = None  # (bins,) that its head is to begin at; None leaves the head as it is drawn


@dataclass(frozen=True)
class Outcome:
    """What a finished run has to show, for the pictures of it.

    Attributes:
        title: above the pictures.
        settings: of the run.
        model: as it was saved, on the CPU, in `eval()`; None where the training failed.
        reports: lines of `metrics.jsonl`.
        validations: lines of `validation.jsonl`.
        counts: what the objective counted in the last validation, such as how often each code occurs; {} without one.
        clip: a clip of the validation (1, ...) as a batch has it, and its labels; None without one.
        seed: of masks.
    """

    title: str
    settings: Any
    model: PreTrainedModel | None
    reports: list[dict[str, Any]]
    validations: list[dict[str, Any]]
    counts: dict[str, torch.Tensor]
    clip: tuple[torch.Tensor, torch.Tensor | None] | None
    seed: int


class Objective(nn.Module):
    """What a model is trained to do, and what a run must know of that to set it up from its settings.

    Attributes:
        sections: what it can be told in a recipe: the dataclass of each section that is its own.
        uses_teachers: whether it learns from a teacher of codes, or stored labels, and from the constant-Q spectrum.
        can_be_compiled: whether `training.compile` was tried with it.
        can_be_sharded: whether it was run with FSDP and DeepSpeed.
        heads: parts of the model that are drawn anew where a run begins with an encoder alone.
        model_prefix: of the names of the model's tensors among its own.

    The global batch of an update is what all processes hear in all their batches of it. Its loss is a mean over the global
    batch, whichever way it is cut into parts: the loop prepares all parts, adds up what `count` says of them, and gives the sum
    to each call of `forward`, which returns its share of the mean.
    """

    sections: ClassVar[dict[str, type]] = {}
    uses_teachers: ClassVar[bool] = False
    can_be_compiled: ClassVar[bool] = False
    can_be_sharded: ClassVar[bool] = False
    heads: ClassVar[tuple[str, ...]] = ()
    model_prefix: ClassVar[str] = "model."

    @classmethod
    def architecture(cls, settings: Any) -> Architecture:
        """What is trained."""
        raise NotImplementedError

    @classmethod
    def model_class(cls, settings: Any) -> type[PreTrainedModel]:
        """Class of the model that is trained and published; the encoder alone by default."""
        return cls.architecture(settings).model_class

    @classmethod
    def default_fields(cls, settings: Any) -> dict[str, Any]:
        """Fields of the model's configuration that differ from its own defaults where weights are fresh."""
        return dict(cls.architecture(settings).fresh_fields)

    @classmethod
    def head_fields(cls, settings: Any) -> dict[str, Any]:
        """Fields of the configuration that describe heads, where those are drawn."""
        return {}

    @classmethod
    def check(cls, settings: Any) -> None:
        """Refuse settings that do not go together, with an InputError that names them."""

    @classmethod
    def pair_distances_s(cls, settings: Any) -> tuple[float, float] | None:
        """Least and most seconds between the two crops of a track that make a clip; None where a clip is one crop."""
        return None

    @classmethod
    def counted_in_updates(cls, settings: Any) -> dict[str, int]:
        """Its settings that are numbers of updates, by dotted name: in a longer or shorter run they change along."""
        return {}

    @classmethod
    def describe(cls, settings: Any, teachers: Teachers) -> str:
        """What is learnt from, in a few words, for results and pictures."""
        raise NotImplementedError

    @classmethod
    def from_settings(cls, settings: Any, model: PreTrainedModel, teachers: Teachers) -> "Objective":
        """The objective of a run, with a model of the weights it begins with and teachers on the device where they will work.

        Raises:
            InputError: settings that do not fit together.
        """
        raise NotImplementedError

    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """Targets and everything drawn for clean clips (batch, samples), whose codes may be known already; keeps no graph.

        In `eval()` nothing is drawn that only makes training harder.
        """
        raise NotImplementedError

    def count(self, batch: Batch) -> Counts:
        """What the means of this batch's loss are taken over."""
        raise NotImplementedError

    def forward(self, batch: Batch, totals: Counts) -> ObjectiveOutput:
        """This batch's share of the loss of the global batch, whose counts are `totals`.

        In `eval()` the logs may hold more, such as what predictions were made.
        """
        raise NotImplementedError

    def summarise(self, logs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Numbers to report, of logs added up over a global batch."""
        return logs

    def state(self) -> dict[str, torch.Tensor]:
        """Numbers to watch that are no means over clips, such as a learnt temperature."""
        return {}

    def after_step(self, step: int) -> None:
        """Move what is not moved by gradients."""

    def moving_buffers(self) -> list[torch.Tensor]:
        """What `forward` itself moves, such as running statistics; an update that is left out puts it back."""
        return []

    def export(self) -> nn.Module:
        """The model to publish."""
        raise NotImplementedError

    def layers(self) -> list[nn.Module]:
        """The blocks of the model that repeat, which sharding keeps together; [] where there are none."""
        return []

    def draw(self, folder: Path, outcome: Outcome) -> None:
        """Draw what is to be seen of a finished run, as PNG files in a folder that is there."""
        plot_numbers(outcome.reports, folder / "training_curves.png", outcome.title, outcome.validations)
