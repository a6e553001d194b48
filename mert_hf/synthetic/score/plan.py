"""The plan of a piece: key, metre, tempo, form, harmony and who plays when."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from mert_hf.synthetic.score.chance import between, happens, pick
from mert_hf.synthetic.score.instruments import BASS, CHORDS, DRUMS, INSTRUMENT_TABLE, MELODY, PAD, playing
from mert_hf.synthetic.score.theory import MODES, Chord, make_chord
from mert_hf.synthetic.score.vocabulary import CORPUS, Pattern, Vocabulary, draw_either_side

MAX_TEMPO_DRIFT = 0.015
LEAST_TEMPO_BPM, GREATEST_TEMPO_BPM = 60.0, 180.0
# three notes a beat at 180 bpm is more than a listener follows
GREATEST_COMPOUND_TEMPO_BPM = 120.0

_METRES = ((4, 2), (3, 2), (5, 2), (2, 3))
_METRE_WEIGHTS = (0.62, 0.2, 0.07, 0.11)
_LONGEST_INTRO_S, _LONGEST_HARMONY_S = 8.0, 14.0
_FORMS = ("AABA", "ABAB", "ABAC", "AABB", "ABCB", "AABC")


@dataclass(frozen=True)
class Metre:
    """Beats per bar, and `subdivision`: whether a beat falls into 2 or 3 parts."""

    beats_per_bar: int
    subdivision: int

    @property
    def step(self) -> float:
        """Length of one part of a beat, in beats."""
        return 1.0 / self.subdivision


@dataclass(frozen=True)
class TempoMap:
    """Positions in beats to seconds, with a slow sinusoidal drift of the tempo and swung off-beats."""

    tempo_bpm: float  # in the middle of the drift
    start_s: float  # time of beat 0
    drift: float  # greatest relative change of a beat's length
    drift_period_beats: float  # after which the drift repeats
    drift_phase: float  # at beat 0, in radians
    swing: float  # where within a beat its second half starts; 0.5 is straight

    def grid_time_s(self, beat: float) -> float:
        """Return the time of a position that is not swung, such as a beat."""
        angle = 2 * math.pi / self.drift_period_beats
        wander = self.drift / angle * (math.cos(self.drift_phase) - math.cos(angle * beat + self.drift_phase))
        return self.start_s + 60.0 / self.tempo_bpm * (beat + wander)

    def played_time_s(self, beat: float) -> float:
        """Return the time at which a player with this piece's swing plays a position."""
        whole = math.floor(beat + 1e-6)
        part = max(beat - whole, 0.0)
        swung = 2 * part * self.swing if part < 0.5 else self.swing + (2 * part - 1) * (1 - self.swing)
        return self.grid_time_s(whole + swung)


@dataclass(frozen=True)
class Section:
    """A stretch of whole bars with one texture."""

    letter: str  # sections of one letter share chords, motifs and patterns; the introduction has A's
    start_bar: int  # counted from 0
    num_bars: int
    roles: frozenset[str]  # who plays
    intensity: float  # scale of the dynamics, about 0.6 to 1
    is_intro: bool = False


@dataclass(frozen=True)
class Plan:
    """All that the parts of a piece have in common."""

    tonic: int  # pitch class
    mode: str  # of `MODES`
    metre: Metre
    tempo: TempoMap
    sections: list[Section]  # in order, up to the end of the piece or beyond
    chords: list[Chord]  # in order
    chord_starts: list[float]  # their first beats; a chord lasts to the start of the next, the last one to `end_beat`
    end_beat: float  # of the last section
    instruments: dict[str, str]  # by role, for the roles that occur
    tuning_cents: float  # offset from A4 = 440 Hz
    patterns: dict[str, Pattern]  # accompaniment of every letter, where the vocabulary has patterns

    @property
    def beat_s(self) -> float:
        """Length of a beat in seconds, without drift."""
        return 60.0 / self.tempo.tempo_bpm

    def chord_at(self, beat: float) -> tuple[Chord, float, float]:
        """Return the chord that sounds at a beat, its first beat and the beat where it ends."""
        index = max(bisect_right(self.chord_starts, beat + 1e-6) - 1, 0)
        end = self.chord_starts[index + 1] if index + 1 < len(self.chords) else self.end_beat
        return self.chords[index], self.chord_starts[index], end


