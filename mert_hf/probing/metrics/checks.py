"""What every measure gives back, and the checks that all of them share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mert_hf.common.errors import InputError


@dataclass(frozen=True)
class Scores:
    """Values of a measure.

    Attributes:
        values: by name, fractions of 1 (dB for separation); the names of `published.py` where a table prints the value.
        per_class: of every class, output or source that could be scored.
        left_out: classes or tracks that could not be scored, each with its reason; they have no part in `values`.
    """

    values: Mapping[str, float]
    per_class: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def finite(name: str, numbers: ArrayLike, dimensions: int) -> NDArray[np.float64]:
    """Numbers as float64; InputError where they have another number of dimensions, are none, or hold NaN or infinity."""
    array = np.asarray(numbers, dtype=np.float64)
    if array.ndim != dimensions or array.size == 0:
        raise InputError(f"{name} must have {dimensions} dimensions and at least one number; their shape is {array.shape}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} hold NaN or infinity in {int((~np.isfinite(array)).sum())} of {array.size} places.")
    return array


def same_length(references, predictions) -> None:
    """Refuse references and predictions, with InputError, of which there are not equally many, or none."""
    if len(references) != len(predictions) or not len(references):
        raise InputError(
            f"{len(references)} references and {len(predictions)} predictions cannot be compared; pass equally many."
        )


def require_integers(name: str, values: ArrayLike) -> None:
    """Refuse what is not (examples,) integers, with InputError."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"{name} must be (examples,) integers; they are {array.shape} of {array.dtype}.")


def class_indices(references: ArrayLike, predictions: ArrayLike, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as (examples,) int64; InputError where lengths differ, they are no integers, or lie outside 0 to `classes` - 1."""
    same_length(references, predictions)
    arrays = []
    for name, values in (("references", references), ("predictions", predictions)):
        require_integers(name, values)
        array = np.asarray(values)
        if array.min() < 0 or array.max() >= classes:
            raise InputError(f"{name} must lie from 0 to {classes - 1}; they reach from {array.min()} to {array.max()}.")
        arrays.append(array.astype(np.int64))
    return arrays[0], arrays[1]


def numbers_by_label(
    references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as (examples, labels) float64; InputError of other shapes, or where a number is NaN or infinite."""
    truth, guess = finite("references", references, 2), finite("predictions", predictions, 2)
    same_length(truth, guess)
    if not truth.shape[1] == guess.shape[1] == len(labels):
        raise InputError(
            f"references {truth.shape} and predictions {guess.shape} must have {len(labels)} columns, one a label."
        )
    return truth, guess
