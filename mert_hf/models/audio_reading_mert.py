"""Audio files and bytes to mono waveforms: the one reader of training, encoder and pipeline, which travels with the pipeline.

wav, flac, ogg, opus, aiff, au, caf, w64 and rf64 are read by libsndfile (through soundfile); mp3, mp2, m4a, aac, wma, webm, ac3
and whatever else it does not know by FFmpeg (through PyAV, whose wheels bring it along). What plays to its end is read to its
end, whatever its header says; what is cut, damaged or changes its sampling rate is refused.
"""

import functools
import io
import logging
import math
import operator
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from .audio_decoders_mert import Decoder, open_decoder
from .errors_mert import AudioError, InputError
from .sampling_rates_mert import require_sampling_rate, resample

logger = logging.getLogger(__name__)

AudioSource = str | os.PathLike | bytes

# Audio read beyond both ends of a crop, so that the resampling filter has settled where the crop begins.
RESAMPLING_CONTEXT_S = 0.05
# Below this peak (-80 dB of full scale) a track counts as silent.
SILENCE_PEAK = 1e-4
# Samples of all channels that are decoded at a time (32 MiB).
BLOCK_VALUES = 2**23


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds.

    Attributes:
        sampling_rate: samples per second in the file.
        num_samples: samples per channel in the file.
    """

    sampling_rate: int
    num_samples: int
    channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate

    def resampled_length(self, sampling_rate: int) -> int:
        """Number of samples after resampling to `sampling_rate`."""
        return self.num_samples * sampling_rate // self.sampling_rate


class AudioFile:
    """An audio file that is open, for reading pieces of it one behind the other; a context manager.

    Args:
        source: path or bytes of an audio file.

    Raises:
        AudioError: it is missing, empty, not audio, cut, or of a rate that no file has.
    """

    def __init__(self, source: AudioSource):
        self.name = _name(source)
        with ExitStack() as opened:
            file = opened.enter_context(_open(source))
            self._decoder: Decoder = open_decoder(file, self._note)
            opened.callback(self._decoder.close)
            try:
                require_sampling_rate(self._decoder.sampling_rate, "the rate in its header")
            except InputError as error:
                raise AudioError(str(error)) from None
            self._opened = opened.pop_all()

    def __enter__(self) -> "AudioFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    @property
    def info(self) -> AudioInfo:
        """What the file holds; where no header tells its length, it is decoded once to its end."""
        if self._decoder.num_samples is None:
            for _ in self._mix(0, None):
                pass
        return AudioInfo(self._decoder.sampling_rate, self._decoder.num_samples, self._decoder.channels)

    def read(self, sampling_rate: int, start: int = 0, num_samples: int | None = None) -> np.ndarray:
        """A crop; see [`read_audio`]."""
        sampling_rate = require_sampling_rate(sampling_rate)
        start = _require_count(start, "start")
        num_samples = None if num_samples is None else _require_count(num_samples, "num_samples")
        rate = self._decoder.sampling_rate
        # Both rates tick together once a block, so reading whole blocks keeps the crop on the grid of the whole file.
        divisor = math.gcd(rate, sampling_rate)
        block_in, block_out = rate // divisor, sampling_rate // divisor
        context = math.ceil(RESAMPLING_CONTEXT_S * divisor) if rate != sampling_rate else 0
        first = max(start // block_out - context, 0)
        stop = None
        if num_samples is not None:
            self._require_inside(start, num_samples, sampling_rate)
            stop = (math.ceil((start + num_samples) / block_out) + context) * block_in
        mono = self._mixdown(first * block_in, stop)
        if num_samples is None:
            num_samples = max(self.info.resampled_length(sampling_rate) - start, 0)
        self._require_inside(start, num_samples, sampling_rate)
        if not np.isfinite(mono).all():
            raise AudioError(f"{self.name} holds NaN or infinite samples")
        crop = resample(mono, rate, sampling_rate)[start - first * block_out :][:num_samples]
        # the resampler may round the very last sample of a file away
        return np.ascontiguousarray(np.pad(crop, (0, num_samples - len(crop))), dtype=np.float32)

    def check(self) -> bool:
        """Decode the whole file and say whether it is silent; see [`check_audio`]."""
        peak = 0.0
        for mono in self._mix(0, None):
            if not np.isfinite(mono).all():
                raise AudioError("holds NaN or infinite samples")
            peak = max(peak, float(np.abs(mono).max(initial=0.0)))
        if self.info.num_samples == 0:
            raise AudioError("holds no samples")
        return peak < SILENCE_PEAK

    def _require_inside(self, start: int, num_samples: int, sampling_rate: int) -> None:
        if self._decoder.num_samples is not None:
            length = self.info.resampled_length(sampling_rate)
            if start + num_samples > length:
                raise AudioError(
                    f"samples {start} to {start + num_samples} lie outside {self.name}, which has {length} at"
                    f" {sampling_rate} Hz."
                )

    def _mixdown(self, start: int, stop: int | None) -> np.ndarray:
        parts = list(self._mix(start, stop))
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _mix(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """The mean of the channels from `start` to `stop` or the end, block by block."""
        block = max(BLOCK_VALUES // self._decoder.channels, 1)
        while stop is None or start < stop:
            wanted = block if stop is None else min(block, stop - start)
            samples = self._decoder.read(start, wanted)
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by who asked
                mono = samples.mean(axis=1, dtype=np.float32)
            if len(mono) and np.abs(mono).max() < SILENCE_PEAK <= np.abs(samples).max():
                self._note("its channels cancel each other out (right = -left): their mean is silent")
            yield mono
            start += len(samples)
            if len(samples) < wanted:
                return

    def _note(self, text: str) -> None:
        _note_once(f"{self.name}: {text}")


def read_info(source: AudioSource) -> AudioInfo:
    """What an audio file holds, given by its path or as bytes.

    Where no header tells the length, as in m4a or a flac that was written into a pipe, it is decoded once to its end.

    Raises:
        AudioError: it is missing, empty, not audio, or cut.
    """
    with AudioFile(source) as audio:
        return audio.info


def read_audio(source: AudioSource, sampling_rate: int = 24000, start: int = 0, num_samples: int | None = None) -> np.ndarray:
    """Read a file, or a crop of it, as a mono waveform at the wanted rate.

    A crop equals the same samples of the whole file read at once (to the resampling filter's last digits), whatever the rates.
    To hold this in m4a, wma, webm and what else FFmpeg reads, mp3 apart, a crop is decoded from the file's beginning, a few
    milliseconds for every second before it: there, seeking is a guess, or begins other noise. A large corpus to train on is
    better kept in wav, flac, ogg or mp3.

    Args:
        source: path or bytes of an audio file.
        sampling_rate: samples per second of the result, 1,000 to 768,000.
        start: first sample, counted at `sampling_rate` from the first that can be decoded, whatever its time stamp.
        num_samples: length of the crop, counted at `sampling_rate`; the rest of the file by default.

    Returns:
        (num_samples,) float32; channels are averaged.

    Raises:
        AudioError: it cannot be decoded, is cut, ends before the crop does, or holds NaN or infinity.
        InputError: a number is negative, or the rate is none.
    """
    require_sampling_rate(sampling_rate)
    with AudioFile(source) as audio:
        return audio.read(sampling_rate, start, num_samples)


def check_audio(source: AudioSource, min_duration_s: float = 0.0) -> tuple[AudioInfo, bool]:
    """Decode a whole file once and say whether it can be trained on.

    Returns:
        What it holds, and whether the track is silent: the mean of its channels has a peak below -80 dB of full scale.

    Raises:
        AudioError: it cannot be decoded, is cut, too short, or holds NaN or infinity.
    """
    with AudioFile(source) as audio:
        silent = audio.check()
        require_duration(audio.info, min_duration_s)
        return audio.info, silent


def require_duration(info: AudioInfo, min_duration_s: float) -> None:
    """Refuse what is too short.

    Raises:
        AudioError: it is shorter than `min_duration_s`.
    """
    if info.duration_s < min_duration_s:
        raise AudioError(f"too short: {info.duration_s:.2f} s, at least {min_duration_s:g} s are needed")


def _require_count(value, what: str) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = -1
    if count < 0 or isinstance(value, bool):
        raise InputError(f"{what} must be a whole number of samples, 0 or more; got {value!r}.")
    return count


def _open(source: AudioSource) -> io.IOBase:
    """The file, unbuffered, or the bytes as one."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise AudioError("the bytes are empty")
        return io.BytesIO(source)
    if not isinstance(source, (str, os.PathLike)):
        raise AudioError(f"audio is given as a path or as the bytes of a file; got {type(source).__name__}")
    if not os.path.isfile(source):
        raise AudioError(f"{_name(source)} is not a file" if os.path.exists(source) else f"{_name(source)} does not exist")
    try:
        file = io.FileIO(source)
        if file.seek(0, os.SEEK_END) == 0:
            file.close()
            raise AudioError("the file is empty")
    except OSError as error:
        raise AudioError(f"cannot be opened: {error.strerror}") from None
    return file


def _name(source: AudioSource) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fsencode(source).decode("utf-8", "replace")
    return "the audio given as bytes"


@functools.lru_cache(maxsize=10_000)
def _note_once(text: str) -> None:
    logger.warning(text)
