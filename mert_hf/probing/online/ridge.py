"""Linear probes in closed form: ridge regression on standardised features, all penalties at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Of the squared weights, beside the mean squared error of standardised features; the strongest first, which wins a tie (ours).
PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001)
# A dimension whose deviation is smaller than this share of its mean differs by rounding alone, and counts as one that does not.
LEAST_DEVIATION = 1e-9


def ridge_answers(
    features: NDArray, targets: NDArray, asked: Sequence[NDArray], penalties: Sequence[float] = PENALTIES
) -> list[NDArray[np.float64]]:
    """Learn from some examples, and answer for others.

    The weights w and the bias b minimise mean((x w + b - y)^2) + penalty * w^2, where every dimension of x has mean 0 and
    deviation 1 over the examples that are learnt from. Everything is computed in float64.

    Args:
        features: (examples, hidden) to learn from.
        targets: (examples, outputs) numbers; of classes one for the right one and zero for the others.
        asked: (others, hidden) each.

    Returns:
        (penalties, others, outputs) of each.
    """
    features, targets = np.asarray(features, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > LEAST_DEVIATION * np.abs(mean), 1 / np.maximum(deviation, 1e-300), 0.0)
    left, singular, right = np.linalg.svd((features - mean) * scale, full_matrices=False)
    bias = targets.mean(axis=0)
    along = left.T @ (targets - bias)
    count = len(features)
    weights = np.stack([right.T @ (along * (singular / (singular**2 + count * penalty))[:, None]) for penalty in penalties])
    return [((np.asarray(others, dtype=np.float64) - mean) * scale) @ weights + bias for others in asked]
