"""What is known about a synthetic piece: its key, chords, beats, notes and instruments."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from mert_hf.common.errors import InputError
from mert_hf.common.reading import to_dataclass

NO_CHORD = "N"


@dataclass(frozen=True)
class ChordSpan:
    """A stretch of one harmony.

    Attributes:
        start_s: Start in seconds.
        end_s: End in seconds, where the next span starts.
        name: Harte syntax, e.g. "C:maj" or "Ab:min7"; "N" before the music starts.
        root: Pitch class of the root, C = 0; None for "N".
        quality: The part after the colon; "none" for "N".
    """

    start_s: float
    end_s: float
    name: str
    root: int | None
    quality: str


@dataclass(frozen=True)
class Note:
    """One note of a pitched instrument.

    Attributes:
        onset_s: Where the note really starts, timing jitter included.
        offset_s: Where it is let go; its sound may ring on, or have died away before.
        pitch: MIDI number, A4 = 69; the piece's tuning offset comes on top.
        velocity: Loudness of playing, 1 to 127.
        instrument: One of `INSTRUMENTS`.
    """

    onset_s: float
    offset_s: float
    pitch: int
    velocity: int
    instrument: str


@dataclass(frozen=True)
class DrumHit:
    """One stroke on one drum: `onset_s` with its timing jitter, name of the `drum`, `velocity` 1 to 127."""

    onset_s: float
    drum: str
    velocity: int


@dataclass(frozen=True)
class Score:
    """What is played, without harmony or metre; a piece's labels are a score too. Attributes as in [`PieceLabels`]."""

    notes: list[Note]
    drum_hits: list[DrumHit]
    tuning_cents: float


@dataclass(frozen=True)
class PieceLabels:
    """The exact annotation of a piece, which is also the score it is rendered from.

    Attributes:
        key: "C major" ... "B minor"; tonics are spelled C Db D Eb E F Gb G Ab A Bb B.
        tonic: Pitch class of the tonic, 0 to 11, C = 0.
        mode: "major" or "minor".
        chords: Spans that tile the piece from 0 to its end.
        beats_s: The beat grid, with the tempo's slow drift and without the jitter of single notes.
        downbeats_s: The beats that start a bar.
        tempo_bpm: Beats per minute around which the tempo drifts, by less than two percent.
        beats_per_bar: 3, 4 or 5, or 2 for 6/8, whose beats are dotted quarters.
        notes: Notes of all pitched instruments in the order of their onsets.
        drum_hits: Strokes in the order of their onsets.
        instruments: Sorted names of the pitched instruments that play, and "drums" if there are any.
        tuning_cents: Offset of the whole piece from A4 = 440 Hz, in cents.
    """

    key: str
    tonic: int
    mode: str
    chords: list[ChordSpan]
    beats_s: list[float]
    downbeats_s: list[float]
    tempo_bpm: float
    beats_per_bar: int
    notes: list[Note]
    drum_hits: list[DrumHit]
    instruments: list[str]
    tuning_cents: float

    def to_dict(self) -> dict[str, Any]:
        """Return the labels as plain dicts, lists, strings and numbers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the labels of a synthetic piece") -> Self:
        """Build labels from what `to_dict` returned, before or after a trip through JSON.

        Args:
            values: the fields.
            where: they were read, for messages.

        Raises:
            InputError: If fields are missing, unknown or of another type.
        """
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in values]
        unknown = [str(name)[:80] for name in values if name not in names]
        if missing or unknown:
            raise InputError(
                f"{where}: not the labels of a synthetic piece: missing fields {missing}, unknown fields {unknown[:5]}; pass"
                " the dict that PieceLabels.to_dict returned."
            )
        parts = dict(values)
        for name, kind in (("chords", ChordSpan), ("notes", Note), ("drum_hits", DrumHit)):
            if isinstance(values[name], list):
                parts[name] = [to_dataclass(kind, entry, f"{where}, {name}") for entry in values[name]]
        return to_dataclass(cls, parts, where)