def _draw_metre(rng: np.random.Generator, vocabulary: Vocabulary) -> Metre:
    if not vocabulary.patterns:
        return Metre(*pick(rng, _METRES, _METRE_WEIGHTS))
    written = {pattern.beats_per_bar for pattern in vocabulary.patterns}
    known = [(metre, weight) for metre, weight in zip(_METRES, _METRE_WEIGHTS, strict=True) if metre[0] in written]
    metres, weights = zip(*known, strict=True)
    return Metre(*pick(rng, metres, weights))


def _draw_patterns(rng: np.random.Generator, vocabulary: Vocabulary, metre: Metre) -> dict[str, Pattern]:
    fitting = [pattern for pattern in vocabulary.patterns if pattern.beats_per_bar == metre.beats_per_bar]
    return {letter: pick(rng, fitting) for letter in "ABC"} if fitting else {}


def _draw_tempo(rng: np.random.Generator, metre: Metre) -> TempoMap:
    greatest = GREATEST_TEMPO_BPM if metre.subdivision == 2 else GREATEST_COMPOUND_TEMPO_BPM
    swings = metre.subdivision == 2 and happens(rng, 0.3)
    return TempoMap(
        tempo_bpm=round(math.exp(between(rng, math.log(LEAST_TEMPO_BPM), math.log(greatest))), 2),
        start_s=between(rng, 0.02, 0.3),
        drift=between(rng, 0.0, MAX_TEMPO_DRIFT),
        drift_period_beats=between(rng, 24.0, 64.0),
        drift_phase=between(rng, 0.0, 2 * math.pi),
        swing=between(rng, 0.57, 0.67) if swings else 0.5,
    )


def _draw_instruments(rng: np.random.Generator) -> dict[str, str]:
    """Cast the roles: one player for all of them, or a band of different instruments."""
    if happens(rng, 0.12):
        soloist = pick(rng, [name for name, instrument in INSTRUMENT_TABLE.items() if instrument.solo])
        cast = dict.fromkeys((CHORDS, MELODY, BASS), soloist)
        drums_probability = 0.25
    else:
        cast = {CHORDS: pick(rng, playing(CHORDS))}
        for role, probability in ((MELODY, 0.92), (PAD, 0.35)):
            free = [name for name in playing(role) if name not in cast.values()]
            if happens(rng, probability):
                # who has fewer parts to play gets this one more often, so that all instruments are about as frequent
                cast[role] = pick(rng, free, [1.0 / len(INSTRUMENT_TABLE[name].roles) ** 2 for name in free])
        if happens(rng, 0.9):
            cast[BASS] = pick(rng, playing(BASS))
        drums_probability = 0.82
    if happens(rng, drums_probability):
        cast[DRUMS] = DRUMS
    return cast


def _draw_slots(rng: np.random.Generator, metre: Metre, beat_s: float) -> tuple[int, ...]:
    """Draw a cycle of chord lengths in beats: half a bar, a bar or two bars, if that is neither hurried nor slow."""
    bar = metre.beats_per_bar
    halves = {2: (1, 1), 4: (2, 2), 5: (3, 2)}
    choices = [((bar,), 0.6), ((2 * bar,), 0.2)]
    if bar in halves:
        choices.append((halves[bar], 0.2))
    fitting = [(slots, weight) for slots, weight in choices if slots[-1] * beat_s >= 1.0 and slots[0] * beat_s <= 4.0]
    slots, weights = zip(*(fitting or choices[:1]), strict=True)
    return pick(rng, slots, weights)


@dataclass(frozen=True)
class _Harmony:
    """The chords of one letter with their lengths in beats; `num_bars` is the length of all of them."""

    chords: tuple[Chord, ...]
    lengths: tuple[int, ...]
    num_bars: int


