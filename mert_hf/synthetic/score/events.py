"""Notes and strokes in musical time, as the parts are written; composition.py turns them into seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """A note: first and last beat of its sounding, MIDI pitch, velocity before rounding, instrument.

    `delay_s` puts it off against the beat, as the strings of a strummed chord follow one another.
    """

    start_beat: float
    end_beat: float
    pitch: int
    velocity: float
    instrument: str
    delay_s: float = 0.0


@dataclass(frozen=True)
class Stroke:
    """A drum stroke: its beat, the drum and the velocity before rounding."""

    beat: float
    drum: str
    velocity: float
