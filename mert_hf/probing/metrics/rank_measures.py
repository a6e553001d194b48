"""Areas under the curves of a ranking, of one class: what bootstraps ask for thousands of times.

scikit-learn's functions give the same numbers after checks that take longer than the sums; inputs are checked by the callers.
"""

import numpy as np
from numpy.typing import NDArray


def area_under_roc(truth: NDArray[np.int64], scores: NDArray) -> float:
    """(examples,) of 0 and 1, both there, and scores -> share of the pairs of both that stand in order; ties count half."""
    positive, negative = _counts(truth, scores)
    # every negative lies below the positives of the higher scores, and beside those of its own
    above = np.cumsum(positive) - positive
    return float((negative * (above + 0.5 * positive)).sum() / (positive.sum() * negative.sum()))


def average_precision(truth: NDArray[np.int64], scores: NDArray) -> float:
    """(examples,) of 0 and 1 and scores -> precision at every distinct score, weighted by the positives that it brings."""
    positive, negative = _counts(truth, scores)
    found = np.cumsum(positive)
    return float((positive * found / np.cumsum(positive + negative)).sum() / found[-1])


def _counts(truth: NDArray[np.int64], scores: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many positives and negatives have each of the distinct scores, the highest first."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    positive = np.add.reduceat(truth[order], first)
    return positive, np.diff(np.r_[first, len(ordered)]) - positive