def _draw_harmony(
    rng: np.random.Generator,
    tonic: int,
    mode: str,
    metre: Metre,
    beat_s: float,
    vocabulary: Vocabulary,
    used: list[tuple[str, ...]],
) -> _Harmony:
    slots = _draw_slots(rng, metre, beat_s)
    most_chords = max(4, int(_LONGEST_HARMONY_S * len(slots) / (sum(slots) * beat_s)))
    fitting = [degrees for degrees in vocabulary.progressions[mode] if degrees not in used and len(degrees) <= most_chords]
    degrees = pick(rng, fitting)
    used.append(degrees)
    seventh_probability = pick(rng, (0.0, 0.15, 0.6))
    chords = tuple(make_chord(tonic, mode, degree, happens(rng, seventh_probability)) for degree in degrees)
    lengths = tuple(slots[index % len(slots)] for index in range(len(chords)))
    return _Harmony(chords, lengths, sum(lengths) // metre.beats_per_bar)


def _draw_roles(rng: np.random.Generator, cast: dict[str, str], played_before: bool) -> frozenset[str]:
    """Choose who plays in a section; a letter that returns is fuller than at its first time."""
    probabilities = {CHORDS: 1.0, BASS: 0.97, MELODY: 0.9, DRUMS: 0.93, PAD: 0.85 if played_before else 0.5}
    return frozenset(role for role in cast if happens(rng, probabilities[role]))


def _lay_out_sections(
    rng: np.random.Generator,
    harmonies: dict[str, _Harmony],
    form: str,
    cast: dict[str, str],
    bar_s: float,
    num_bars: int,
    intro_probability: float,
) -> list[Section]:
    """Repeat the form until `num_bars` bars are filled, after an introduction in most pieces."""
    sections: list[Section] = []
    start_bar = 0
    if happens(rng, intro_probability) and len(cast) > 1:
        roles = frozenset(role for role in cast if role == CHORDS or (role in (BASS, PAD) and happens(rng, 0.3)))
        start_bar = harmonies["A"].num_bars
        while start_bar * bar_s > _LONGEST_INTRO_S and start_bar > 1:
            start_bar //= 2
        sections.append(Section("A", 0, start_bar, roles, between(rng, 0.65, 0.8), is_intro=True))
    target_s = between(rng, 6.0, 11.0)
    index = 0
    while start_bar < num_bars:
        letter = form[index % len(form)]
        repeats = max(1, round(target_s / (harmonies[letter].num_bars * bar_s)))
        played_before = any(section.letter == letter and not section.is_intro for section in sections)
        roles = _draw_roles(rng, cast, played_before)
        length = repeats * harmonies[letter].num_bars
        sections.append(Section(letter, start_bar, length, roles, between(rng, 0.75, 1.0)))
        start_bar += length
        index += 1
    return sections


def _lay_out_chords(
    sections: list[Section], harmonies: dict[str, _Harmony], beats_per_bar: int
) -> tuple[list[Chord], list[float]]:
    """Return all chords and the beats where they start; in each section its harmony comes round until the end."""
    chords: list[Chord] = []
    starts: list[float] = []
    for section in sections:
        harmony = harmonies[section.letter]
        beat = section.start_bar * beats_per_bar
        end = beat + section.num_bars * beats_per_bar
        for chord, length in cycle(zip(harmony.chords, harmony.lengths, strict=True)):
            if beat >= end:
                break
            chords.append(chord)
            starts.append(float(beat))
            beat += length
    return chords, starts


def plan_piece(rng: np.random.Generator, duration_s: float, vocabulary: Vocabulary = CORPUS) -> Plan:
    """Draw the plan of a piece that lasts at least `duration_s` seconds.

    Key, metre, tempo, harmony and cast are drawn apart from each other, so that none gives another away. Only the
    greatest tempo depends on the metre.
    """
    form_rng, harmony_rng, cast_rng = rng.spawn(3)
    tonic, mode = int(rng.integers(12)), pick(rng, MODES)
    metre = _draw_metre(rng, vocabulary)
    tempo = _draw_tempo(rng, metre)
    beat_s = 60.0 / tempo.tempo_bpm
    cast = _draw_instruments(cast_rng)
    form = pick(form_rng, _FORMS)
    used: list[tuple[str, ...]] = []
    harmonies = {letter: _draw_harmony(harmony_rng, tonic, mode, metre, beat_s, vocabulary, used) for letter in "ABC"}
    # a bar more than the nominal tempo needs: the drift may hurry the piece
    num_bars = math.ceil(duration_s * (1 + MAX_TEMPO_DRIFT) / (beat_s * metre.beats_per_bar)) + 1
    bar_s = beat_s * metre.beats_per_bar
    sections = _lay_out_sections(form_rng, harmonies, form, cast, bar_s, num_bars, vocabulary.intro_probability)
    chords, starts = _lay_out_chords(sections, harmonies, metre.beats_per_bar)
    end_beat = float((sections[-1].start_bar + sections[-1].num_bars) * metre.beats_per_bar)
    tuning_cents = round(draw_either_side(rng, vocabulary.tuning_cents), 2)
    patterns = _draw_patterns(rng, vocabulary, metre)
    return Plan(tonic, mode, metre, tempo, sections, chords, starts, end_beat, cast, tuning_cents, patterns)
