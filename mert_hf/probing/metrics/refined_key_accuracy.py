"""Refined accuracy of keys, partial credit for reasonable errors, a module of `evaluate`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.checks import Scores, class_indices
from mert_hf.probing.metrics.module import INDEX, ScoresModule

RELATIONS = {"same": 1.0, "fifth": 0.5, "relative": 0.3, "parallel": 0.2, "other": 0.0}


def key_relation(reference: int, estimate: int) -> str:
    """How an estimate relates to the true key; both are 0 to 11 for C to B major, 12 to 23 for C to B minor.

    "fifth" is an estimate a fifth above the reference in the same mode, as in mir_eval 0.8, MIREX and MARBLE; a fifth below is
    "other".
    """
    mode, estimated_mode = reference // 12, estimate // 12
    interval = (estimate - reference) % 12
    if mode == estimated_mode:
        return {0: "same", 7: "fifth"}.get(interval, "other")
    # a minor key's relative major lies three semitones above it
    if interval == (9 if mode == 0 else 3):
        return "relative"
    return "parallel" if interval == 0 else "other"


KEY_SCORES: NDArray[np.float64] = np.array(
    [[RELATIONS[key_relation(reference, estimate)] for estimate in range(24)] for reference in range(24)]
)
"""(24, 24): score of an estimate (column) for a true key (row)."""


class RefinedKeyAccuracy(ScoresModule):
    """See `score`."""

    example = INDEX

    @staticmethod
    def score(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
        """Mean of the scores of `KEY_SCORES` over tracks.

        Args:
            references, predictions: (tracks,) indices of keys: C to B major, then C to B minor.
            labels: the 24 names.

        Returns:
            `refined_accuracy`, `accuracy`, and `share_fifth`, `share_relative`, `share_parallel`, `share_other`; per key its
            mean score; keys without tracks are left out there.

        Raises:
            InputError: lengths differ, an index is no key, or there are not 24 labels.
        """
        if len(labels) != 24:
            raise InputError(f"keys need 24 labels; got {len(labels)}.")
        truth, guess = class_indices(references, predictions, 24)
        scores = KEY_SCORES[truth, guess]
        relations = [key_relation(*pair) for pair in zip(truth.tolist(), guess.tolist(), strict=True)]
        shares = {f"share_{name}": relations.count(name) / len(relations) for name in RELATIONS if name != "same"}
        return Scores(
            {"refined_accuracy": float(scores.mean()), "accuracy": relations.count("same") / len(relations), **shares},
            {label: float(scores[truth == place].mean()) for place, label in enumerate(labels) if (truth == place).any()},
            {label: "has no tracks" for place, label in enumerate(labels) if not (truth == place).any()},
        )
