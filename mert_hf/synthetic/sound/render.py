"""From a score to a waveform: tones, drums, room, colour and level."""

import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from mert_hf.synthetic.score.chance import between
from mert_hf.synthetic.score.instruments import BASS, INSTRUMENT_TABLE, INSTRUMENTS
from mert_hf.synthetic.score.labels import Note, PieceLabels, Score
from mert_hf.synthetic.score.vocabulary import CORPUS, Vocabulary
from mert_hf.synthetic.sound.drums import draw_kit, render_drum
from mert_hf.synthetic.sound.oscillators import FloatArray
from mert_hf.synthetic.sound.timbres import Tone, draw_colour, release_s, render_tone

A4_HZ, A4_PITCH = 440.0, 69
# hardness of playing, and the velocities from which the next one is heard
_HARDNESS_LAYERS, _HARDER_FROM = (0.25, 0.6, 0.95), (55, 85)
# the root mean square of a middle note at full velocity, beside drums with a peak of about 1
_TONE_LEVEL, _BASS_LEVEL = 0.16, 0.24
_FADE_OUT_S = 0.01
_LOWEST_HZ = 28.0


@dataclass(frozen=True)
class Mix:
    """What the recording adds: gains, room, tone control and noise."""

    drums_gain: float
    room_gain: float  # level of the reverberation
    decay_s: float  # time in which the reverberation falls by 60 dB
    tilt_db_per_octave: float  # slope of the spectrum around 1 kHz
    noise_db: float  # level of the noise floor against full scale
    peak: float  # greatest absolute sample


def _draw_mix(rng: np.random.Generator) -> Mix:
    return Mix(
        drums_gain=10 ** (between(rng, -6, 1) / 20),
        room_gain=between(rng, 0.05, 0.35),
        decay_s=between(rng, 0.3, 1.5),
        tilt_db_per_octave=between(rng, -1.0, 1.0),
        noise_db=between(rng, -78, -60),
        peak=between(rng, 0.5, 0.95),
    )


def _velocity_gain(velocity: int) -> float:
    return (velocity / 127) ** 1.5


def _add_clipped(target: FloatArray, start: int, sound: FloatArray) -> None:
    stop = min(start + len(sound), len(target))
    target[start:stop] += sound[: stop - start]


def _add_instrument(
    target: FloatArray,
    name: str,
    notes: list[Note],
    tuning_cents: float,
    rate: int,
    rng: np.random.Generator,
    vocabulary: Vocabulary,
) -> None:
    """Add all notes of one instrument; each distinct tone is rendered once, as long as its longest note needs it."""
    colour = draw_colour(rng, vocabulary)
    level = _BASS_LEVEL if BASS in INSTRUMENT_TABLE[name].roles else _TONE_LEVEL
    level *= 10 ** (between(rng, -3, 3) / 20)
    num_release = int(release_s(name) * rate)
    # falls by 60 dB or so, and to exactly 0 at its end
    release = (np.exp(-np.linspace(0, 5, num_release)) * np.linspace(1, 0, num_release)).astype(np.float32)
    tones: dict[tuple[int, int], list[Note]] = defaultdict(list)
    for note in notes:
        tones[note.pitch, bisect_right(_HARDER_FROM, note.velocity)].append(note)
    for (pitch, layer), same in tones.items():
        pitch_hz = A4_HZ * 2 ** ((pitch - A4_PITCH + tuning_cents / 100) / 12)
        lengths = [max(1, round((note.offset_s - note.onset_s) * rate)) for note in same]
        tone = Tone(pitch_hz, max(lengths) + num_release, rate, _HARDNESS_LAYERS[layer], colour)
        sound = render_tone(name, tone, rng) * np.float32(level)
        for note, length in zip(same, lengths, strict=True):
            played = sound[: length + num_release] * np.float32(_velocity_gain(note.velocity))
            played[length:] *= release
            _add_clipped(target, round(note.onset_s * rate), played)


def _add_drums(target: FloatArray, labels: PieceLabels | Score, gain: float, rate: int, rng: np.random.Generator) -> None:
    kit = draw_kit(rng)
    sounds = {drum: render_drum(drum, kit, rate, rng) for drum in sorted({hit.drum for hit in labels.drum_hits})}
    for hit in labels.drum_hits:
        loudness = np.float32(gain * _velocity_gain(hit.velocity))
        _add_clipped(target, round(hit.onset_s * rate), sounds[hit.drum] * loudness)


def _transform_size(least: int) -> int:
    """Return the smallest length from `least` on that is quick to transform: 1, 3, 5, 9 or 15 times a power of 2."""
    return min(factor << max(0, math.ceil(math.log2(least / factor))) for factor in (1, 3, 5, 9, 15))


