"""A synthetic piece: composed, rendered and labelled from a seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.labels import PieceLabels
from mert_hf.synthetic.score.vocabulary import CORPUS, Vocabulary
from mert_hf.synthetic.sound.render import render

LEAST_SAMPLING_RATE, GREATEST_SAMPLING_RATE = 8000, 192_000


@dataclass(frozen=True)
class SyntheticPiece:
    """A piece of music, (samples,) within -1 to 1 at `sampling_rate` in Hz, with the exact annotation of what sounds."""

    waveform: NDArray[np.float32]
    sampling_rate: int
    labels: PieceLabels


def check_settings(duration_s: float, sampling_rate: int) -> None:
    """Refuse, with InputError, a length that is not positive and a rate that is no whole number of Hz from 8000 to 192000."""
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise InputError(f"duration_s is {duration_s!r}; pass a finite number of seconds above 0, e.g. 30.")
    if not LEAST_SAMPLING_RATE <= sampling_rate <= GREATEST_SAMPLING_RATE or sampling_rate != int(sampling_rate):
        raise InputError(
            f"sampling_rate is {sampling_rate!r}; pass a whole number of Hz from {LEAST_SAMPLING_RATE} to "
            f"{GREATEST_SAMPLING_RATE}, e.g. 24000."
        )


def generate_piece(
    seed: int | Sequence[int], duration_s: float = 30.0, sampling_rate: int = 24000, vocabulary: Vocabulary = CORPUS
) -> SyntheticPiece:
    """Compose and render a piece.

    The same arguments give the same piece in every run and process; the sampling rate has no influence on the labels.

    Args:
        seed: One or several integers of at least 0. Trailing zeros do not count: 5 and [5, 0] are the same seed.
        duration_s: Length in seconds.
        sampling_rate: In Hz, 8000 to 192000.
        vocabulary: Progressions, patterns, timbres and tunings to draw from.

    Returns:
        The waveform of exactly `round(duration_s * sampling_rate)` samples, and its labels.

    Raises:
        InputError: If an argument is out of its range.
    """
    check_settings(duration_s, sampling_rate)
    seeds = [seed] if isinstance(seed, int | np.integer) else list(seed)
    if not seeds or any(not isinstance(part, int | np.integer) or part < 0 for part in seeds):
        raise InputError(f"seed is {seed!r}; pass one integer of at least 0 or a sequence of them, e.g. [0, 17].")
    labels = compose(seeds, duration_s, vocabulary)
    num_samples = round(duration_s * sampling_rate)
    rendering = np.random.SeedSequence(seeds, spawn_key=(1_000_000,))
    waveform = render(labels, num_samples, int(sampling_rate), rendering, vocabulary)
    return SyntheticPiece(waveform, int(sampling_rate), labels)
