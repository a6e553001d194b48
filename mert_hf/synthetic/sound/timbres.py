"""Sounds of the pitched instruments, named for what they resemble."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mert_hf.synthetic.score.chance import between
from mert_hf.synthetic.score.vocabulary import CORPUS, Vocabulary, draw_either_side
from mert_hf.synthetic.sound.oscillators import (
    FloatArray,
    attack_envelope,
    decaying_partials,
    filtered_noise,
    harmonic_sum,
    highest_frequency_hz,
    resonances,
    scattered_phases,
    seconds,
)

_LEVEL_WINDOW_S = 0.25


@dataclass(frozen=True)
class Colour:
    """How one specimen of an instrument differs from another."""

    tilt_db_per_octave: float  # added to the spectrum's slope
    decay_scale: float  # factor on how quickly struck and plucked tones die away
    attack_scale: float  # factor on the length of the attack
    vibrato_hz: float  # rate of vibrato and tremolo
    depth_scale: float  # factor on their depth
    shape: float  # from 0 to 1, what else differs, such as the place where a string is plucked


def draw_colour(rng: np.random.Generator, vocabulary: Vocabulary = CORPUS) -> Colour:
    """Draw a specimen of an instrument for one piece."""
    return Colour(
        tilt_db_per_octave=draw_either_side(rng, vocabulary.tilt_db_per_octave),
        decay_scale=between(rng, 0.75, 1.35),
        attack_scale=between(rng, 0.7, 1.4),
        vibrato_hz=between(rng, *vocabulary.vibrato_hz),
        depth_scale=between(rng, 0.5, 1.3),
        shape=between(rng, 0.0, 1.0),
    )


@dataclass(frozen=True)
class Tone:
    """A tone to be made: pitch in Hz, length, and `hardness` of playing from 0 to 1; harder is brighter."""

    pitch_hz: float
    num_samples: int
    sampling_rate: int
    hardness: float
    colour: Colour

    def time_s(self) -> NDArray[np.float64]:
        """Return the times of the samples."""
        return seconds(self.num_samples, self.sampling_rate)

    def harmonics(self, most: int) -> NDArray[np.float64]:
        """Return 1, 2, 3 ... up to `most` or the last harmonic in the pass band, with room for vibrato."""
        count = int(highest_frequency_hz(self.sampling_rate) / (1.02 * self.pitch_hz))
        return np.arange(1, max(1, min(count, most)) + 1, dtype=np.float64)

    def tilt(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gains of partials by the specimen's colour and the hardness of playing."""
        slope_db = self.colour.tilt_db_per_octave + 5.0 * (self.hardness - 0.6)
        return numbers ** (slope_db / 6.02)

    def struck(
        self, ratios: NDArray[np.float64], decays_per_s: NDArray[np.float64], amplitudes: NDArray[np.float64]
    ) -> FloatArray:
        """Return partials at multiples of the pitch that die away."""
        decays = decays_per_s * self.colour.decay_scale
        return decaying_partials(self.pitch_hz * ratios, decays, amplitudes, self.num_samples, self.sampling_rate)

    def vibrato(
        self,
        depth_cents: float,
        delay_s: float,
        cents: float = 0.0,
        rate_scale: float = 1.0,
    ) -> NDArray[np.float64]:
        """Return the phase in cycles with vibrato that swells during `delay_s`, centred `cents` beside the pitch.

        A depth of a few cents is so small that the frequency, and with it the integral, is linear in it.
        """
        time_s, rate_hz = self.time_s(), self.colour.vibrato_hz * rate_scale
        depth = depth_cents * self.colour.depth_scale * math.log(2) / 1200
        grown = np.minimum(time_s / max(delay_s, 1e-3), 1.0)
        wobble = depth * grown * (1 - np.cos(2 * math.pi * rate_hz * time_s)) / (2 * math.pi * rate_hz)
        return self.pitch_hz * 2 ** (cents / 1200) * (time_s + wobble)

    def attack(self, attack_s: float) -> FloatArray:
        """Return the rise of the tone."""
        return attack_envelope(self.time_s(), attack_s * self.colour.attack_scale)


