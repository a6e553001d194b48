"""Waveforms at another tempo or another pitch, for recordings, of which nobody has the score."""

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from mert_hf.models.sampling_rates_mert import resample


def change_tempo(waveform: NDArray[np.float32], sampling_rate: int, factor: float) -> NDArray[np.float32]:
    """Play faster or slower at the same pitch, by overlapping pieces where they fit best (WSOLA: FFmpeg's filter atempo).

    Args:
        waveform: (samples,).
        factor: of the tempo, from 0.5 to 2.

    Returns:
        (round(samples / factor),).
    """
    graph = Graph()
    layout = f"sample_rate={sampling_rate}:sample_fmt=flt:channel_layout=mono:time_base=1/{sampling_rate}"
    source, tempo, sink = graph.add("abuffer", layout), graph.add("atempo", f"{factor:.9f}"), graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), "flt", "mono")
    frame.sample_rate, frame.pts = sampling_rate, 0
    source.push(frame)
    source.push(None)
    parts = []
    while True:
        try:
            parts.append(sink.pull().to_ndarray()[0])
        except EOFError:
            break
    # the filter ends some milliseconds early or late
    return with_length(np.concatenate(parts) if parts else np.zeros(0, np.float32), round(len(waveform) / factor))


def shift_pitch(waveform: NDArray[np.float32], sampling_rate: int, semitones: float) -> NDArray[np.float32]:
    """Play higher or lower at the same tempo: resampled, which changes both, then brought back to its tempo.

    Args:
        waveform: (samples,).
        semitones: up to 12 upwards or, below 0, downwards; timbres move along.

    Returns:
        (samples,).
    """
    factor = 2 ** (semitones / 12)
    faster = resample(waveform, sampling_rate, round(sampling_rate / factor))
    return with_length(change_tempo(faster, sampling_rate, 1 / factor), len(waveform))


def with_length(waveform: NDArray[np.float32], num_samples: int) -> NDArray[np.float32]:
    """A waveform (samples,) cut, or filled up with silence, to a length."""
    return np.pad(waveform[:num_samples], (0, max(num_samples - len(waveform), 0)))
