"""Share of right classes, a module of `evaluate`: `load_metric("accuracy")`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score

from mert_hf.probing.metrics.checks import Scores, class_indices
from mert_hf.probing.metrics.module import INDEX, ScoresModule


class Accuracy(ScoresModule):
    """See `score`."""

    example = INDEX

    @staticmethod
    def score(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
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
        counts = np.bincount(truth, minlength=len(labels))
        hits = np.bincount(truth[truth == guess], minlength=len(labels))
        per_class = {label: float(hits[place] / counts[place]) for place, label in enumerate(labels) if counts[place]}
        return Scores(
            {"accuracy": float(accuracy_score(truth, guess)), "balanced_accuracy": float(np.mean([*per_class.values()]))},
            per_class,
            {label: "has no examples" for place, label in enumerate(labels) if not counts[place]},
        )
