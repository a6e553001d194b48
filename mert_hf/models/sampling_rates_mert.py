"""Sampling rates that there are, and waveforms brought from one to another: the one resampler of files and arrays."""

from typing import Any

import numpy as np

from .errors_mert import InputError

try:
    import soxr
except ImportError:
    soxr = None

# Telephones hear 8,000 samples a second and the slowest recorders 1,000; converters end at 768,000. Beyond, a number is a
# mistake or damage, and resampling from or to it may take gigabytes or never end.
LOWEST_HZ, HIGHEST_HZ = 1_000, 768_000


def require_sampling_rate(rate: Any, what: str = "sampling_rate") -> int:
    """A rate as an integer, where it is one.

    Args:
        rate: samples per second: an integer or a whole float, of Python, numpy or torch.
        what: it is, for the message.

    Raises:
        InputError: it is no whole number from 1,000 to 768,000; names what was probably meant.
    """
    value = rate.item() if getattr(rate, "ndim", None) == 0 else rate
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and LOWEST_HZ <= value <= HIGHEST_HZ and value == int(value):
        return int(value)
    shown = repr(value)
    raise InputError(
        f"{what} must be a whole number of samples per second from {LOWEST_HZ} to {HIGHEST_HZ}; got"
        f" {shown if len(shown) <= 80 else shown[:80] + '...'}{_probably_meant(value)}"
    )


def _probably_meant(value: Any) -> str:
    """The rate behind kilohertz, text or a fraction, or the commonest one."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    for guess in (number, 1000 * number):
        if 4 * LOWEST_HZ <= guess <= HIGHEST_HZ:
            return f"; did you mean {round(guess)}?"
    return "; music mostly has 44100."


def resample(waveform: np.ndarray, rate: int, sampling_rate: int) -> np.ndarray:
    """A waveform (samples,) or (samples, channels) brought from `rate` to `sampling_rate`; the same one where they are equal.

    Raises:
        InputError: one of them is no sampling rate.
        ImportError: soxr is not installed.
    """
    rate, sampling_rate = require_sampling_rate(rate, "the audio's sampling rate"), require_sampling_rate(sampling_rate)
    if rate == sampling_rate:
        return waveform
    if soxr is None:
        raise ImportError(f"resampling from {rate} to {sampling_rate} Hz needs soxr: pip install soxr")
    return soxr.resample(waveform, rate, sampling_rate, quality="HQ")
