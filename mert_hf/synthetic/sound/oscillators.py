"""Building blocks of the timbres: sums of partials, envelopes, filtered noise."""

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_PASS_BAND = 0.47
"""Highest frequency synthesised, as a share of the sampling rate: what lies above would fold back."""


def highest_frequency_hz(sampling_rate: int) -> float:
    """Return the frequency above which partials are left out."""
    return _PASS_BAND * sampling_rate


def decaying_partials(
    frequencies_hz: NDArray[np.float64],
    decays_per_s: NDArray[np.float64],
    amplitudes: NDArray[np.float64],
    num_samples: int,
    sampling_rate: int,
) -> FloatArray:
    """Sum sinusoids of fixed frequency that decay exponentially.

    A complex exponential at sample `rows * width + column` is the product of one that depends on the row and one that
    depends on the column, so the whole sum is one small matrix product instead of a sine per partial and sample.

    Args:
        frequencies_hz: Of shape (partials,); those above the pass band are left out.
        decays_per_s: Of shape (partials,), the rate d of the envelope exp(-d t).
        amplitudes: Of shape (partials,), at the start.
        num_samples: Length of the result.
        sampling_rate: In Hz.

    Returns:
        Of shape (num_samples,).
    """
    audible = frequencies_hz < highest_frequency_hz(sampling_rate)
    exponents = (2j * math.pi * frequencies_hz[audible] - decays_per_s[audible]) / sampling_rate
    width = max(1, math.isqrt(num_samples))
    num_rows = -(-num_samples // width)
    by_row = np.exp(np.outer(np.arange(num_rows) * width, exponents)) * amplitudes[audible]
    by_column = np.exp(np.outer(exponents, np.arange(width)))
    # The imaginary part of a product, as one product of real matrices. In double precision, because the last digits of a
    # product depend on how many threads share it, and a piece must be the same everywhere.
    rows = np.concatenate([by_row.real, by_row.imag], axis=1)
    columns = np.concatenate([by_column.imag, by_column.real], axis=0)
    return (rows @ columns).reshape(-1)[:num_samples].astype(np.float32)


def harmonic_sum(
    cycles: NDArray[np.float64],
    amplitudes: NDArray[np.complex64],
    rolloff: FloatArray | float,
) -> FloatArray:
    """Sum harmonics of a fundamental whose frequency and brightness may change over time.

    The harmonics are powers of one rotating phasor, so their sum is a polynomial in it, evaluated by Horner's scheme:
    one multiplication per harmonic and sample instead of a sine.

    Args:
        cycles: Of shape (samples,), the phase of the fundamental in cycles.
        amplitudes: Of shape (harmonics,), with the starting phases as complex angles.
        rolloff: Of shape (samples,) or a number from 0 to 1: the factor from one harmonic to the next.

    Returns:
        Of shape (samples,).
    """
    angle = (2 * math.pi * (cycles - np.floor(cycles))).astype(np.float32)
    phasor = np.empty(len(cycles), np.complex64)
    phasor.real, phasor.imag = np.cos(angle), np.sin(angle)
    step = phasor * np.float32(rolloff) if isinstance(rolloff, float) else phasor * rolloff
    total = np.full(len(cycles), amplitudes[-1], np.complex64)
    for amplitude in amplitudes[-2::-1]:
        total *= step
        total += amplitude
    total *= phasor
    return total.imag


def scattered_phases(amplitudes: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Give harmonics fixed, spread-out starting phases: in phase they would add up to a sharp pulse."""
    index = np.arange(len(amplitudes))
    return (amplitudes * np.exp(2j * math.pi * (0.381966 * index * index % 1.0))).astype(np.complex64)


def seconds(num_samples: int, sampling_rate: int) -> NDArray[np.float64]:
    """Return the times of the samples, of shape (num_samples,)."""
    return np.arange(num_samples) / sampling_rate


def attack_envelope(time_s: NDArray[np.float64], attack_s: float) -> FloatArray:
    """Return a rise from 0 to 1 within `attack_s`, without corners at its ends."""
    rise = np.ones(len(time_s), np.float32)
    count = int(np.searchsorted(time_s, attack_s))
    rise[:count] = 0.5 - 0.5 * np.cos(math.pi * time_s[:count] / attack_s)
    return rise


def filtered_noise(
    num_samples: int,
    low_hz: float,
    high_hz: float,
    sampling_rate: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return noise of unit standard deviation between two frequencies, with soft edges; of shape (num_samples,)."""
    # lengths of a power of two are the quickest to transform
    size = 1 << max(4, (num_samples - 1).bit_length())
    spectrum = np.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    frequencies_hz = np.fft.rfftfreq(size, 1 / sampling_rate)
    low_edge = (frequencies_hz / low_hz) ** 4
    band = low_edge / (1 + low_edge) / (1 + (frequencies_hz / high_hz) ** 4)
    noise = np.fft.irfft(spectrum * band, size)[:num_samples]
    return (noise / (np.sqrt(np.mean(noise**2)) + 1e-12)).astype(np.float32)


def resonances(
    frequencies_hz: NDArray[np.float64],
    peaks: tuple[tuple[float, float, float], ...],
) -> NDArray[np.float64]:
    """Return the gain of an instrument's body: 1 plus peaks of (centre in Hz, width in octaves, gain)."""
    gain = np.ones_like(frequencies_hz)
    for centre_hz, width_octaves, peak in peaks:
        gain += peak * np.exp(-0.5 * (np.log2(frequencies_hz / centre_hz) / width_octaves) ** 2)
    return gain
