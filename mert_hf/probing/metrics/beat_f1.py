"""F1 of beats, a module of `evaluate`: `load_metric("beat_f1")`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.checks import Scores, finite, same_length
from mert_hf.probing.metrics.module import ROW, ScoresModule

# The tables of MERT and music2vec speak of 20 ms; the code behind them (MARBLE, v1 and v2) uses 70 ms, mir_eval's default.
TOLERANCES_S = (0.07, 0.02)


def count_matches(references: NDArray[np.float64], estimates: NDArray[np.float64], tolerance_s: float) -> int:
    """Largest number of pairs within the tolerance, each time used once; both ascending, in seconds.

    In order, taking the earliest estimate that still fits is as good as any matching: all tolerances are equally wide.
    """
    count = place = 0
    for time in references:
        while place < len(estimates) and time - estimates[place] > tolerance_s:
            place += 1
        if place < len(estimates) and abs(estimates[place] - time) <= tolerance_s:
            count += 1
            place += 1
    return count


def _times(name: str, times: ArrayLike, trim_s: float) -> NDArray[np.float64]:
    array = np.asarray(times, dtype=np.float64)
    if array.size == 0:
        return np.zeros(0)
    array = finite(name, array, 1)
    if array[0] < 0 or (np.diff(array) <= 0).any():
        raise InputError(f"{name} must be ascending times of 0 s or later.")
    return array[array >= trim_s]


class BeatF1(ScoresModule):
    """See `score`."""

    example = ROW

    @staticmethod
    def score(
        references: Sequence[ArrayLike], predictions: Sequence[ArrayLike], labels: Sequence[str] = (), trim_s=0.0
    ) -> Scores:
        """F1 of beat times at tolerances of 70 and 20 ms.

        A reference and an estimate match if they lie within the tolerance; each is used once, and as many as possible are
        matched.

        Args:
            references, predictions: (beats,) times in seconds of every track, ascending.
            labels: names of the tracks, for `left_out`; their numbers by default.
            trim_s: beats before this time are passed over in both (mir_eval's 5 s; MARBLE does not trim).

        Returns:
            `beat_f1` (micro: matches, references and estimates are summed over tracks, as MARBLE does; 70 ms), `beat_f1_macro`
            (mean over tracks, as beat papers do), `beat_f1_20ms`, `beat_f1_macro_20ms`. Tracks without any reference beat are
            left out and named; a track without estimates scores 0.

        Raises:
            InputError: the numbers of tracks differ, times are NaN, negative or not ascending, or no track has a beat.
        """
        same_length(references, predictions)
        names = list(labels) or [f"track {number}" for number in range(len(references))]
        if len(names) != len(references):
            raise InputError(f"{len(names)} labels for {len(references)} tracks; pass one a track or none.")
        left_out, pairs = {}, []
        for name, reference, prediction in zip(names, references, predictions, strict=True):
            truth = _times(f"beats of {name}", reference, trim_s)
            guess = _times(f"estimated beats of {name}", prediction, trim_s)
            if len(truth):
                pairs.append((truth, guess))
            else:
                left_out[name] = "has no beats"
        if not pairs:
            raise InputError("beat_f1: none of the tracks has a beat.")
        values = {}
        for tolerance_s, ending in zip(TOLERANCES_S, ("", "_20ms"), strict=True):
            counts = np.array([(count_matches(*pair, tolerance_s), *map(len, pair)) for pair in pairs])
            matches, truths, guesses = counts.sum(axis=0)
            values[f"beat_f1{ending}"] = float(2 * matches / (truths + guesses))
            values[f"beat_f1_macro{ending}"] = float(np.mean(2 * counts[:, 0] / (counts[:, 1] + counts[:, 2])))
        return Scores(values, left_out=left_out)