def _room_response(mix: Mix, rate: int, rng: np.random.Generator) -> FloatArray:
    """Return decaying noise that starts shortly after the direct sound and grows duller, of unit energy."""
    num_samples = int(mix.decay_s * rate)
    noise = rng.standard_normal(num_samples, dtype=np.float32)
    decay = np.exp(-6.9 * np.arange(num_samples) / num_samples).astype(np.float32)
    dull = (noise + np.roll(noise, 1) + np.roll(noise, 2)) / 3
    noise = (noise * decay + dull * (1 - decay)) * decay
    noise[: int(0.008 * rate)] = 0
    return noise / np.sqrt(np.sum(noise**2))


def _finish(dry: FloatArray, sent: FloatArray, mix: Mix, rate: int, rng: np.random.Generator) -> FloatArray:
    """Add the room, which answers to `sent`, to the dry sound, take away what is below hearing and set the level."""
    room = _room_response(mix, rate, rng)
    size = _transform_size(len(dry) + len(room))
    frequencies_hz = np.fft.rfftfreq(size, 1 / rate).astype(np.float32)
    low_edge = (frequencies_hz / np.float32(_LOWEST_HZ)) ** 4
    tilt = (np.maximum(frequencies_hz, 40) / 1000) ** np.float32(mix.tilt_db_per_octave / 6.02)
    spectrum = np.fft.rfft(dry, size) + mix.room_gain * np.fft.rfft(room, size) * np.fft.rfft(sent, size)
    sound = np.fft.irfft(spectrum * (tilt * low_edge / (1 + low_edge)), size)[: len(dry)].astype(np.float32)
    loudest = float(np.max(np.abs(sound), initial=0.0))
    if loudest > 0:
        sound /= loudest
    sound += rng.standard_normal(len(sound), dtype=np.float32) * np.float32(10 ** (mix.noise_db / 20))
    num_fade = min(len(sound), int(_FADE_OUT_S * rate))
    sound[len(sound) - num_fade :] *= np.linspace(1, 0, num_fade, dtype=np.float32)
    return sound * np.float32(mix.peak / max(float(np.max(np.abs(sound))), 1e-9))


def add_room(dry: FloatArray, sampling_rate: int, seed: np.random.SeedSequence) -> FloatArray:
    """Put a dry recording (samples,) into a room, with a colour, a noise floor and a level, all drawn as those of [`render`].

    Its drums and bass cannot be told from the rest, so the room hears less of all.
    """
    mix_seed, _, room_seed, _ = seed.spawn(4)
    mix, room_rng = _draw_mix(np.random.default_rng(mix_seed)), np.random.default_rng(room_seed)
    return _finish(dry, 0.5 * dry, mix, sampling_rate, room_rng)


def render(
    labels: PieceLabels | Score,
    num_samples: int,
    sampling_rate: int,
    seed: np.random.SeedSequence,
    vocabulary: Vocabulary = CORPUS,
    apart: bool = False,
) -> FloatArray:
    """Render a score.

    Args:
        sampling_rate: In Hz.
        seed: For everything that the score leaves open: specimens of the instruments, room, levels, noise.
        vocabulary: What the specimens are drawn from.
        apart: Draw for every instrument by itself, so that its specimen is the same whatever is played. Otherwise it depends on
            the notes of the instruments before it, and a score at another tempo may be played by others.

    Returns:
        Of shape (num_samples,), with a peak between 0.5 and 0.95.
    """
    children = seed.spawn(4)
    mix_rng, drums_rng, room_rng, tones_rng = map(np.random.default_rng, children)
    own = dict(zip(INSTRUMENTS, children[3].spawn(len(INSTRUMENTS)), strict=True)) if apart else {}
    mix = _draw_mix(mix_rng)
    dry, drums, low = (np.zeros(num_samples, np.float32) for _ in range(3))
    by_instrument: dict[str, list[Note]] = defaultdict(list)
    for note in labels.notes:
        by_instrument[note.instrument].append(note)
    for name in sorted(by_instrument):
        target = low if BASS in INSTRUMENT_TABLE[name].roles else dry
        rng = np.random.default_rng(own[name]) if apart else tones_rng
        _add_instrument(target, name, by_instrument[name], labels.tuning_cents, sampling_rate, rng, vocabulary)
    _add_drums(drums, labels, mix.drums_gain, sampling_rate, drums_rng)
    # a room that rings in the bass makes it unclear
    sent = dry + 0.3 * drums + 0.15 * low
    dry += drums
    dry += low
    return _finish(dry, sent, mix, sampling_rate, room_rng)
