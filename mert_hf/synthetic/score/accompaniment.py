"""Chords, sustained pads and bass lines."""

import numpy as np

from mert_hf.synthetic.score.chance import between, happens, pick
from mert_hf.synthetic.score.events import Event
from mert_hf.synthetic.score.instruments import BASS, CHORDS, INSTRUMENT_TABLE, PAD
from mert_hf.synthetic.score.plan import Metre, Plan, Section
from mert_hf.synthetic.score.theory import Chord, nearest, pitches_between
from mert_hf.synthetic.score.vocabulary import Pattern

_CHORD_VELOCITY, _PAD_VELOCITY, _BASS_VELOCITY = 70.0, 56.0, 88.0
_BASS_RANGE_SEMITONES = 17

Hit = tuple[float, float]
"""Onset within the bar and length, in beats."""


def voice_chord(chord: Chord, name: str, centre: float) -> list[int]:
    """Return the chord's tones around a pitch, ascending: close position, in the inversion nearest to `centre`."""
    instrument = INSTRUMENT_TABLE[name]
    lowest = min(max(round(centre) - 6, instrument.lowest), instrument.highest - 11)
    return pitches_between(chord.pitch_classes, lowest, lowest + 11)


def _chord_changes(plan: Plan, first_beat: float) -> list[Hit]:
    """Return where chords start in a bar, and the bar's first beat, each held to the next of them."""
    bar_beats = plan.metre.beats_per_bar
    inner = [beat - first_beat for beat in plan.chord_starts if 0.5 < beat - first_beat < bar_beats - 0.5]
    starts = [0.0, *inner]
    return [(start, end - start) for start, end in zip(starts, [*starts[1:], float(bar_beats)], strict=True)]


def _draw_comping(rng: np.random.Generator, metre: Metre, beat_s: float) -> tuple[str, list[Hit]]:
    """Draw a manner of playing chords and its rhythm over a bar; an empty rhythm follows the chord changes."""
    bar, step = metre.beats_per_bar, metre.step
    # chords held over slow bars die away and leave the beat unmarked
    held_weight = 1.0 if bar * beat_s < 2.5 else 0.3
    manners = ("held", "block", "off_beat", "arpeggio", "strum", "after_beat")
    manner = pick(rng, manners, (held_weight, 1.2, 1.0, 1.8, 1.3, 0.7))
    beats = range(bar)
    if manner == "block":
        length = between(rng, 0.45, 0.95)
        return manner, [(float(beat), length) for beat in beats]
    if manner == "off_beat":
        return manner, [(0.0, 0.4)] + [(beat + 1 - step, 0.9 * step) for beat in beats]
    if manner == "after_beat":
        return manner, [(0.0, 0.9)] + [(float(beat), 0.5) for beat in beats if beat > 0]
    if manner == "arpeggio":
        # a note every 0.12 to 0.5 s
        fine = step / 2 if metre.subdivision == 2 and beat_s > 0.7 and happens(rng, 0.5) else step
        fine = 1.0 if beat_s < 0.4 and metre.subdivision == 2 and happens(rng, 0.5) else fine
        return manner, [(index * fine, fine * 1.6) for index in range(round(bar / fine))]
    if manner == "strum":
        steps = [index * step for index in range(bar * metre.subdivision)]
        onsets = [0.0] + [onset for onset in steps[1:] if happens(rng, 0.5)]
        ends = [*onsets[1:], float(bar)]
        return manner, [(onset, 0.9 * (end - onset)) for onset, end in zip(onsets, ends, strict=True)]
    return manner, []


def _comp_bar(
    rng: np.random.Generator, plan: Plan, section: Section, bar: int, comping: tuple[str, list[Hit]], centre: float
) -> list[Event]:
    name = plan.instruments[CHORDS]
    manner, rhythm = comping
    bar_beats = plan.metre.beats_per_bar
    first_beat = (section.start_bar + bar) * bar_beats
    events: list[Event] = []
    for index, (onset, length) in enumerate(rhythm or _chord_changes(plan, first_beat)):
        beat = first_beat + onset
        chord, _, chord_end = plan.chord_at(beat)
        voicing = voice_chord(chord, name, centre)
        end = min(beat + length, chord_end - 0.02)
        velocity = (_CHORD_VELOCITY + (5.0 if onset == 0 else 0.0) + between(rng, -3, 3)) * section.intensity
        if manner == "arpeggio":
            # up and down again
            turn = voicing + voicing[-2:0:-1]
            events.append(Event(beat, end, turn[index % len(turn)], velocity + 8, name))
            continue
        strum_s = between(rng, 0.008, 0.02) if manner == "strum" else 0.0
        events += [Event(beat, end, pitch, velocity, name, order * strum_s) for order, pitch in enumerate(voicing)]
    return events


def write_chords(plan: Plan, rng: np.random.Generator) -> list[Event]:
    """Write the chordal accompaniment; each letter of the form has its own manner of playing."""
    instrument = INSTRUMENT_TABLE[plan.instruments[CHORDS]]
    centre = min(max(between(rng, 54, 62), instrument.lowest + 6), instrument.highest - 6)
    manners = {letter: _draw_comping(rng, plan.metre, plan.beat_s) for letter in "ABC"}
    manners |= {letter: ("block", Pattern.held(pattern.chords)) for letter, pattern in plan.patterns.items()}
    events: list[Event] = []
    for section in plan.sections:
        for bar in range(section.num_bars):
            events += _comp_bar(rng, plan, section, bar, manners[section.letter], centre)
    return events


