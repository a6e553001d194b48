"""Area under the ROC curve, macro and micro, a module of `evaluate`: `load_metric("roc_auc")`."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from mert_hf.probing.metrics.checks import Scores
from mert_hf.probing.metrics.module import ROW, ScoresModule
from mert_hf.probing.metrics.rank_measures import area_under_roc
from mert_hf.probing.metrics.ranking import score_ranking


class RocAuc(ScoresModule):
    """See `score`."""

    example = ROW

    @staticmethod
    def score(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
        """Area under the ROC curve.

        Args:
            references: (examples, classes) of 0 and 1.
            predictions: (examples, classes) scores; larger is likelier.
            labels: names of the classes.

        Returns:
            `roc_auc` (mean over the classes that can be scored) and `roc_auc_micro` (all cells of those classes as one); a
            class without a positive or without a negative example is left out and named.

        Raises:
            InputError: shapes differ, a reference is not 0 or 1, a score is NaN, or no class can be scored.
        """
        return score_ranking("roc_auc", area_under_roc, references, predictions, labels, needed=(1, 0))
