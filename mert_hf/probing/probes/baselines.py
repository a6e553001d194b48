"""What a model must beat: guesses from the training labels, and the textbook's answers to key, tempo and beat."""

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.models.spectra_mert import Chromagram
from mert_hf.probing.probes.beat_tracking import BeatTracker
from mert_hf.probing.probes.onsets import onset_activation
from mert_hf.tasks.base import TaskData

SAMPLING_RATE = 24000
CHROMA_FFT_SAMPLES = 8192
ONSET_RATE = 100.0
# Krumhansl and Kessler (1982): how well each pitch class fits a key, from the tonic upwards
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
SLOWEST_BPM, FASTEST_BPM = 55.0, 215.0
# tempi that listeners prefer: a log-normal curve around 120 a minute, an octave wide (Ellis 2007 takes 0.9)
PREFERRED_BPM, PREFERENCE_OCTAVES = 120.0, 1.0


def majority_class(data: TaskData) -> NDArray:
    """The most frequent class of the training split."""
    train = [data.target(example) for example in data.splits["train"]]
    return np.full(len(data.splits["test"]), np.bincount(train, minlength=len(data.labels)).argmax())


def mean_label(data: TaskData) -> NDArray:
    """The mean of the training split: the shares of all labels, or mean numbers."""
    train = [data.target(example) for example in data.splits["train"]]
    return np.tile(np.mean(train, axis=0, dtype=np.float64), (len(data.splits["test"]), 1))


def median_tempo_beats(data: TaskData) -> list[NDArray]:
    """Beats in the median tempo of the training split; InputError where no training track has two beats."""
    train = [data.target(example) for example in data.splits["train"]]
    periods = [np.diff(beats) for beats in train if len(beats) > 1]
    if not periods:
        raise InputError(f"{data.task.name}: no track of the training split has two beats; there is no tempo to guess.")
    period_s = float(np.median(np.concatenate(periods)))
    return [np.arange(0.0, example.duration_s(), period_s) for example in data.splits["test"]]


def krumhansl_keys(data: TaskData) -> NDArray:
    """The key whose profile correlates best with the mean chroma of the whole example."""
    chroma = Chromagram(SAMPLING_RATE, CHROMA_FFT_SAMPLES // 4, 12, CHROMA_FFT_SAMPLES)
    return np.array([estimate_key(chroma(_waveform(example))[0].mean(dim=0).numpy()) for example in data.splits["test"]])


def estimate_key(chroma: NDArray) -> int:
    """(12,) energy of the pitch classes from C -> 0 to 11 for C to B major, 12 to 23 for minor."""
    profiles = np.array([np.roll(profile, tonic) for profile in (MAJOR_PROFILE, MINOR_PROFILE) for tonic in range(12)])
    profiles -= profiles.mean(axis=1, keepdims=True)
    return int(np.argmax(profiles @ (chroma - chroma.mean()) / np.linalg.norm(profiles, axis=1)))


def autocorrelation_tempo(data: TaskData) -> NDArray:
    """Logarithm to base 2 of the tempo at which the onsets repeat most strongly."""
    return np.array([[np.log2(estimate_tempo(_onsets(example)))] for example in data.splits["test"]])


def estimate_tempo(onsets: NDArray) -> float:
    """Beats a minute at the highest autocorrelation of an onset activation (frames,), weighted by the listeners' preference."""
    onsets = onsets - onsets.mean()
    size = 2 * len(onsets)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(onsets, size)) ** 2, size)[: len(onsets)]
    lags = np.arange(round(60 * ONSET_RATE / FASTEST_BPM), min(round(60 * ONSET_RATE / SLOWEST_BPM), len(onsets) - 1) + 1)
    tempi = 60 * ONSET_RATE / lags
    preference = np.exp(-0.5 * (np.log2(tempi / PREFERRED_BPM) / PREFERENCE_OCTAVES) ** 2)
    return float(tempi[np.argmax(correlation[lags] * preference)])


def onset_beats(data: TaskData) -> list[NDArray]:
    """Beats that the tracker finds in the onsets themselves."""
    tracker = BeatTracker(ONSET_RATE)
    return [tracker(_onsets(example)) for example in data.splits["test"]]


def _waveform(example) -> torch.Tensor:
    return torch.from_numpy(example.read(SAMPLING_RATE))[None]


def _onsets(example) -> NDArray[np.float64]:
    return onset_activation(example.read(SAMPLING_RATE), SAMPLING_RATE, ONSET_RATE)
