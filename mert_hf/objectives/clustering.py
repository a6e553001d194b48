"""Clustering: a student assigns one crop of a track to the prototypes to which its moving average assigns the other (DINO)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mert_hf.common.ramps import cosine_ramp
from mert_hf.objectives.across_processes import in_float32
from mert_hf.objectives.heads import Head
from mert_hf.objectives.health import Sign
from mert_hf.objectives.moving_average import MovingAverage
from mert_hf.objectives.multiview import MultiView
from mert_hf.objectives.pictures import plot_prototype_usage

# How long the record of used prototypes remembers: about 100 updates.
USAGE_MOMENTUM = 0.99


@in_float32
def clustering(
    student: torch.Tensor,
    teacher: torch.Tensor,
    center: torch.Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> torch.Tensor:
    """Cross-entropy of the student's distribution with the teacher's (DINO, arXiv 2104.14294, section 3.1).

    Args:
        student, teacher: (batch, prototypes) logits, row i of both from track i, of different views.
        center: (prototypes,) subtracted from the teacher's logits: against one prototype for all.
        student_temperature: 0.1 in the comparison.
        teacher_temperature: lower, which sharpens: against all prototypes for each.

    Returns:
        () mean in nats.
    """
    targets = F.softmax((teacher - center) / teacher_temperature, dim=-1)
    return -(targets * F.log_softmax(student / student_temperature, dim=-1)).sum(-1).mean()


class Clustering(MultiView):
    """DINO's centring and sharpening with two crops of a track; arguments that all have are those of [`MultiView`].

    Args:
        head: sizes of the layers of the head; the last is the number of prototypes.
        momentum: of the teacher at the first update; it rises to 1 along half a cosine.
        teacher_temperatures: of the teacher at the first update and behind its warm-up.
        temperature_steps: updates of that warm-up, along half a cosine (10 epochs of 512 updates in the comparison).
    """

    signs = (
        Sign("ema_distance", "the teacher no longer follows the student", "Lower training.learning_rate.", high=1.0),
        Sign(
            "prototypes_used",
            "the clips share a small part of the prototypes, the partial collapse that the comparison saw",
            "Take fewer prototypes, larger batches, or a lower teacher temperature.",
            low=0.1,
        ),
    )

    counted_options = ("temperature_steps",)

    def __init__(
        self,
        model,
        max_steps: int,
        head: Sequence[int] = (1024, 1024, 256, 4096),
        momentum: float = 0.996,
        center_momentum: float = 0.9,
        student_temperature: float = 0.1,
        teacher_temperatures: Sequence[float] = (0.02, 0.04),
        temperature_steps: int = 5120,
    ):
        super().__init__(model, max_steps)
        self.head = Head(self.encoder.hidden_size, head)
        self.teacher = MovingAverage(self.encoder, self.head)
        self.momentum, self.center_momentum = momentum, center_momentum
        self.student_temperature, self.teacher_temperatures = student_temperature, tuple(teacher_temperatures)
        self.temperature_steps = temperature_steps
        self.register_buffer("center", torch.zeros(head[-1]))
        self.register_buffer("usage", torch.full((head[-1],), 1 / head[-1]))

    def compare(self, views, embeddings):
        """As in [`MultiView`]; also how many prototypes are in use, and how sure the teacher is.

        `prototypes_used` is exp(entropy) of the mean assignment of the last hundred updates over the number of prototypes: 1
        where all are used alike.
        """
        student = self.gather([self.head(embedding) for embedding in embeddings])
        teacher = self.gather([self.teacher(view) for view in views])
        temperature = self.teacher_temperature()
        losses = [
            clustering(student[one], teacher[other], self.center, self.student_temperature, temperature)
            for one, other in ((0, 1), (1, 0))
        ]
        logits = torch.cat(teacher)
        assigned = F.softmax((logits - self.center) / temperature, dim=-1)
        if self.training:
            self.center.lerp_(logits.mean(0), 1 - self.center_momentum)
            self.usage.lerp_(assigned.mean(0), 1 - USAGE_MOMENTUM)
        numbers = {
            "prototypes_used": torch.special.entr(self.usage).sum().exp() / len(self.usage),
            "teacher_entropy": torch.special.entr(assigned).sum(-1).mean(),
            "ema_distance": self.teacher.measure_distance(),
        }
        return sum(losses) / 2, numbers

    def teacher_temperature(self) -> float:
        """Of the update that comes next."""
        return cosine_ramp(int(self.steps), self.temperature_steps, *self.teacher_temperatures)

    def draw(self, folder, outcome):
        super().draw(folder, outcome)
        plot_prototype_usage(outcome.reports, folder / "prototype_usage.png", outcome.title, self.usage.cpu().numpy())

    def after_step(self, step: int) -> None:
        self.teacher.move(cosine_ramp(step, self.max_steps - 1, self.momentum, 1.0))
        super().after_step(step)