def _piano(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """Stiff strings: slightly stretched partials in a quick and a slow decay, and the thump of the hammer."""
    numbers = tone.harmonics(18)
    stretch = np.sqrt(1 + 3e-4 * numbers**2) / math.sqrt(1 + 3e-4)
    struck_at = 0.6 + 0.4 * np.abs(np.sin(math.pi * numbers * (0.11 + 0.03 * tone.colour.shape)))
    amplitudes = struck_at * tone.tilt(numbers) * np.exp(-numbers * tone.pitch_hz / 2600) / numbers**0.6
    decay = (0.5 + tone.pitch_hz / 500) * (1 + 0.25 * (numbers - 1))
    ratios = np.concatenate([numbers * stretch, numbers * stretch * 1.0002])
    decays = np.concatenate([decay * 4, decay])
    sound = tone.struck(ratios, decays, np.concatenate([amplitudes * 0.6, amplitudes * 0.4]))
    count = min(tone.num_samples, int(0.03 * tone.sampling_rate))
    thump = filtered_noise(count, 120, 1200, tone.sampling_rate, rng) * np.exp(-np.linspace(0, 6, count))
    sound[:count] += 0.08 * tone.hardness * float(np.abs(amplitudes).sum()) * thump.astype(np.float32)
    return sound * tone.attack(0.003)


def _electric_piano(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """A struck tine: a warm fundamental, a bell-like attack and a slow tremolo."""
    ratios = np.array([1.0, 2.0, 3.0, 4.0, 7.1, 14.3])
    amplitudes = np.array([1.0, 0.25 + 0.4 * tone.hardness, 0.14, 0.1, 0.22 * tone.hardness, 0.07]) * tone.tilt(ratios)
    decays = np.array([0.9, 1.6, 2.5, 3.0, 14.0, 25.0]) * (0.6 + tone.pitch_hz / 700)
    tremolo = 1 + 0.16 * tone.colour.depth_scale * np.sin(2 * math.pi * tone.colour.vibrato_hz * tone.time_s())
    return tone.struck(ratios, decays, amplitudes) * tone.attack(0.004) * tremolo.astype(np.float32)


def _organ(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """Drawbars: a few steady harmonics, a rotating speaker and the click of the key."""
    full = np.array([1.0, 0.8, 0.65, 0.5, 0.25, 0.35, 0.0, 0.3])
    mellow = np.array([1.0, 0.55, 0.15, 0.3, 0.0, 0.05, 0.0, 0.05])
    drawbars = mellow + (full - mellow) * tone.colour.shape
    count = len(tone.harmonics(8))
    sound = harmonic_sum(tone.vibrato(5.0, 0.01), scattered_phases(drawbars[:count]), 1.0)
    rotor = 1 + 0.12 * tone.colour.depth_scale * np.sin(2 * math.pi * (tone.colour.vibrato_hz + 0.8) * tone.time_s())
    sound = sound * rotor.astype(np.float32) * tone.attack(0.008)
    click = min(tone.num_samples, int(0.006 * tone.sampling_rate))
    sound[:click] += 0.15 * filtered_noise(click, 1500, 5000, tone.sampling_rate, rng) * np.linspace(1, 0, click)
    return sound


def _guitar(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """A plucked string: no partials with a node where it is plucked, high ones gone first."""
    numbers = tone.harmonics(32)
    plucked_at = 0.1 + 0.18 * tone.colour.shape
    body = resonances(numbers * tone.pitch_hz, ((110, 0.3, 0.8), (210, 0.3, 0.7), (2200, 0.7, 0.5)))
    amplitudes = np.sin(math.pi * numbers * plucked_at) / numbers * body * tone.tilt(numbers)
    decays = 1.1 + tone.pitch_hz / 400 + 0.22 * numbers + 0.012 * numbers**2
    return tone.struck(numbers * np.sqrt(1 + 5e-5 * numbers**2), decays, amplitudes) * tone.attack(0.002)


def _strings(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """A small section: bowed saw-like players a few cents apart, each with a vibrato of its own."""
    numbers = tone.harmonics(30)
    body = resonances(numbers * tone.pitch_hz, ((300, 0.3, 0.8), (480, 0.25, 0.6), (1100, 0.4, 0.4), (2600, 0.4, 0.9)))
    amplitudes = scattered_phases(body * tone.tilt(numbers) * np.exp(-numbers * tone.pitch_hz / 5000) / numbers)
    sound = np.zeros(tone.num_samples, np.float32)
    for cents, rate_scale in ((-5.0, 0.93), (0.0, 1.0), (5.0, 1.06)):
        sound += harmonic_sum(tone.vibrato(14.0, 0.4, cents, rate_scale) + rng.random(), amplitudes, 1.0)
    return sound * tone.attack(0.09 - 0.04 * tone.hardness)


def _flute(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """Few harmonics, breath around them and a vibrato that sets in late."""
    numbers = tone.harmonics(6)
    amplitudes = np.array([1.0, 0.35, 0.16, 0.06, 0.03, 0.015])[: len(numbers)] * tone.tilt(numbers)
    sound = harmonic_sum(tone.vibrato(18.0, 0.6), scattered_phases(amplitudes), 1.0)
    time_s = tone.time_s()
    breath = filtered_noise(tone.num_samples, 0.8 * tone.pitch_hz, 3.0 * tone.pitch_hz, tone.sampling_rate, rng)
    breath *= (0.03 + 0.09 * np.exp(-time_s / 0.05)).astype(np.float32)
    swell = 1 + 0.1 * tone.colour.depth_scale * np.sin(2 * math.pi * tone.colour.vibrato_hz * time_s)
    return (sound * swell.astype(np.float32) + breath) * tone.attack(0.05)


def _brass(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """Lips and bell: the louder the tone grows, the brighter it is."""
    numbers = tone.harmonics(26)
    body = resonances(numbers * tone.pitch_hz, ((650, 0.5, 0.8), (1300, 0.5, 1.0)))
    amplitudes = scattered_phases(body * tone.tilt(numbers) / numbers**0.35)
    time_s = tone.time_s()
    attack_s = (0.09 - 0.05 * tone.hardness) * tone.colour.attack_scale
    grown = 1 - np.exp(-time_s / attack_s) + 0.25 * np.exp(-(((time_s - 2 * attack_s) / attack_s) ** 2))
    rolloff = (0.45 + (0.27 + 0.13 * tone.hardness) * np.minimum(grown, 1.15)).astype(np.float32)
    return harmonic_sum(tone.vibrato(8.0, 0.5), amplitudes, rolloff) * tone.attack(0.03) * grown.astype(np.float32)


def _clarinet(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """A closed pipe: odd harmonics stand out, the even ones come with height."""
    numbers = tone.harmonics(20)
    even = np.minimum(0.04 + numbers * tone.pitch_hz / 9000, 0.6)
    amplitudes = np.where(numbers % 2 == 1, 1.0, even) / numbers**0.9 * np.exp(-numbers * tone.pitch_hz / 4500)
    sound = harmonic_sum(tone.vibrato(4.0, 0.5), scattered_phases(amplitudes * tone.tilt(numbers)), 1.0)
    return sound * tone.attack(0.035)


def _vibraphone(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """A struck bar tuned to the double octave, long in the fundamental, with the motor's tremolo."""
    ratios = np.array([1.0, 3.98, 9.6])
    amplitudes = np.array([1.0, 0.45 * (0.5 + tone.hardness), 0.2 * tone.hardness]) * tone.tilt(ratios)
    decays = np.array([0.8, 5.0, 18.0]) * (0.7 + tone.pitch_hz / 1200)
    motor = 1 + 0.3 * tone.colour.depth_scale * np.sin(2 * math.pi * tone.colour.vibrato_hz * tone.time_s())
    return tone.struck(ratios, decays, amplitudes) * tone.attack(0.002) * motor.astype(np.float32)


def _bass(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """A long plucked string, played with the fingers."""
    numbers = tone.harmonics(24)
    plucked_at = 0.14 + 0.12 * tone.colour.shape
    amplitudes = np.sin(math.pi * numbers * plucked_at) / numbers**0.9 * np.exp(-numbers * tone.pitch_hz / 1500)
    decays = 0.9 + 0.3 * numbers + 0.03 * numbers**2
    return tone.struck(numbers, decays, amplitudes * tone.tilt(numbers)) * tone.attack(0.005)


def _synth_bass(tone: Tone, rng: np.random.Generator) -> FloatArray:
    """A sawtooth behind a filter that closes after the attack."""
    numbers = tone.harmonics(40)
    time_s = tone.time_s()
    rolloff = 0.62 + 0.1 * tone.colour.shape + (0.1 + 0.14 * tone.hardness) * np.exp(-time_s / 0.12)
    sound = harmonic_sum(
        tone.pitch_hz * time_s, scattered_phases(tone.tilt(numbers) / numbers**0.5), rolloff.astype(np.float32)
    )
    return sound * tone.attack(0.004) * np.exp(-time_s / 2.5).astype(np.float32)


_TIMBRES: dict[str, tuple[Callable[[Tone, np.random.Generator], FloatArray], float]] = {
    "bass": (_bass, 0.06),
    "brass": (_brass, 0.08),
    "clarinet": (_clarinet, 0.06),
    "electric_piano": (_electric_piano, 0.12),
    "flute": (_flute, 0.08),
    "guitar": (_guitar, 0.12),
    "organ": (_organ, 0.04),
    "piano": (_piano, 0.14),
    "strings": (_strings, 0.2),
    "synth_bass": (_synth_bass, 0.04),
    "vibraphone": (_vibraphone, 0.35),
}


def release_s(name: str) -> float:
    """Return how long an instrument rings after a note is let go, in seconds."""
    return _TIMBRES[name][1]


def render_tone(name: str, tone: Tone, rng: np.random.Generator) -> FloatArray:
    """Render a tone that is held throughout.

    Returns:
        Of shape (num_samples,), scaled to unit root mean square over its first quarter second.
    """
    sound = _TIMBRES[name][0](tone, rng)
    window = sound[: int(_LEVEL_WINDOW_S * tone.sampling_rate)]
    return sound / np.float32(np.sqrt(np.mean(window**2)) + 1e-9)
