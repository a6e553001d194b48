"""What the measures of multilabel scores share: which classes can be scored, and their means."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.checks import Scores, numbers_by_label

KINDS = {1: "positive", 0: "negative"}


def score_ranking(
    name: str,
    score: Callable,
    references: ArrayLike,
    predictions: ArrayLike,
    labels: Sequence[str],
    needed: Sequence[int],
) -> Scores:
    """A measure of every class, their mean, and that of all cells as one class.

    Args:
        score: of one class: (examples,) of 0 and 1, and scores.
        needed: 1 leaves out classes without a positive example, 0 those without a negative one.

    Raises:
        InputError: shapes differ, a reference is not 0 or 1, a score is NaN, or no class can be scored.
    """
    truth, scores = numbers_by_label(references, predictions, labels)
    if not np.isin(truth, (0, 1)).all():
        raise InputError("references of multilabel tasks must be 0 or 1.")
    truth = truth.astype(np.int64)
    left_out = {
        label: f"has no {KINDS[value]} example"
        for value in needed
        for place, label in enumerate(labels)
        if not (truth[:, place] == value).any()
    }
    kept = [place for place, label in enumerate(labels) if label not in left_out]
    if not kept:
        raise InputError(f"{name}: none of the {len(labels)} classes can be scored: {next(iter(left_out.values()))}.")
    per_class = {labels[place]: float(score(truth[:, place], scores[:, place])) for place in kept}
    micro = float(score(truth[:, kept].ravel(), scores[:, kept].ravel()))
    return Scores({name: float(np.mean([*per_class.values()])), f"{name}_micro": micro}, per_class, left_out)
