"""Coefficient of determination of every output, a module of `evaluate`: `load_metric("r2")`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import r2_score

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.checks import Scores, numbers_by_label
from mert_hf.probing.metrics.module import ROW, ScoresModule


class R2(ScoresModule):
    """See `score`."""

    example = ROW

    @staticmethod
    def score(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
        """1 - squared errors / squared deviations from the references' mean.

        Args:
            references, predictions: (examples, outputs).
            labels: names of the outputs.

        Returns:
            `r2` (mean over outputs) and `r2_<label>` of each.

        Raises:
            InputError: shapes differ, a number is NaN, or an output's references are all equal (then R2 has no meaning).
        """
        truth, guess = numbers_by_label(references, predictions, labels)
        spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
        if not (spread > 0).all():  # scikit-learn has 0 or 1 for these
            flat = [label for label, value in zip(labels, spread, strict=True) if not value > 0]
            raise InputError(f"R2 of {', '.join(flat)} has no meaning: all references are equal.")
        values = r2_score(truth, guess, multioutput="raw_values")
        per_class = {label: float(value) for label, value in zip(labels, values, strict=True)}
        values = {"r2": float(np.mean(values)), **{f"r2_{label}": value for label, value in per_class.items()}}
        return Scores(values, per_class)
