"""What is done to a piece that leaves it the same piece: to its sound, and to its score before it is played."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mert_hf.audio import read_audio
from mert_hf.audio.stretching import with_length
from mert_hf.audio.writing import encode_mp3
from mert_hf.models.sampling_rates_mert import resample
from mert_hf.synthetic.score.instruments import INSTRUMENT_TABLE, INSTRUMENTS
from mert_hf.synthetic.score.labels import DrumHit, Score

# in the order of tables
TITLES = {
    "mp3": "mp3, 64 kb/s",
    "gain": "gain -12 dB",
    "noise": "noise, 20 dB",
    "pitch_up": "+1 semitone",
    "pitch_down": "-1 semitone",
    "tempo_up": "tempo +10 %",
    "tempo_down": "tempo -10 %",
    "recording": "other recording",
    "instruments": "other instruments",
    "part": "another part",
}
KBPS, GAIN_DB, SNR_DB = 64, -12.0, 20.0
SEMITONES = {"pitch_up": 1, "pitch_down": -1}
TEMPI = {"tempo_up": 1.1, "tempo_down": 0.9}
# mp3 files are made at the rate of most music, whatever the model's
MP3_RATE = 44100


def compress(waveform: NDArray[np.float32], sampling_rate: int, kbps: int = KBPS) -> NDArray[np.float32]:
    """(samples,) after a trip through an mp3 file of one channel at 44.1 kHz."""
    heard = read_audio(encode_mp3([resample(waveform, sampling_rate, MP3_RATE)], MP3_RATE, kbps), sampling_rate)
    return with_length(heard, len(waveform))


def scale(waveform: NDArray[np.float32], gain_db: float = GAIN_DB) -> NDArray[np.float32]:
    """(samples,) louder, or, below 0 dB, quieter."""
    return waveform * np.float32(10 ** (gain_db / 20))


def add_noise(waveform: NDArray[np.float32], rng: np.random.Generator, snr_db: float = SNR_DB) -> NDArray[np.float32]:
    """(samples,) with white noise; the mean power of the whole clip stands `snr_db` above that of the noise."""
    noise = rng.standard_normal(len(waveform), dtype=np.float32)
    power, noise_power = (np.mean(np.square(part, dtype=np.float64)) for part in (waveform, noise))
    return waveform + noise * np.float32(np.sqrt(power / noise_power) * 10 ** (-snr_db / 20))


def disturb_sound(waveform: NDArray[np.float32], rate: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """What is done to any clip (samples,) at `rate` Hz, by name."""
    return {"mp3": compress(waveform, rate), "gain": scale(waveform), "noise": add_noise(waveform, rng)}


def cut_score(score: Score, end_s: float) -> Score:
    """What begins before `end_s`."""
    notes, hits = ([one for one in part if one.onset_s < end_s] for part in (score.notes, score.drum_hits))
    return Score(notes, hits, score.tuning_cents)


def transpose(score: Score, semitones: int) -> Score:
    """All notes higher, or, below 0, lower; drums stay."""
    return replace(score, notes=[replace(note, pitch=note.pitch + semitones) for note in score.notes])


def at_tempo(score: Score, factor: float) -> Score:
    """Everything at `factor` times the tempo."""
    notes = [replace(note, onset_s=note.onset_s / factor, offset_s=note.offset_s / factor) for note in score.notes]
    return replace(score, notes=notes, drum_hits=[_hit_at(hit, factor) for hit in score.drum_hits])


def exchange_instruments(score: Score, rng: np.random.Generator) -> Score:
    """Every pitched instrument another one, which has most of its notes within its range; none that played before, while
    there are enough."""
    used = sorted({note.instrument for note in score.notes})
    free = [name for name in INSTRUMENTS if name not in used]
    exchanged: dict[str, str] = {}
    for name in used:
        pitches = [note.pitch for note in score.notes if note.instrument == name]
        open_to = free or [other for other in INSTRUMENTS if other != name]
        reached = {other: _reached(pitches, other) for other in open_to}
        most = max(reached.values())
        exchanged[name] = str(rng.choice([other for other in open_to if reached[other] == most]))
        free = [other for other in free if other != exchanged[name]]
    return replace(score, notes=[replace(note, instrument=exchanged[note.instrument]) for note in score.notes])


def _hit_at(hit: DrumHit, factor: float) -> DrumHit:
    return replace(hit, onset_s=hit.onset_s / factor)


def _reached(pitches: Iterable[int], name: str) -> int:
    instrument = INSTRUMENT_TABLE[name]
    return sum(instrument.lowest <= pitch <= instrument.highest for pitch in pitches)
