"""Noise under music, to ask what a model still hears through it."""

import numpy as np

from mert_hf.synthetic.sound.oscillators import FloatArray

# Below it the noise is as strong as at it: without an end, pink noise would be mostly rumble.
LOWEST_HZ = 20.0


def in_pink_noise(waveform: FloatArray, below_db: float, sampling_rate: int, rng: np.random.Generator) -> FloatArray:
    """Music with pink noise (as much power in every octave) added.

    Args:
        waveform: (num_samples,), within [-1, 1].
        below_db: how much weaker the noise is than the music, of their root mean squares over the whole clip.
        sampling_rate: samples per second.
        rng: draws the noise.

    Returns:
        (num_samples,) float32; where the sum would leave [-1, 1] all of it is made softer.
    """
    num_samples = len(waveform)
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(num_samples, 1 / sampling_rate), LOWEST_HZ))
    spectrum[0] = 0.0  # no offset
    noise = np.fft.irfft(spectrum, num_samples)
    level = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)) / np.mean(noise**2)) * 10 ** (-below_db / 20)
    heard = waveform + level * noise
    return (heard / max(1.0, np.abs(heard).max())).astype(np.float32)
