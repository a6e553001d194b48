"""Measures of multilabel scores: area under the ROC curve and mean average precision, macro and micro."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.scores import Scores, finite, same_length


def roc_auc(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
    """Area under the ROC curve.

    Args:
        references: (examples, classes) of 0 and 1.
        predictions: (examples, classes) scores; larger is likelier.
        labels: names of the classes.

    Returns:
        `roc_auc` (mean over the classes that can be scored) and `roc_auc_micro` (all cells of those classes as one); a class
        without a positive or without a negative example is left out and named.

    Raises:
        InputError: shapes differ, a reference is not 0 or 1, a score is NaN, or no class can be scored.
    """
    from sklearn.metrics import roc_auc_score

    truth, scores = _check(references, predictions, labels)
    left_out = _without(truth, labels, value=1) | _without(truth, labels, value=0)
    return _average("roc_auc", roc_auc_score, truth, scores, labels, left_out)


def mean_average_precision(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
    """Average precision (area under the precision-recall curve without interpolation), mean over classes.

    Args, Raises: as in [`roc_auc`].

    Returns:
        `mean_average_precision` and `mean_average_precision_micro`; a class without a positive example is left out and named.
    """
    from sklearn.metrics import average_precision_score

    truth, scores = _check(references, predictions, labels)
    left_out = _without(truth, labels, value=1)
    return _average("mean_average_precision", average_precision_score, truth, scores, labels, left_out)


def _check(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> tuple[NDArray, NDArray]:
    truth, scores = finite("references", references, 2), finite("predictions", predictions, 2)
    same_length(truth, scores)
    if not truth.shape[1] == scores.shape[1] == len(labels):
        raise InputError(
            f"references {truth.shape} and predictions {scores.shape} must have {len(labels)} columns, one a label."
        )
    if not np.isin(truth, (0, 1)).all():
        raise InputError("references of multilabel tasks must be 0 or 1.")
    return truth.astype(np.int64), scores


def _without(truth: NDArray, labels: Sequence[str], value: int) -> dict[str, str]:
    kind = "positive" if value else "negative"
    return {label: f"has no {kind} example" for place, label in enumerate(labels) if not (truth[:, place] == value).any()}


def _average(
    name: str, score: Callable, truth: NDArray, scores: NDArray, labels: Sequence[str], left_out: dict[str, str]
) -> Scores:
    kept = [place for place, label in enumerate(labels) if label not in left_out]
    if not kept:
        raise InputError(f"{name}: none of the {len(labels)} classes can be scored: {next(iter(left_out.values()))}.")
    per_class = {labels[place]: float(score(truth[:, place], scores[:, place])) for place in kept}
    micro = float(score(truth[:, kept].ravel(), scores[:, kept].ravel()))
    return Scores({name: float(np.mean([*per_class.values()])), f"{name}_micro": micro}, per_class, left_out)
