"""BYOL: a student predicts, from one crop of a track, what its own moving average makes of the other."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mert_hf.common.ramps import cosine_ramp
from mert_hf.objectives.across_processes import in_float32
from mert_hf.objectives.heads import Head
from mert_hf.objectives.health import Sign, measure_spread
from mert_hf.objectives.moving_average import MovingAverage
from mert_hf.objectives.multiview import MultiView


@in_float32
def byol(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of predictions and targets scaled to length 1: 2 - 2 * cosine (arXiv 2006.07733, equation 2).

    Deezer's code sums over `dim=-0`, the batch instead of the features, so its loss is this one times batch / size.

    Args:
        predicted, target: (batch, size).

    Returns:
        () 0 to 4; the lengths of the vectors do not matter.
    """
    return (2 - 2 * F.cosine_similarity(predicted, target, dim=-1)).mean()


class BYOL(MultiView):
    """Student with projector and predictor; the teacher is the moving average of encoder and projector.

    The teacher normalises by its own batches (Deezer's code averages the statistics of batch normalisation as well).

    Args:
        head, predictor: sizes of the layers of projector and predictor; both end equal, or ValueError.
        momentum: of the average at the first update; it rises to 1 along half a cosine.
    """

    signs = (
        Sign("ema_distance", "the teacher no longer follows the student", "Lower training.learning_rate.", high=1.0),
        Sign("prediction_std", "the student predicts nearly the same for all clips", "Lower training.learning_rate.", low=0.05),
    )

    def __init__(
        self,
        model,
        max_steps: int,
        head: Sequence[int] = (1024, 1024, 2048),
        predictor: Sequence[int] = (256, 2048),
        momentum: float = 0.996,
    ):
        super().__init__(model, max_steps)
        if head[-1] != predictor[-1]:
            raise ValueError(f"head={list(head)} and predictor={list(predictor)} must end in the same size.")
        self.head = Head(self.encoder.hidden_size, head)
        self.predictor = Head(head[-1], predictor)
        self.teacher = MovingAverage(self.encoder, self.head)
        self.momentum = momentum

    def compare(self, views, embeddings):
        """As in [`MultiView`]; also how far predictions are spread, and the teacher from the student."""
        predicted = self.gather([self.predictor(self.head(embedding)) for embedding in embeddings])
        targets = self.gather([self.teacher(view) for view in views])
        loss = (byol(predicted[0], targets[1]) + byol(predicted[1], targets[0])) / 2
        numbers = {"prediction_std": measure_spread(predicted[0]), "ema_distance": self.teacher.measure_distance()}
        return loss, numbers

    def after_step(self, step: int) -> None:
        self.teacher.move(cosine_ramp(step, self.max_steps - 1, self.momentum, 1.0))
        super().after_step(step)
