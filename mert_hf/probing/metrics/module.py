"""A measure as a module of `evaluate`.

The files in `modules/` say which; `evaluate` copies such a file to its cache and runs it there.
"""

import datasets
import evaluate

from mert_hf.probing.metrics import METRICS

# what one reference or prediction is
NUMBER = datasets.Value("float64")
INDEX = datasets.Value("int64")
ROW = datasets.Sequence(NUMBER)
ROWS = datasets.Sequence(ROW)


class ScoresModule(evaluate.Metric):
    """Collects references and predictions, also batch by batch and over processes, and scores them together.

    Class attributes:
        metric: key in `METRICS`.
        example: the `datasets` feature of one reference or prediction.

    `compute(references=..., predictions=..., labels=[...])` returns the values, `per_class` and `left_out` of [`Scores`].
    """

    metric: str
    example: object

    def _info(self) -> evaluate.MetricInfo:
        function = METRICS[self.metric]
        return evaluate.MetricInfo(
            description=function.__doc__.splitlines()[0],
            citation="",
            inputs_description=function.__doc__,
            features=datasets.Features({"references": self.example, "predictions": self.example}),
        )

    def _compute(self, references, predictions, labels, **options) -> dict:
        scores = METRICS[self.metric](references, predictions, labels, **options)
        return {**scores.values, "per_class": dict(scores.per_class), "left_out": dict(scores.left_out)}
