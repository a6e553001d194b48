"""How well queries find what they were made of: query i is of piece i, the gallery holds every piece once."""

import numpy as np
from numpy.typing import NDArray


def cosines(queries: NDArray, gallery: NDArray) -> NDArray[np.float64]:
    """(queries, gallery) cosines of the rows of (queries, size) and (gallery, size).

    In float64: two pieces of one model may be alike to seven digits, which are all that float32 has.
    """
    return _unit(queries) @ _unit(gallery).T


def places(similarities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place (queries,), counted from 1, at which each query finds its own piece, from (queries, gallery) similarities.

    What is as similar as its own piece stands before it: who tells nothing apart finds nothing.
    """
    return np.count_nonzero(similarities >= np.diagonal(similarities)[:, None], axis=1)


def recall_at_1(places: NDArray) -> NDArray[np.float64]:
    """Of every query: 1 where its own piece is the nearest, else 0."""
    return (places == 1).astype(np.float64)


def average_precision(places: NDArray) -> NDArray[np.float64]:
    """Of every query: its own piece is the only right answer, so that this is one over its place (reciprocal rank)."""
    return 1.0 / places


def chance(gallery: int) -> dict[str, float]:
    """What guessing comes to, by measure: each of `gallery` places is as likely as any other."""
    return {"recall_at_1": 1.0 / gallery, "map": float(np.mean(1.0 / np.arange(1, gallery + 1)))}


def cosines_of_others(similarities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of (pieces, pieces) similarities of a gallery with itself, those of different pieces: (pieces, pieces - 1)."""
    count = len(similarities)
    return similarities[~np.eye(count, dtype=bool)].reshape(count, count - 1)


MEASURES = {"recall_at_1": recall_at_1, "map": average_precision}
"""By name: places (...) to values (...), whose mean is told."""


def _unit(vectors: NDArray) -> NDArray[np.float64]:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
