"""Labelled audio: a file, the bytes of one, or a waveform, read when it is needed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mert_hf.audio import AudioError, AudioSource, read_audio, read_info
from mert_hf.data.tracks import Track
from mert_hf.models.sampling_rates_mert import resample


@dataclass(frozen=True)
class Waveform:
    """Audio that is no file: `samples` (samples,) float32 mono, `sampling_rate` in Hz."""

    samples: np.ndarray
    sampling_rate: int


@dataclass(frozen=True)
class Cell:
    """Audio in a table, fetched when it is read: `row` and `column` of a `datasets.Dataset` whose audio is not decoded."""

    table: Any
    row: int
    column: str

    def source(self) -> AudioSource:
        """Bytes or path; empty bytes, which no reader accepts, where there is none."""
        value = self.table[self.row][self.column] or {}
        return value.get("bytes") or value.get("path") or b""


@dataclass(frozen=True)
class Example:
    """One labelled piece of audio.

    Attributes:
        name: unique within its split; a file below the dataset's folder, or a row.
        audio: a path, the bytes of a file, a [`Cell`], or a [`Waveform`].
        label: see `Kind`.
        start_s, end_s: the part of the audio that is meant; None is its end.
        group: examples of one group, such as parts of a piece, are not independent: intervals are drawn over groups. None: the
            example is a group of its own.
        number: place among the examples of all splits, where these were one list before they were split.
        track: what was found when the whole audio was checked; None where it was not.
    """

    name: str
    audio: AudioSource | Cell | Waveform
    label: Any
    start_s: float = 0.0
    end_s: float | None = None
    group: str | None = None
    number: int | None = None
    track: Track | None = None

    def read(self, sampling_rate: int) -> np.ndarray:
        """The example's part of the audio, (samples,) float32 mono at `sampling_rate`.

        Raises:
            AudioError: it cannot be decoded or holds NaN; the message names the example.
        """
        return read_source(self.audio, sampling_rate, self.start_s, self.end_s, self.name)

    def duration_s(self) -> float:
        """Length of the example's part in seconds, from the file's header.

        Raises:
            AudioError: it is no audio; the message names the example.
        """
        if isinstance(self.audio, Waveform):
            whole_s = len(self.audio.samples) / self.audio.sampling_rate
        else:
            try:
                audio = self.audio.source() if isinstance(self.audio, Cell) else self.audio
                whole_s = read_info(audio).duration_s
            except AudioError as error:
                raise AudioError(f"{self.name}: {error}") from None
        return (whole_s if self.end_s is None else min(self.end_s, whole_s)) - self.start_s


def read_source(
    source: AudioSource | Cell | Waveform, sampling_rate: int, start_s: float = 0.0, end_s: float | None = None, name: str = ""
) -> np.ndarray:
    """(samples,) float32 mono at `sampling_rate` of a part of a file or waveform; ends where the audio does.

    Raises:
        AudioError: it cannot be decoded, holds NaN, or ends before `start_s`.
    """
    source = source.source() if isinstance(source, Cell) else source
    try:
        if isinstance(source, Waveform):
            whole = np.asarray(source.samples, dtype=np.float32)
            if whole.ndim != 1 or not np.isfinite(whole).all():
                raise AudioError(f"a waveform must be (samples,) of finite floats; it is {whole.shape}")
            whole = resample(whole, source.sampling_rate, sampling_rate)
            length = len(whole)
        else:
            whole = None
            length = read_info(source).resampled_length(sampling_rate)
        start = round(start_s * sampling_rate)
        stop = length if end_s is None else min(round(end_s * sampling_rate), length)
        if start >= stop:
            raise AudioError(f"nothing lies between {start_s:g} s and {end_s or length / sampling_rate:g} s")
        if whole is not None:
            return np.ascontiguousarray(whole[start:stop])
        return read_audio(source, sampling_rate, start, None if stop == length else stop - start)
    except AudioError as error:
        raise AudioError(f"{name}: {error}" if name else str(error)) from None
