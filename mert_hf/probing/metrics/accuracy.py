"""Share of right classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.scores import Scores, same_length


def accuracy(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
    """Share of examples whose class is right.

    Args:
        references, predictions: (examples,) class indices.
        labels: names of the classes.

    Returns:
        `accuracy`, and the mean of the classes' as `balanced_accuracy`; per class, the share of its examples that were
        recognised; classes without examples are left out there.

    Raises:
        InputError: lengths differ, or an index is no class.
    """
    truth, guess = class_indices(references, predictions, len(labels))
    right = truth == guess
    counts = np.bincount(truth, minlength=len(labels))
    hits = np.bincount(truth[right], minlength=len(labels))
    per_class = {label: float(hits[place] / counts[place]) for place, label in enumerate(labels) if counts[place]}
    return Scores(
        {"accuracy": float(right.mean()), "balanced_accuracy": float(np.mean([*per_class.values()]))},
        per_class,
        {label: "has no examples" for place, label in enumerate(labels) if not counts[place]},
    )


def class_indices(references: ArrayLike, predictions: ArrayLike, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as (examples,) int64.

    Raises:
        InputError: lengths differ, they are no integers, or one lies outside 0 to `classes` - 1.
    """
    same_length(references, predictions)
    arrays = []
    for name, values in (("references", references), ("predictions", predictions)):
        array = np.asarray(values)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InputError(f"{name} must be (examples,) integers; they are {array.shape} of {array.dtype}.")
        if array.min() < 0 or array.max() >= classes:
            raise InputError(f"{name} must lie from 0 to {classes - 1}; they reach from {array.min()} to {array.max()}.")
        arrays.append(array.astype(np.int64))
    return arrays[0], arrays[1]
