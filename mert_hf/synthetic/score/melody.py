"""Melodies: motifs that are repeated, moved along the scale and fitted to the chords."""

from dataclasses import dataclass

import numpy as np

from mert_hf.synthetic.score.chance import between, happens, pick
from mert_hf.synthetic.score.events import Event
from mert_hf.synthetic.score.instruments import INSTRUMENT_TABLE, MELODY
from mert_hf.synthetic.score.plan import Metre, Plan, Section
from mert_hf.synthetic.score.theory import nearest, pitches_between

_RANGE_SEMITONES = 19
_VELOCITY = 92.0

# onsets and lengths in beats, as (onset, length) pairs that fill one beat; None is a beat without an onset
_CALM_CELLS = (((0.0, 1.0),), ((0.0, 0.5), (0.5, 0.5)), None)
_LIVELY_CELLS = (
    *_CALM_CELLS,
    ((0.0, 0.75), (0.75, 0.25)),
    ((0.0, 0.5), (0.5, 0.25), (0.75, 0.25)),
    ((0.0, 0.25), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25)),
    ((0.5, 0.5),),
)
_COMPOUND_CELLS = (
    ((0.0, 1.0),),
    ((0.0, 2 / 3), (2 / 3, 1 / 3)),
    ((0.0, 1 / 3), (1 / 3, 1 / 3), (2 / 3, 1 / 3)),
    None,
)
_STEPS = (-3, -2, -1, 0, 1, 2, 3)
_STEP_WEIGHTS = (0.4, 1.2, 3.0, 0.8, 3.0, 1.2, 0.4)


@dataclass(frozen=True)
class Motif:
    """One bar of melody: `onsets` and `lengths` in beats, and the `steps` along the scale that lead to each note."""

    onsets: tuple[float, ...]
    lengths: tuple[float, ...]
    steps: tuple[int, ...]


def _draw_motif(rng: np.random.Generator, metre: Metre, beat_s: float) -> Motif:
    if metre.subdivision == 3:
        cells, weights = _COMPOUND_CELLS, (1.0, 1.5, 1.2, 0.4)
    elif beat_s < 0.5:
        cells, weights = _CALM_CELLS, (1.6, 1.3, 0.9)
    else:
        cells, weights = _LIVELY_CELLS, (1.2, 1.6, 0.5, 0.6, 0.7, 0.5, 0.5)
    onsets: list[float] = []
    lengths: list[float] = []
    for beat in range(metre.beats_per_bar):
        cell = pick(rng, cells, weights)
        if cell is None and beat == 0:
            cell = cells[0]
        if cell is None:
            # the note before is held on, unless it ended in a rest
            if happens(rng, 0.7):
                lengths[-1] = beat + 1 - onsets[-1]
            continue
        for onset, length in cell:
            onsets.append(beat + onset)
            lengths.append(length)
    steps = tuple(pick(rng, _STEPS, _STEP_WEIGHTS) for _ in onsets)
    return Motif(tuple(onsets), tuple(lengths), steps)


def _vary(rng: np.random.Generator, motif: Motif) -> Motif:
    """Keep the rhythm and change where the line goes."""
    steps = tuple(pick(rng, _STEPS, _STEP_WEIGHTS) if happens(rng, 0.4) else step for step in motif.steps)
    return Motif(motif.onsets, motif.lengths, steps)


def _cadence(rng: np.random.Generator, metre: Metre) -> Motif:
    """Return a bar that comes to rest: one long note, sometimes after a short one."""
    bar = float(metre.beats_per_bar)
    if bar > 2 and happens(rng, 0.5):
        return Motif((0.0, 1.0), (1.0, bar - 1.5), (-1, pick(rng, (-1, 1))))
    return Motif((0.0,), (bar * 0.8,), (pick(rng, (-1, 0, 1)),))


def _phrase(rng: np.random.Generator, metre: Metre, beat_s: float) -> tuple[Motif, ...]:
    """Return four bars: a motif, its return or an answer, a variation and a point of rest."""
    first = _draw_motif(rng, metre, beat_s)
    second = pick(rng, (first, _vary(rng, first), _draw_motif(rng, metre, beat_s)))
    third = pick(rng, (first, _vary(rng, second)))
    return first, second, third, _cadence(rng, metre)


def _melody_range(name: str) -> tuple[int, int]:
    """Return the lowest and highest pitch of a melody on an instrument: above the accompaniment where it can be."""
    instrument = INSTRUMENT_TABLE[name]
    lowest = max(instrument.lowest, min(62, instrument.highest - _RANGE_SEMITONES))
    return lowest, min(instrument.highest, lowest + _RANGE_SEMITONES)


def _next_pitch(plan: Plan, beat: float, length: float, step: int, pitch: int, span: tuple[int, int]) -> int:
    """Move along the scale of the chord; notes on the beat and long ones land on a chord tone."""
    chord, _, _ = plan.chord_at(beat)
    scale = pitches_between(chord.scale, *span)
    here = scale.index(nearest(scale, pitch))
    # at the edge of the range the line turns round
    there = here + step if 0 <= here + step < len(scale) else here - step
    target = scale[min(max(there, 0), len(scale) - 1)]
    strong = abs(beat - round(beat)) < 1e-6 and (length >= 0.6 or round(beat) % plan.metre.beats_per_bar == 0)
    return nearest(pitches_between(chord.pitch_classes, *span), target) if strong else target


def _play_section(
    rng: np.random.Generator, plan: Plan, section: Section, phrase: tuple[Motif, ...], pitch: int, connection: float
) -> list[Event]:
    """Fit the phrase to the section's chords, from `pitch` on; `connection` is the sounding share of a note."""
    name = plan.instruments[MELODY]
    span = _melody_range(name)
    bar_beats = plan.metre.beats_per_bar
    events: list[Event] = []
    for bar in range(section.num_bars):
        motif = phrase[bar % len(phrase)]
        first_beat = (section.start_bar + bar) * bar_beats
        # louder towards the middle of a phrase
        swell = (0.0, 3.0, 5.0, 1.0)[bar % 4]
        for onset, length, step in zip(motif.onsets, motif.lengths, motif.steps, strict=True):
            beat = first_beat + onset
            pitch = _next_pitch(plan, beat, length, step, pitch, span)
            if happens(rng, 0.03):
                continue
            accent = 6.0 if onset == 0 else 2.0 if onset == int(onset) else 0.0
            velocity = (_VELOCITY + swell + accent) * section.intensity
            events.append(Event(beat, beat + length * connection, pitch, velocity, name))
    return events


def write_melody(plan: Plan, rng: np.random.Generator) -> list[Event]:
    """Write the melody, one note at a time, of a plan that has one; sections of one letter share their phrase."""
    if MELODY not in plan.instruments:
        return []
    phrases = {letter: _phrase(rng, plan.metre, plan.beat_s) for letter in "ABC"}
    lowest, highest = _melody_range(plan.instruments[MELODY])
    connection = between(rng, 0.7, 0.98)
    events: list[Event] = []
    for section in plan.sections:
        if MELODY in section.roles:
            start = (lowest + highest) // 2 + int(rng.integers(-4, 5))
            events += _play_section(rng, plan, section, phrases[section.letter], start, connection)
    return events
