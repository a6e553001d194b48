"""From a seed to a complete score: the parts are written, then played with human timing and dynamics."""

import math
from collections.abc import Sequence

import numpy as np

from mert_hf.synthetic.score.accompaniment import write_bass, write_chords, write_pad
from mert_hf.synthetic.score.events import Event, Stroke
from mert_hf.synthetic.score.instruments import DRUMS
from mert_hf.synthetic.score.labels import NO_CHORD, ChordSpan, DrumHit, Note, PieceLabels
from mert_hf.synthetic.score.melody import write_melody
from mert_hf.synthetic.score.percussion import write_drums
from mert_hf.synthetic.score.plan import Plan, plan_piece
from mert_hf.synthetic.score.theory import PITCH_CLASS_NAMES
from mert_hf.synthetic.score.vocabulary import CORPUS, Vocabulary

# a microsecond is far below a sample, and keeps the label files short
_TIME_DECIMALS = 6
_NOTE_JITTER_S, _DRUM_JITTER_S = 0.004, 0.002
_SHORTEST_NOTE_S = 0.04
_VELOCITY_SPREAD = 4.0


def _jitter_s(rng: np.random.Generator, spread_s: float) -> float:
    """Draw a deviation of at most three times its standard deviation."""
    return spread_s * min(max(float(rng.standard_normal()), -3.0), 3.0)


def _round_velocity(velocity: float) -> int:
    return min(max(round(velocity), 1), 127)


def _play_notes(events: list[Event], plan: Plan, rng: np.random.Generator, duration_s: float) -> list[Note]:
    """Turn events into notes in seconds, clipped to the piece; a pitch is let go before it is struck again."""
    notes: list[Note] = []
    for event in events:
        velocity = _round_velocity(event.velocity + _VELOCITY_SPREAD * float(rng.standard_normal()))
        late_s = event.delay_s + _jitter_s(rng, _NOTE_JITTER_S)
        onset_s = round(max(plan.tempo.played_time_s(event.start_beat) + late_s, 0.0), _TIME_DECIMALS)
        offset_s = max(plan.tempo.played_time_s(event.end_beat), onset_s + _SHORTEST_NOTE_S)
        if onset_s < duration_s:
            offset_s = min(round(offset_s, _TIME_DECIMALS), duration_s)
            notes.append(Note(onset_s, offset_s, event.pitch, velocity, event.instrument))
    notes.sort(key=lambda note: (note.onset_s, note.pitch, note.instrument))
    following: dict[tuple[str, int], float] = {}
    kept: list[Note] = []
    for note in reversed(notes):
        key = (note.instrument, note.pitch)
        offset_s = min(note.offset_s, following.get(key, math.inf))
        # two parts of one instrument may meet on a pitch: it sounds once
        if offset_s - note.onset_s >= min(_SHORTEST_NOTE_S, note.offset_s - note.onset_s):
            kept.append(Note(note.onset_s, offset_s, note.pitch, note.velocity, note.instrument))
            following[key] = note.onset_s
    return kept[::-1]


def _play_drums(strokes: list[Stroke], plan: Plan, rng: np.random.Generator, duration_s: float) -> list[DrumHit]:
    hits: list[DrumHit] = []
    for stroke in strokes:
        onset_s = max(plan.tempo.played_time_s(stroke.beat) + _jitter_s(rng, _DRUM_JITTER_S), 0.0)
        onset_s = round(onset_s, _TIME_DECIMALS)
        if onset_s < duration_s:
            hits.append(DrumHit(onset_s, stroke.drum, _round_velocity(stroke.velocity)))
    return sorted(hits, key=lambda hit: (hit.onset_s, hit.drum))


def _label_chords(plan: Plan, duration_s: float) -> list[ChordSpan]:
    """Return spans that tile the piece; neighbours of the same chord are one span."""
    starts = [0.0] + [round(plan.tempo.grid_time_s(beat), _TIME_DECIMALS) for beat in plan.chord_starts]
    named = [(NO_CHORD, None, "none")] + [(chord.name, chord.root, chord.quality) for chord in plan.chords]
    spans: list[ChordSpan] = []
    for start_s, end_s, (name, root, quality) in zip(starts, [*starts[1:], math.inf], named, strict=True):
        if start_s >= duration_s:
            break
        if spans and spans[-1].name == name:
            start_s = spans.pop().start_s
        spans.append(ChordSpan(start_s, min(end_s, duration_s), name, root, quality))
    return spans


def compose(seed: int | Sequence[int], duration_s: float = 30.0, vocabulary: Vocabulary = CORPUS) -> PieceLabels:
    """Compose a piece without rendering it, which takes a few milliseconds; the music goes on to the end of `duration_s`.

    Returns:
        The score, which is also the exact annotation of the rendered piece.
    """
    plan_rng, melody_rng, chords_rng, pad_rng, bass_rng, drums_rng, playing_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(7)
    )
    plan = plan_piece(plan_rng, duration_s, vocabulary)
    events = write_melody(plan, melody_rng) + write_bass(plan, bass_rng)
    events += write_chords(plan, chords_rng) + write_pad(plan, pad_rng)
    notes = _play_notes(events, plan, playing_rng, duration_s)
    drum_hits = _play_drums(write_drums(plan, drums_rng), plan, playing_rng, duration_s)
    beats_s: list[float] = []
    while (time_s := round(plan.tempo.grid_time_s(len(beats_s)), _TIME_DECIMALS)) < duration_s:
        beats_s.append(time_s)
    return PieceLabels(
        key=f"{PITCH_CLASS_NAMES[plan.tonic]} {plan.mode}",
        tonic=plan.tonic,
        mode=plan.mode,
        chords=_label_chords(plan, duration_s),
        beats_s=beats_s,
        downbeats_s=beats_s[:: plan.metre.beats_per_bar],
        tempo_bpm=plan.tempo.tempo_bpm,
        beats_per_bar=plan.metre.beats_per_bar,
        notes=notes,
        drum_hits=drum_hits,
        instruments=sorted({note.instrument for note in notes} | ({DRUMS} if drum_hits else set())),
        tuning_cents=plan.tuning_cents,
    )
