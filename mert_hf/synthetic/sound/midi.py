"""A score as the bytes of a Standard MIDI File, for players with sampled instruments."""

import struct
from collections.abc import Iterable, Mapping

from mert_hf.common.errors import InputError
from mert_hf.synthetic.score.labels import PieceLabels, Score

# 5000 ticks a quarter note at 120 quarter notes a minute: a tick is 0.1 ms
TICKS_PER_QUARTER, QUARTER_MICROSECONDS = 5000, 500_000
TICKS_PER_S = TICKS_PER_QUARTER * 1_000_000 // QUARTER_MICROSECONDS
# channel 10 of General MIDI, counted from 0
DRUM_CHANNEL = 9
CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
# a pitch wheel at its end is two semitones away (General MIDI)
WHEEL_CENTRE, WHEEL_CENTS = 8192, 200
DRUM_NOTES = {"kick": 36, "snare": 38, "closed_hat": 42, "open_hat": 46, "crash": 49, "tom_high": 48, "tom_low": 45}
# messages, each to be joined with a channel
NOTE_OFF, NOTE_ON, CONTROLLER, PROGRAM, WHEEL = 0x80, 0x90, 0xB0, 0xC0, 0xE0
_DRUM_LENGTH_S = 0.1

Event = tuple[int, int, bytes]
"""Tick, place among the events of that tick, and message: at one tick a note is let go (2) before it is struck again (3)."""


def score_events(score: PieceLabels | Score, programs: Mapping[str, int]) -> list[Event]:
    """Return what a score asks of a player: every instrument on a channel of its own, tuned by its pitch wheel.

    Args:
        score: what is played.
        programs: number (from 0) of the General MIDI program of every instrument that plays.

    Raises:
        InputError: more instruments than MIDI has channels, or one without a program.
    """
    names = sorted({note.instrument for note in score.notes})
    missing = [name for name in names if name not in programs]
    if missing:
        raise InputError(f"no General MIDI program is given for {', '.join(missing)}; known: {', '.join(programs)}.")
    if len(names) > len(CHANNELS):
        raise InputError(f"{len(names)} instruments do not fit on the {len(CHANNELS)} channels of a MIDI file.")
    channels = dict(zip(names, CHANNELS, strict=False))
    wheel = min(max(round(WHEEL_CENTRE * (1 + score.tuning_cents / WHEEL_CENTS)), 0), 2 * WHEEL_CENTRE - 1)
    events = [(0, 0, bytes((PROGRAM | channels[name], programs[name]))) for name in names]
    events += [(0, 1, bytes((WHEEL | channels[name], wheel & 0x7F, wheel >> 7))) for name in names]
    for note in score.notes:
        events += _note(channels[note.instrument], note.pitch, note.velocity, note.onset_s, note.offset_s)
    for hit in score.drum_hits:
        events += _note(DRUM_CHANNEL, DRUM_NOTES[hit.drum], hit.velocity, hit.onset_s, hit.onset_s + _DRUM_LENGTH_S)
    return events


def file_bytes(events: Iterable[Event], end_tick: int = 0) -> bytes:
    """Return a MIDI file of format 0, which ends at `end_tick`, or with the last event where that comes later."""
    track, now = bytearray(b"\x00\xff\x51\x03" + QUARTER_MICROSECONDS.to_bytes(3, "big")), 0
    for tick, _, message in sorted(events):
        track += variable_length(tick - now) + message
        now = tick
    track += variable_length(max(end_tick - now, 0)) + b"\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_QUARTER)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def midi_bytes(score: PieceLabels | Score, programs: Mapping[str, int]) -> bytes:
    """Return the MIDI file of one score; arguments and errors as in [`score_events`]."""
    return file_bytes(score_events(score, programs))


def variable_length(number: int) -> bytes:
    """Return a number in MIDI's form: seven bits a byte, the highest bit set on all but the last."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))


def _note(channel: int, pitch: int, velocity: int, onset_s: float, offset_s: float) -> list[Event]:
    start, stop = round(onset_s * TICKS_PER_S), round(offset_s * TICKS_PER_S)
    return [
        (start, 3, bytes((NOTE_ON | channel, pitch, velocity))),
        (max(stop, start + 1), 2, bytes((NOTE_OFF | channel, pitch, 0))),
    ]
