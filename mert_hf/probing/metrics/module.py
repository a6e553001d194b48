"""What all measures share as modules of `evaluate`."""

from abc import ABC, abstractmethod

import datasets
import evaluate

from mert_hf.probing.metrics.checks import Scores, require_integers

# what one reference or prediction is
NUMBER = datasets.Value("float64")
INDEX = datasets.Value("int64")
ROW = datasets.Sequence(NUMBER)
ROWS = datasets.Sequence(ROW)


class ScoresModule(evaluate.Metric, ABC):
    """Scores references and predictions that are given at once, or collected before: batch by batch, over processes."""

    example: object  # the `datasets` feature of one reference or prediction

    @staticmethod
    @abstractmethod
    def score(references, predictions, labels) -> Scores:
        """The measure itself."""

    def compute(self, *, predictions=None, references=None, **options) -> dict | None:
        """Score what is given, or what was collected: `compute(references=..., predictions=..., labels=[...])`.

        Returns:
            The values by name, `per_class` and `left_out` of [`Scores`].
        """
        if references is None or predictions is None or self.writer is not None or self.num_process > 1:
            return super().compute(predictions=predictions, references=references, **options)
        # what is there at once needs no table: evaluate's costs 7 ms, a second for a million examples, and a file on the disk
        return self._compute(references, predictions, **options)

    def add_batch(self, *, predictions=None, references=None, **more) -> None:
        """Collect references and predictions."""
        self._require_integers(references, predictions)
        super().add_batch(predictions=predictions, references=references, **more)

    def add(self, *, prediction=None, reference=None, **more) -> None:
        """Collect one reference and prediction."""
        self._require_integers([reference], [prediction])
        super().add(prediction=prediction, reference=reference, **more)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.score.__doc__.splitlines()[0],
            citation="",
            inputs_description=self.score.__doc__,
            features=datasets.Features({"references": self.example, "predictions": self.example}),
        )

    def _compute(self, references, predictions, **options) -> dict:
        scores = self.score(references, predictions, **options)
        return {**scores.values, "per_class": dict(scores.per_class), "left_out": dict(scores.left_out)}

    def _require_integers(self, references, predictions) -> None:
        if self.example is INDEX:  # a table of integers would make 0 of 0.7 without a word
            require_integers("references", references)
            require_integers("predictions", predictions)
