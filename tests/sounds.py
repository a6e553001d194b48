"""Sounds for tests."""

import numpy as np


def make_tones(seconds: float, sampling_rate: int, seed: int = 0) -> np.ndarray:
    """A slowly changing chord with a little noise, (samples,) float32: something with pitch, to be heard at any rate."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    tones = sum(
        np.sin(2 * np.pi * hz * time + phase)
        for hz, phase in zip(random.uniform(80, 900, 4), random.uniform(0, 6, 4), strict=True)
    )
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(0.3, 1.0) * time)
    return (0.1 * tones * envelope + 0.002 * random.standard_normal(len(time))).astype(np.float32)
