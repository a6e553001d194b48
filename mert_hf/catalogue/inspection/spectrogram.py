"""The mel spectrogram of a track of any length, in as many columns as a picture has room for."""

import math
import os

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mert_hf.audio import AudioFile
from mert_hf.models.spectra_mert import LogMelSpectrum

MEL_BANDS = 96
LOWEST_HZ = 30.0
FRAMES_PER_S = 50
# of a column, at most; a picture is about that wide
MOST_COLUMNS = 1000
# The window is at least as long as this, rounded up to a power of two: 85 ms at 24 kHz, so that low bands hold a frequency.
LEAST_WINDOW_S = 0.08
# A track in which nothing is louder is silent: the spectrum is floored at -80 dB of full scale.
SILENCE_DB = -79.0
# read at a time
BLOCK_S = 30.0


def count_columns(num_samples: int, sampling_rate: int) -> int:
    """Columns of a track's spectrogram."""
    return max(min(num_samples * FRAMES_PER_S // sampling_rate, MOST_COLUMNS), 1)


@torch.no_grad()
def mel_columns(path: str | os.PathLike, num_samples: int, sampling_rate: int, progress: bool = False) -> NDArray[np.float32]:
    """The mean power in mel bands (HTK, from `LOWEST_HZ` to half the rate), column by column, read block by block.

    Args:
        path: of an audio file.
        num_samples: its length at `sampling_rate`, which it is heard at.

    Returns:
        (columns, `MEL_BANDS`) dB relative to the loudest, not below -80; -80 throughout in silence.

    Raises:
        AudioError: the file cannot be read.
    """
    hop_samples = max(sampling_rate // FRAMES_PER_S, 1)
    fft_samples = 2 ** math.ceil(math.log2(LEAST_WINDOW_S * sampling_rate))
    spectrum = LogMelSpectrum(sampling_rate, hop_samples, MEL_BANDS, fft_samples, LOWEST_HZ)
    # frames whose window reaches into the neighbouring block are computed with what sounds there
    margin = math.ceil(fft_samples / 2 / hop_samples) * hop_samples
    block = round(BLOCK_S * FRAMES_PER_S) * hop_samples
    columns = count_columns(num_samples, sampling_rate)
    power, counts = np.zeros((columns, MEL_BANDS)), np.zeros(columns)
    starts = range(0, num_samples, block)
    with AudioFile(path) as audio:
        for start in tqdm(starts, desc="Spectrogram", unit="block", disable=not progress):
            first, end = max(start - margin, 0), min(start + block + margin, num_samples)
            heard = torch.from_numpy(audio.read(sampling_rate, first, end - first))[None]
            frames = np.exp(spectrum(heard)[0].double().numpy())
            places = first + hop_samples * np.arange(len(frames))
            own = (places >= start) & (places < min(start + block, num_samples))
            column = places[own] * columns // num_samples
            np.add.at(power, column, frames[own])
            np.add.at(counts, column, 1)
    decibels = 10 * np.log10(power / np.maximum(counts, 1)[:, None] + 1e-12)
    loudest = decibels.max() if decibels.max() > SILENCE_DB else 0.0
    return np.maximum(decibels - loudest, -80.0).astype(np.float32)
