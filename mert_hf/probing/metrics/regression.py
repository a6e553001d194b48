"""Coefficient of determination, for every output."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.scores import Scores, finite, same_length


def r2(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
    """1 - squared errors / squared deviations from the references' mean.

    Args:
        references, predictions: (examples, outputs).
        labels: names of the outputs.

    Returns:
        `r2` (mean over outputs) and `r2_<label>` of each.

    Raises:
        InputError: shapes differ, a number is NaN, or an output's references are all equal (then R2 has no meaning).
    """
    truth, guess = finite("references", references, 2), finite("predictions", predictions, 2)
    same_length(truth, guess)
    if not truth.shape[1] == guess.shape[1] == len(labels):
        raise InputError(
            f"references {truth.shape} and predictions {guess.shape} must have {len(labels)} columns, one a label."
        )
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    if not (spread > 0).all():
        flat = [label for label, value in zip(labels, spread, strict=True) if not value > 0]
        raise InputError(f"R2 of {', '.join(flat)} has no meaning: all references are equal.")
    values = 1 - ((truth - guess) ** 2).sum(axis=0) / spread
    per_class = {label: float(value) for label, value in zip(labels, values, strict=True)}
    return Scores({"r2": float(np.mean(values)), **{f"r2_{label}": value for label, value in per_class.items()}}, per_class)
