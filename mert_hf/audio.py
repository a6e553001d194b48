"""Audio files and bytes to mono waveforms: the only place that decodes audio for training and evaluation.

wav, flac, ogg and mp3 are read by libsndfile (through soundfile); m4a, aac, wma and whatever else it does not know by FFmpeg
(through torchcodec), where FFmpeg is installed.
"""

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mert_hf.audio_containers_mert import MP3_WOULD_BE_CUT, last_ogg_page_is_cut, mp3_declares_length, mp3_varies_bitrate
from mert_hf.errors import InputError

AudioSource = str | os.PathLike | bytes

# What is audio by its name, whether or not it can be read here: a file of a format that cannot is listed as skipped with the
# reader's reason, never passed over in silence.
AUDIO_EXTENSIONS = frozenset(
    """
    .wav .wave .rf64 .w64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mp1 .mpa .mpga .aiff .aif .aifc .au .snd .caf .voc .sph .nist
    .m4a .m4b .m4r .m4p .mp4 .aac .adts .alac .wma .asf .webm .weba .mka .ac3 .ec3 .eac3 .dts .dtshd .thd .mlp .amr .awb .3ga
    .ra .rm .aa .aax .ape .mac .wv .tta .tak .ofr .shn .la .mpc .mp+ .mpp .dsf .dff .oma .aa3 .at3 .at9 .vqf .gsm
    """.split()  # noqa: SIM905 (a list would take a line for each)
)

# Audio read beyond both ends of a crop, so that the resampling filter has settled where the crop begins.
RESAMPLING_CONTEXT_S = 0.05
# Audio decoded before a crop by FFmpeg and thrown away.
FFMPEG_PREROLL_S = 0.2
# Below this peak (-80 dB of full scale) a track counts as silent.
SILENCE_PEAK = 1e-4
# Data sizes that programs write into a wav header when they cannot know the size yet (a pipe).
UNKNOWN_WAV_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)


