"""What decoders of audio files have in common: what they say of an end that is missing, of damage, of channels that change.

A decoder has `sampling_rate`, `channels`, and `num_samples`, which is None while only decoding to the end can tell it.
`read(start, count)` gives (count, channels) float32, fewer only where the audio ends; `close()` lets go of the file. A decoder
tells `note` what is not as it should be and used all the same.
"""

from collections.abc import Callable

import numpy as np

from .errors_mert import AudioError

Note = Callable[[str], None]

# What may be missing of the length a header promises: the rest is used and a note is made; more is cut.
MOST_MISSING_S = 0.03
# What is said where another format is needed.
WRITE_ANEW = "write it anew: ffmpeg -i old new.flac"


def require_end(found_s: float, declared_s: float, most_missing_s: float, note: Note) -> None:
    """Make a note of a few milliseconds that are missing at the end.

    Raises:
        AudioError: more is missing.
    """
    missing_s = declared_s - found_s
    if missing_s > most_missing_s:
        raise AudioError(f"truncated: {found_s:.2f} s of {declared_s:.2f} s are there")
    note(f"{1000 * missing_s:.0f} ms are missing at its end")


def undecodable(second: float, error: Exception) -> AudioError:
    """The error of what a library could not decode."""
    reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or type(error).__name__
    return AudioError(f"cannot be decoded from {second:.2f} s on: {reason}")


def with_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """(samples, any) to (samples, channels): a part that has other channels than the rest stands in each as its mean."""
    if samples.shape[1] == channels:
        return samples
    return np.repeat(samples.mean(axis=1, keepdims=True), channels, axis=1)