def write_pad(plan: Plan, rng: np.random.Generator) -> list[Event]:
    """Write held chords behind the other parts, where the plan has a pad."""
    if PAD not in plan.instruments:
        return []
    name = plan.instruments[PAD]
    centre = between(rng, 58, 68)
    events: list[Event] = []
    for section in plan.sections:
        if PAD not in section.roles:
            continue
        velocity = _PAD_VELOCITY * section.intensity
        for bar in range(section.num_bars):
            first_beat = (section.start_bar + bar) * plan.metre.beats_per_bar
            for onset, length in _chord_changes(plan, first_beat):
                beat = first_beat + onset
                voicing = voice_chord(plan.chord_at(beat)[0], name, centre)
                events += [Event(beat, beat + length - 0.03, pitch, velocity, name) for pitch in voicing]
    return events


def _draw_bass(rng: np.random.Generator, metre: Metre) -> list[tuple[float, str]]:
    """Draw the notes of a bar, onset in beats and tone; a bass without any follows the chord changes."""
    beats, steps = range(metre.beats_per_bar), range(metre.beats_per_bar * metre.subdivision)
    manner = pick(rng, ("held", "pulsed", "alternating", "walking", "syncopated"), (1.0, 1.2, 1.2, 1.2, 1.5))
    if manner == "pulsed":
        return [(step * metre.step, "root") for step in steps]
    if manner == "alternating":
        return [(float(beat), "fifth" if beat % 2 else "root") for beat in beats]
    if manner == "walking":
        return [(float(beat), "walk" if beat else "root") for beat in beats]
    if manner == "syncopated":
        tones, weights = ("root", "octave", "fifth"), (2.0, 1.0, 1.0)
        return [(0.0, "root")] + [(step * metre.step, pick(rng, tones, weights)) for step in steps[1:] if happens(rng, 0.4)]
    return []


def _written_bass(pattern: Pattern) -> list[tuple[float, str]]:
    names = {"r": "root", "f": "fifth", "o": "octave"}
    return [(onset, names[tone]) for onset, tone in Pattern.onsets(pattern.bass)]


def _bass_pitch(rng: np.random.Generator, plan: Plan, beat: float, tone: str, last: int, span: tuple[int, int]) -> int:
    """Return the pitch of one bass note; a chord's first note is always its root."""
    chord, start, end = plan.chord_at(beat)
    root = nearest(pitches_between((chord.root,), span[0], span[0] + 11), span[0] + 5)
    if beat - start < 0.26 or tone == "root":
        return root
    if tone == "fifth":
        return root + chord.fifth if root + chord.fifth <= span[1] else root + chord.fifth - 12
    if tone == "octave":
        return root + 12 if root + 12 <= span[1] else root
    if end - beat <= 1.01 and end < plan.end_beat:
        # the last beat leads to the next root by a step from above or below
        following, _, _ = plan.chord_at(end)
        target = nearest(pitches_between((following.root,), span[0], span[0] + 11), span[0] + 5)
        scale = [pitch for pitch in pitches_between(chord.scale, *span) if pitch != target]
        return nearest(scale, target + pick(rng, (-1.5, 1.5)))
    tones = [pitch for pitch in pitches_between(chord.pitch_classes, *span) if pitch != last]
    return pick(rng, [pitch for pitch in tones if abs(pitch - last) <= 7] or tones)


def write_bass(plan: Plan, rng: np.random.Generator) -> list[Event]:
    """Write the bass line, one note at a time, of a plan that has one; each letter of the form has its own pattern."""
    if BASS not in plan.instruments:
        return []
    name = plan.instruments[BASS]
    lowest = INSTRUMENT_TABLE[name].lowest
    span = (lowest, lowest + _BASS_RANGE_SEMITONES)
    bar_beats = plan.metre.beats_per_bar
    patterns = {letter: _draw_bass(rng, plan.metre) for letter in "ABC"}
    patterns |= {letter: _written_bass(pattern) for letter, pattern in plan.patterns.items()}
    connection = between(rng, 0.6, 0.95)
    events: list[Event] = []
    last = lowest + 5
    for section in plan.sections:
        if BASS not in section.roles:
            continue
        for bar in range(section.num_bars):
            first_beat = (section.start_bar + bar) * bar_beats
            # chord changes sound even where the pattern has no note
            changes = {onset: "root" for onset, _ in _chord_changes(plan, first_beat)}
            tones = {**dict(patterns[section.letter]), **changes}
            onsets = sorted(tones)
            for onset, end in zip(onsets, [*onsets[1:], float(bar_beats)], strict=True):
                last = _bass_pitch(rng, plan, first_beat + onset, tones[onset], last, span)
                velocity = (_BASS_VELOCITY + (6.0 if onset == 0 else 0.0)) * section.intensity
                stop = onset + (end - onset) * connection
                events.append(Event(first_beat + onset, first_beat + stop, last, velocity, name))
    return events
