"""The pitched instruments: their ranges and what they are given to play."""

from dataclasses import dataclass

MELODY, CHORDS, BASS, PAD, DRUMS = "melody", "chords", "bass", "pad", "drums"


@dataclass(frozen=True)
class Instrument:
    """An instrument as the composer sees it: the MIDI pitches it is given, and its parts."""

    lowest: int
    highest: int
    roles: tuple[str, ...]  # when several instruments play together
    solo: bool = False  # whether it can play melody, chords and bass at once


INSTRUMENT_TABLE = {
    "bass": Instrument(28, 52, (BASS,)),
    "brass": Instrument(48, 79, (MELODY, PAD)),
    "clarinet": Instrument(52, 86, (MELODY,)),
    "electric_piano": Instrument(40, 84, (MELODY, CHORDS), solo=True),
    "flute": Instrument(60, 93, (MELODY,)),
    "guitar": Instrument(40, 79, (MELODY, CHORDS), solo=True),
    "organ": Instrument(40, 84, (MELODY, CHORDS, PAD), solo=True),
    "piano": Instrument(36, 88, (MELODY, CHORDS), solo=True),
    "strings": Instrument(43, 88, (MELODY, CHORDS, PAD)),
    "synth_bass": Instrument(28, 52, (BASS,)),
    "vibraphone": Instrument(53, 89, (MELODY, CHORDS)),
}

INSTRUMENTS: tuple[str, ...] = tuple(INSTRUMENT_TABLE)
"""Names of the pitched instruments, sorted."""


def playing(role: str) -> list[str]:
    """Return the names of the instruments that can take a role, sorted."""
    return [name for name, instrument in INSTRUMENT_TABLE.items() if role in instrument.roles]
