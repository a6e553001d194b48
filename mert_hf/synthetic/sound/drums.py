"""Sounds of the drums."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mert_hf.synthetic.score.chance import between
from mert_hf.synthetic.sound.oscillators import FloatArray, attack_envelope, filtered_noise, highest_frequency_hz, seconds


@dataclass(frozen=True)
class Kit:
    """How one drum kit differs from another: factors on pitch and length of its sounds, and its `brightness`."""

    pitch_scale: float
    length_scale: float
    brightness: float


def draw_kit(rng: np.random.Generator) -> Kit:
    """Draw the drum kit of a piece."""
    return Kit(between(rng, 0.85, 1.2), between(rng, 0.7, 1.4), between(rng, 0.7, 1.3))


def _swept_skin(kit: Kit, start_hz: float, end_hz: float, sweep_s: float, decay_s: float, rate: int) -> FloatArray:
    """Return a skin that is struck: its pitch falls quickly from a start to an end frequency while it rings out."""
    decay_s *= kit.length_scale
    time_s = seconds(int(5 * decay_s * rate), rate)
    cycles = end_hz * time_s + (start_hz - end_hz) * sweep_s * (1 - np.exp(-time_s / sweep_s))
    return (np.sin(2 * math.pi * kit.pitch_scale * cycles) * np.exp(-time_s / decay_s)).astype(np.float32)


def _noise_burst(
    kit: Kit,
    low_hz: float,
    high_hz: float,
    decay_s: float,
    rate: int,
    rng: np.random.Generator,
) -> FloatArray:
    time_s = seconds(int(6 * decay_s * rate), rate)
    top_hz = highest_frequency_hz(rate)
    noise = filtered_noise(len(time_s), min(low_hz, 0.5 * top_hz), min(high_hz * kit.brightness, top_hz), rate, rng)
    return noise * np.exp(-time_s / decay_s).astype(np.float32)


def _mix(*sounds: FloatArray) -> FloatArray:
    total = np.zeros(max(len(sound) for sound in sounds), np.float32)
    for sound in sounds:
        total[: len(sound)] += sound
    return total


def _kick(kit: Kit, rate: int, rng: np.random.Generator) -> FloatArray:
    skin = _swept_skin(kit, 170, 48, 0.025, 0.11, rate)
    return _mix(1.5 * skin, 0.12 * kit.brightness * _noise_burst(kit, 800, 4000, 0.006, rate, rng))


def _snare(kit: Kit, rate: int, rng: np.random.Generator) -> FloatArray:
    skin = _swept_skin(kit, 260, 185, 0.02, 0.05, rate)
    return _mix(0.6 * skin, 0.3 * _noise_burst(kit, 1400, 8000, 0.06 * kit.length_scale, rate, rng))


def _closed_hat(kit: Kit, rate: int, rng: np.random.Generator) -> FloatArray:
    return 0.14 * _noise_burst(kit, 6500, 11000, 0.018 * kit.length_scale, rate, rng)


def _open_hat(kit: Kit, rate: int, rng: np.random.Generator) -> FloatArray:
    return 0.13 * _noise_burst(kit, 6000, 11000, 0.11 * kit.length_scale, rate, rng)


def _crash(kit: Kit, rate: int, rng: np.random.Generator) -> FloatArray:
    return 0.18 * _noise_burst(kit, 3000, 11000, 0.4 * kit.length_scale, rate, rng)


def _tom_high(kit: Kit, rate: int, rng: np.random.Generator) -> FloatArray:
    return _mix(_swept_skin(kit, 240, 165, 0.04, 0.1, rate), 0.08 * _noise_burst(kit, 500, 3000, 0.01, rate, rng))


def _tom_low(kit: Kit, rate: int, rng: np.random.Generator) -> FloatArray:
    return _mix(_swept_skin(kit, 160, 98, 0.05, 0.14, rate), 0.08 * _noise_burst(kit, 400, 2500, 0.01, rate, rng))


_DRUMS: dict[str, Callable[[Kit, int, np.random.Generator], FloatArray]] = {
    "closed_hat": _closed_hat,
    "crash": _crash,
    "kick": _kick,
    "open_hat": _open_hat,
    "snare": _snare,
    "tom_high": _tom_high,
    "tom_low": _tom_low,
}


def render_drum(name: str, kit: Kit, sampling_rate: int, rng: np.random.Generator) -> FloatArray:
    """Render one stroke on a drum at full velocity, of shape (samples,), about 1 at the loudest drum's peak."""
    sound = _DRUMS[name](kit, sampling_rate, rng)
    return sound * attack_envelope(seconds(len(sound), sampling_rate), 0.0006)
