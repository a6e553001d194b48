"""Drum parts: a groove for each letter of the form, fills before and crashes after a change."""

import numpy as np

from mert_hf.synthetic.score.chance import between, happens, pick
from mert_hf.synthetic.score.events import Stroke
from mert_hf.synthetic.score.instruments import DRUMS
from mert_hf.synthetic.score.plan import Metre, Plan, Section
from mert_hf.synthetic.score.vocabulary import Pattern

Groove = list[tuple[float, str, float]]
"""Strokes of a bar: onset in beats, drum, velocity."""

_BACKBEATS = {2: (1,), 3: (1, 2), 4: (1, 3), 5: (1, 3)}


def _draw_hats(rng: np.random.Generator, metre: Metre, beat_s: float) -> Groove:
    """Draw how the beat is divided: a stroke every 0.15 to 0.7 s."""
    if metre.subdivision == 3:
        gap = metre.step if happens(rng, 0.7) else 1.0
    elif beat_s < 0.45:
        gap = pick(rng, (0.5, 1.0))
    elif beat_s > 0.7:
        gap = pick(rng, (0.25, 0.5, 0.5))
    else:
        gap = pick(rng, (0.5, 0.5, 1.0))
    opens = happens(rng, 0.35)
    hats: Groove = []
    for index in range(round(metre.beats_per_bar / gap)):
        onset = index * gap
        on_beat = abs(onset - round(onset)) < 1e-6
        last = opens and index == round(metre.beats_per_bar / gap) - 1
        hats.append((onset, "open_hat" if last else "closed_hat", 74.0 if on_beat else 56.0))
    return hats


def _draw_groove(rng: np.random.Generator, metre: Metre, beat_s: float) -> Groove:
    """Draw one bar of kick, snare and hi-hat."""
    bar = metre.beats_per_bar
    style = pick(rng, ("backbeat", "four_on_floor", "half_time", "light"), (2.0, 1.0, 0.6, 0.6))
    backbeats = _BACKBEATS[bar]
    if style == "half_time" and bar > 2:
        backbeats = (bar // 2,)
    groove = _draw_hats(rng, metre, beat_s)
    if style == "light":
        return [*groove, (0.0, "kick", 84.0), *((float(beat), "snare", 58.0) for beat in backbeats)]
    groove += [(float(beat), "snare", 96.0) for beat in backbeats]
    if style == "four_on_floor":
        return groove + [(float(beat), "kick", 100.0) for beat in range(bar)]
    groove.append((0.0, "kick", 104.0))
    steps = [index * metre.step for index in range(1, bar * metre.subdivision)]
    probability = 0.3 if beat_s > 0.4 else 0.18
    groove += [(step, "kick", 90.0) for step in steps if step not in backbeats and happens(rng, probability)]
    if beat_s > 0.5 and metre.subdivision == 2 and happens(rng, 0.4):
        groove.append((between(rng, 0, bar) // 1 + 0.75, "snare", 38.0))
    return groove


def _written_groove(pattern: Pattern) -> Groove:
    hats = {"x": "closed_hat", "o": "open_hat"}
    groove = [(onset, "kick", 100.0) for onset, _ in Pattern.onsets(pattern.kick)]
    groove += [(onset, "snare", 92.0) for onset, _ in Pattern.onsets(pattern.snare)]
    return groove + [(onset, hats[kind], 64.0) for onset, kind in Pattern.onsets(pattern.hat)]


def _draw_fill(rng: np.random.Generator, metre: Metre, beat_s: float) -> Groove:
    """Draw the strokes that take the groove's place on the last one or two beats of a section."""
    bar = metre.beats_per_bar
    length = min(pick(rng, (1, 2)), bar - 1)
    gap = metre.step / 2 if metre.subdivision == 2 and beat_s > 0.5 else metre.step
    count = round(length / gap)
    fill: Groove = []
    for index in range(count):
        progress = index / count
        drum = "snare" if progress < 0.4 else "tom_high" if progress < 0.7 else "tom_low"
        if index == 0 or happens(rng, 0.85):
            fill.append((bar - length + index * gap, drum, 76.0 + 24.0 * progress))
    return fill


def _play_section(rng: np.random.Generator, plan: Plan, section: Section, groove: Groove, fills: bool) -> list[Stroke]:
    bar_beats = plan.metre.beats_per_bar
    strokes: list[Stroke] = []
    for bar in range(section.num_bars):
        played = groove
        if fills and bar == section.num_bars - 1:
            fill = _draw_fill(rng, plan.metre, plan.beat_s)
            played = [stroke for stroke in groove if stroke[0] < fill[0][0]] + fill
        if bar == 0 and section.start_bar > 0 and happens(rng, 0.75):
            played = [stroke for stroke in played if stroke[0] > 0 or stroke[1] == "kick"] + [(0.0, "crash", 88.0)]
        first_beat = (section.start_bar + bar) * bar_beats
        for onset, drum, velocity in played:
            loudness = (velocity + 6.0 * float(rng.standard_normal())) * section.intensity
            strokes.append(Stroke(first_beat + onset, drum, loudness))
    return strokes


def write_drums(plan: Plan, rng: np.random.Generator) -> list[Stroke]:
    """Write the drum part; none where the plan has no drums."""
    if DRUMS not in plan.instruments:
        return []
    grooves = {letter: _draw_groove(rng, plan.metre, plan.beat_s) for letter in "ABC"}
    grooves |= {letter: _written_groove(pattern) for letter, pattern in plan.patterns.items()}
    strokes: list[Stroke] = []
    for section in plan.sections:
        if DRUMS in section.roles:
            strokes += _play_section(rng, plan, section, grooves[section.letter], fills=happens(rng, 0.8))
    return strokes
