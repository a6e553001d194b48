"""Keys, scales, chords and functional progressions."""

from dataclasses import dataclass

PITCH_CLASS_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
"""Semitones above the tonic; minor is the natural one, chords of the dominant raise its seventh."""

CHORD_INTERVALS = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "sus4": (0, 5, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "hdim7": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
}
"""Semitones above the root, by the chord's quality in the Harte syntax."""


@dataclass(frozen=True)
class Degree:
    """A chord's place in the key."""

    interval: int  # semitones from the tonic up to the root
    triad: str  # quality without a seventh
    seventh: str  # and with one
    alterations: tuple[tuple[int, int], ...] = ()  # (scale tone, tone played in its place), in semitones above the tonic


_RAISED_SEVENTH = ((10, 11),)

DEGREES = {
    "major": {
        "I": Degree(0, "maj", "maj7"),
        "ii": Degree(2, "min", "min7"),
        "II": Degree(2, "maj", "7", ((5, 6),)),
        "iii": Degree(4, "min", "min7"),
        "IV": Degree(5, "maj", "maj7"),
        "iv": Degree(5, "min", "min7", ((9, 8), (4, 3))),
        "V": Degree(7, "maj", "7"),
        "V7": Degree(7, "7", "7"),
        "Vsus": Degree(7, "sus4", "sus4"),
        "vi": Degree(9, "min", "min7"),
        "bVII": Degree(10, "maj", "maj", ((11, 10),)),
        "vii": Degree(11, "dim", "hdim7"),
    },
    "minor": {
        "i": Degree(0, "min", "min7"),
        "ii": Degree(2, "dim", "hdim7"),
        "III": Degree(3, "maj", "maj7"),
        "iv": Degree(5, "min", "min7"),
        "IV": Degree(5, "maj", "7", ((8, 9),)),
        "v": Degree(7, "min", "min7"),
        "V": Degree(7, "maj", "7", _RAISED_SEVENTH),
        "V7": Degree(7, "7", "7", _RAISED_SEVENTH),
        "Vsus": Degree(7, "sus4", "sus4"),
        "VI": Degree(8, "maj", "maj7"),
        "VII": Degree(10, "maj", "7"),
        "vii": Degree(11, "dim", "dim7", _RAISED_SEVENTH),
    },
}


def progressions(charts: str) -> tuple[tuple[str, ...], ...]:
    """Chords by degree, as they are written: "I IV V I | ii V7 I I"."""
    return tuple(tuple(chart.split()) for chart in charts.split("|"))


PROGRESSIONS = {
    "major": progressions(
        "I V vi IV | I IV V I | I vi IV V | I vi ii V7 | ii V7 I I | I iii IV V | I IV ii V7 | IV V I vi | I IV I V7 | "
        "I V7 V7 I | I bVII IV I | I IV iv I | I II V7 I | vi ii V7 I | I vii vi V | I Vsus IV V | I V vi iii IV I ii V7 | "
        "I I IV I V7 IV I V7"
    ),
    "minor": progressions(
        "i iv V i | i VI iv V | i VII VI V | ii V7 i i | i iv i V7 | i VI III VII | i VII i V | i v VI iv | i VI VII i | "
        "i iv VII i | i IV i v | i V7 V7 i | iv V i VI | i vii i V | i Vsus V i | i VI ii V7 | i VII III VI iv i V i | "
        "i i iv i VI V7 i V7"
    ),
}
"""Chords by degree; every length fills whole bars at one, two or half a chord per bar."""


@dataclass(frozen=True)
class Chord:
    """A chord in a key."""

    root: int  # pitch class, C = 0
    quality: str  # a key of `CHORD_INTERVALS`
    scale: tuple[int, ...]  # the seven pitch classes a melody uses over the chord, sorted

    @property
    def name(self) -> str:
        """The chord in the Harte syntax."""
        return f"{PITCH_CLASS_NAMES[self.root]}:{self.quality}"

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Pitch classes from the root upwards."""
        return tuple((self.root + interval) % 12 for interval in CHORD_INTERVALS[self.quality])

    @property
    def fifth(self) -> int:
        """Semitones from the root to the third tone of the chord, 6 or 7."""
        return CHORD_INTERVALS[self.quality][2]


def make_chord(tonic: int, mode: str, degree_name: str, with_seventh: bool) -> Chord:
    """Return the chord on a degree, a key of `DEGREES[mode]`, above a pitch class."""
    degree = DEGREES[mode][degree_name]
    replaced = dict(degree.alterations)
    scale = sorted((tonic + replaced.get(tone, tone)) % 12 for tone in SCALES[mode])
    quality = degree.seventh if with_seventh else degree.triad
    return Chord((tonic + degree.interval) % 12, quality, tuple(scale))


def pitches_between(pitch_classes: tuple[int, ...], lowest: int, highest: int) -> list[int]:
    """Return the MIDI pitches of the given pitch classes from `lowest` to `highest`, both included, ascending."""
    return [pitch for pitch in range(lowest, highest + 1) if pitch % 12 in pitch_classes]


def nearest(pitches: list[int], pitch: float) -> int:
    """Return the pitch nearest to `pitch`, the lower of two equally near ones."""
    return min(pitches, key=lambda candidate: (abs(candidate - pitch), candidate))