class AudioError(InputError):
    """Audio that cannot be used; the message says why."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a file says.

    Attributes:
        sampling_rate: samples per second in the file.
        num_samples: samples per channel in the file.
        channels: number of channels.
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


def read_info(source: AudioSource) -> AudioInfo:
    """Read the header of an audio file, given by its path or as bytes.

    An mp3 whose header does not tell its length is decoded once to count its samples.

    Raises:
        AudioError: it is missing, empty or not audio.
    """
    with _open(source) as reader:
        if not reader.length_is_estimated:
            return reader.info
        return replace(reader.info, num_samples=sum(len(block) for _, block in _blocks(reader)))


def read_audio(source: AudioSource, sampling_rate: int = 24000, start: int = 0, num_samples: int | None = None) -> np.ndarray:
    """Read a file, or a crop of it by seeking, as a mono waveform at the wanted rate.

    A crop equals the same samples of the whole file read at once (to the resampling filter's last digits), whatever the rates;
    only codecs that fill in noise while decoding, such as AAC, give slightly other noise each time.

    Args:
        source: path or bytes of an audio file.
        sampling_rate: samples per second of the result.
        start: first sample, counted at `sampling_rate`.
        num_samples: length of the crop, counted at `sampling_rate`; the rest of the file by default.

    Returns:
        (num_samples,) float32; channels are averaged.

    Raises:
        AudioError: it cannot be decoded, ends before its header says or before the crop does, or holds NaN or infinity.
        ValueError: a number is negative.
    """
    if sampling_rate <= 0:
        raise ValueError(f"sampling_rate must be a positive number of samples per second; got {sampling_rate}.")
    if start < 0 or (num_samples or 0) < 0:
        raise ValueError(f"start={start} and num_samples={num_samples} must be 0 or more.")
    with _open(source) as reader:
        length = reader.info.resampled_length(sampling_rate)
        may_end_early = num_samples is None and reader.length_is_estimated
        num_samples = length - start if num_samples is None else num_samples
        if num_samples < 0 or start + num_samples > length:
            raise AudioError(
                f"samples {start} to {start + num_samples} lie outside {_name(source)}, which has {length} at {sampling_rate}"
                " Hz."
            )
        rate = reader.info.sampling_rate
        # Both rates tick together once a block, so reading whole blocks keeps the crop on the grid of the whole file.
        divisor = math.gcd(rate, sampling_rate)
        block_in, block_out = rate // divisor, sampling_rate // divisor
        context = math.ceil(RESAMPLING_CONTEXT_S * divisor) if rate != sampling_rate else 0
        first = max(start // block_out - context, 0)
        last = math.ceil((start + num_samples) / block_out) + context
        stop = min(last * block_in, reader.info.num_samples)
        samples = reader.read(first * block_in, stop - first * block_in)
        cut_off = len(samples) < stop - first * block_in
        if cut_off and not may_end_early and reader.length_is_estimated:
            # a crop that ends where the audio does is whole, though the header promised more behind it for the filter
            cut_off = first * block_in + len(samples) < (start + num_samples) * rate / sampling_rate
    if cut_off:
        if not may_end_early:
            raise AudioError(f"truncated: {_name(source)} ends before its header says")
        num_samples = (first * block_in + len(samples)) * sampling_rate // rate - start
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError(f"{_name(source)} holds NaN or infinite samples")
    if rate != sampling_rate:
        mono = soxr.resample(mono, rate, sampling_rate, quality="HQ")
    crop = mono[start - first * block_out :][:num_samples]
    # the resampler may round the very last sample of a file away
    return np.ascontiguousarray(np.pad(crop, (0, num_samples - len(crop))), dtype=np.float32)


def check_audio(source: AudioSource, min_duration_s: float = 0.0) -> tuple[AudioInfo, bool]:
    """Decode a whole file once and say whether it can be trained on.

    Returns:
        The header's info, and whether the track is silent (its peak lies below -80 dB of full scale).

    Raises:
        AudioError: it cannot be decoded, is truncated, too short, or holds NaN or infinity.
    """
    with _open(source) as reader:
        info = reader.info
        if reader.is_cut():
            raise AudioError("truncated: the file is shorter than its header says")
        estimated = reader.length_is_estimated
        peak, decoded = 0.0, 0
        for start, samples in _blocks(reader):
            if not np.isfinite(samples).all():
                raise AudioError("holds NaN or infinite samples")
            peak = max(peak, float(np.abs(samples).max(initial=0.0)))
            decoded = start + len(samples)
        found = replace(info, num_samples=decoded)
    if decoded < info.num_samples and not estimated:
        raise AudioError(f"truncated: {found.duration_s:.2f} s of {info.duration_s:.2f} s can be decoded")
    if decoded == 0:
        raise AudioError("holds no samples")
    require_duration(found, min_duration_s)
    return found, peak < SILENCE_PEAK


def require_duration(info: AudioInfo, min_duration_s: float) -> None:
    """Refuse what is too short.

    Raises:
        AudioError: it is shorter than `min_duration_s`.
    """
    if info.duration_s < min_duration_s:
        raise AudioError(f"too short: {info.duration_s:.2f} s, at least {min_duration_s:g} s are needed")


def _blocks(reader: "_SoundfileReader | _FFmpegReader") -> Iterator[tuple[int, np.ndarray]]:
    """The whole file in blocks of ten seconds, each with its first sample; ends where the samples do."""
    block = 10 * reader.info.sampling_rate
    for start in range(0, reader.info.num_samples, block):
        wanted = min(block, reader.info.num_samples - start)
        samples = reader.read(start, wanted)
        yield start, samples
        if len(samples) < wanted:
            return


class _SoundfileReader:
    """libsndfile: wav, flac, ogg, opus, mp3 and more."""

    def __init__(self, source: str | io.BytesIO):
        self._source = source
        # as bytes: a name from an old disk may be no valid text
        self._file = soundfile.SoundFile(os.fsencode(source) if isinstance(source, str) else source)
        self.info = AudioInfo(self._file.samplerate, self._file.frames, self._file.channels)

    @cached_property
    def length_is_estimated(self) -> bool:
        """Whether the number of samples is a guess from the file's size: an mp3 without the tag that holds it.

        Raises:
            AudioError: the bit rate varies; libsndfile guesses from the first frame's and reads no further than its guess.
        """
        if self._file.format not in ("MPEG", "MP3") or mp3_declares_length(self._source):
            return False
        if mp3_varies_bitrate(self._source):
            raise AudioError(MP3_WOULD_BE_CUT)
        return True

    def read(self, start: int, num_samples: int) -> np.ndarray:
        try:
            self._file.seek(start)
            return self._file.read(num_samples, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            second = start / self.info.sampling_rate
            raise AudioError(f"cannot be decoded from {second:.2f} s on: {error.error_string}") from None

    def is_cut(self) -> bool:
        """Whether the container itself shows that its end is missing; libsndfile reads wav and ogg on regardless."""
        wav = re.search(r"^data : (\d+) \(should be (\d+)\)", self._file.extra_info, re.MULTILINE)
        if wav:
            declared, found = int(wav[1]), int(wav[2])
            return declared > found and declared not in UNKNOWN_WAV_SIZES
        return self._file.format == "OGG" and last_ogg_page_is_cut(self._source)

    def close(self) -> None:
        self._file.close()


class _FFmpegReader:
    """FFmpeg through torchcodec: m4a, aac, wma, the sound of videos."""

    length_is_estimated = False

    def __init__(self, source: str | io.BytesIO):
        try:
            from torchcodec.decoders import AudioDecoder  # loads FFmpeg's libraries, which may be missing
        except (ImportError, RuntimeError, OSError):
            raise AudioError("not a format libsndfile reads; install FFmpeg to read m4a, aac, wma and others") from None
        try:
            self._file = Path(source).open("rb") if isinstance(source, str) else source  # noqa: SIM115 (closed by close)
            self._decoder = AudioDecoder(self._file)
            metadata = self._decoder.metadata
            rate, duration_s = metadata.sample_rate, metadata.duration_seconds
        except (RuntimeError, ValueError):
            self._file.close()
            raise AudioError("not an audio file that libsndfile or FFmpeg can read") from None
        if not rate or duration_s is None:
            raise AudioError("FFmpeg finds no length or rate in this file")
        # the codec's padding may add samples behind the declared end: they are left out
        self.info = AudioInfo(rate, round(duration_s * rate), metadata.num_channels)

    def read(self, start: int, num_samples: int) -> np.ndarray:
        rate = self.info.sampling_rate
        # these codecs overlap their frames, so decoding must begin a little before the first sample that is kept
        begin = max(start - round(FFMPEG_PREROLL_S * rate), 0)
        try:
            found = self._decoder.get_samples_played_in_range(begin / rate, (start + num_samples) / rate)
        except (RuntimeError, ValueError) as error:
            raise AudioError(f"cannot be decoded from {start / rate:.2f} s on: {str(error).splitlines()[0]}") from None
        offset = max(start - round(found.pts_seconds * rate), 0)
        return found.data.numpy().T[offset : offset + num_samples]

    def is_cut(self) -> bool:
        """FFmpeg refuses a cut container when it is opened."""
        return False

    def close(self) -> None:
        self._file.close()


@contextmanager
def _open(source: AudioSource) -> Iterator[_SoundfileReader | _FFmpegReader]:
    if not isinstance(source, bytes):
        source = os.fspath(source)
        path = Path(source)
        if not path.is_file():
            raise AudioError(f"{_name(source)} is not a file" if path.exists() else f"{_name(source)} does not exist")
        try:
            with path.open("rb") as file:
                if not file.read(1):
                    raise AudioError("the file is empty")
        except OSError as error:
            raise AudioError(f"cannot be opened: {error.strerror}") from None
    elif not source:
        raise AudioError("the bytes are empty")
    try:
        reader = _SoundfileReader(io.BytesIO(source) if isinstance(source, bytes) else source)
    except soundfile.LibsndfileError:
        reader = _FFmpegReader(io.BytesIO(source) if isinstance(source, bytes) else source)
    try:
        yield reader
    finally:
        reader.close()


def _name(source: AudioSource) -> str:
    return "the audio given as bytes" if isinstance(source, bytes) else os.fsencode(source).decode("utf-8", "replace")
