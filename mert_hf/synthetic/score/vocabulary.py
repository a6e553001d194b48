"""What the composer may draw from, so that music to train on and music to be judged by can be kept apart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mert_hf.synthetic.score.chance import between
from mert_hf.synthetic.score.theory import PROGRESSIONS

STEPS_PER_BEAT = 4

Span = tuple[float, float]
"""Least and greatest value."""


@dataclass(frozen=True)
class Pattern:
    """A written-out bar of accompaniment in sixteenths: one character a step, "-" where nothing starts."""

    name: str  # unique among all vocabularies
    kick: str  # "x" is a stroke
    snare: str  # the same
    hat: str  # "x" closed, "o" open
    chords: str  # "x" is a chord, held to the next one
    bass: str  # "r" root, "f" fifth, "o" octave, each held to the next one

    @property
    def beats_per_bar(self) -> int:
        """Beats of four steps in the bar."""
        return len(self.kick) // STEPS_PER_BEAT

    @staticmethod
    def onsets(row: str) -> list[tuple[float, str]]:
        """Beat within the bar and character of every stroke of a row."""
        return [(step / STEPS_PER_BEAT, character) for step, character in enumerate(row) if character != "-"]

    @staticmethod
    def held(row: str) -> list[tuple[float, float]]:
        """Beat and length in beats of every stroke of a row, each a little shorter than the way to the next."""
        starts = [onset for onset, _ in Pattern.onsets(row)]
        ends = [*starts[1:], len(row) / STEPS_PER_BEAT]
        return [(start, 0.9 * (end - start)) for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class Vocabulary:
    """Progressions, patterns, timbres and tunings of a body of pieces."""

    name: str
    progressions: Mapping[str, tuple[tuple[str, ...], ...]]  # by mode, in degrees
    patterns: tuple[Pattern, ...] = ()  # accompaniments to choose from; without any they are drawn freely, in all metres
    tuning_cents: Span = (0.0, 30.0)  # how far from A4 = 440 Hz a piece lies, upwards or downwards
    tilt_db_per_octave: Span = (0.0, 2.0)  # how much brighter or duller than usual an instrument is
    vibrato_hz: Span = (4.6, 6.2)  # rate of vibrato and tremolo
    intro_probability: float = 0.6  # how often a piece begins with a thin introduction


def draw_either_side(rng: np.random.Generator, distance: Span) -> float:
    """Draw a deviation upwards or downwards whose size lies within `distance`."""
    least, greatest = distance
    value = between(rng, -greatest, greatest)
    if not least:
        return value
    return math.copysign(least + abs(value) / greatest * (greatest - least), value)


CORPUS = Vocabulary("corpus", PROGRESSIONS)
"""What `generate_piece` and `write_corpus` use: the music that the quickstart trains on."""
