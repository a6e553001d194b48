"""Mean average precision, macro and micro, a module of `evaluate`: `load_metric("mean_average_precision")`."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from mert_hf.probing.metrics.checks import Scores
from mert_hf.probing.metrics.module import ROW, ScoresModule
from mert_hf.probing.metrics.rank_measures import average_precision
from mert_hf.probing.metrics.ranking import score_ranking


class MeanAveragePrecision(ScoresModule):
    """See `score`."""

    example = ROW

    @staticmethod
    def score(references: ArrayLike, predictions: ArrayLike, labels: Sequence[str]) -> Scores:
        """Average precision (area under the precision-recall curve without interpolation), mean over classes.

        Args:
            references: (examples, classes) of 0 and 1.
            predictions: (examples, classes) scores; larger is likelier.
            labels: names of the classes.

        Returns:
            `mean_average_precision` and `mean_average_precision_micro`; a class without a positive example is left out and
            named.

        Raises:
            InputError: shapes differ, a reference is not 0 or 1, a score is NaN, or no class can be scored.
        """
        return score_ranking("mean_average_precision", average_precision, references, predictions, labels, needed=(1,))
