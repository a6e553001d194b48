"""Decoders of audio files: libsndfile (soundfile) and FFmpeg (PyAV), neither believed where it believes a header.

A decoder has `sampling_rate`, `channels`, and `num_samples`, which is None while only decoding to the end can tell it.
`read(start, count)` gives (count, channels) float32, fewer only where the audio ends.
"""

import io
import itertools
import os
import re
from collections.abc import Callable, Iterator

import numpy as np

from .audio_containers_mert import count_bytes_behind, find_ogg_fault, is_chained_ogg
from .errors_mert import AudioError
from .mpeg_frames_mert import WRITE_ANEW, MpegFrames, find_mpeg_frames

try:
    import soundfile
except ImportError:
    soundfile = None
try:
    import av
except ImportError:
    av = None

# What may be missing of the length a header promises: the rest is used and a note is made; more is cut.
MOST_MISSING_S = 0.03
# The same in containers, which tell milliseconds and count to the end of a codec's last block (46 ms of WMA at 44.1 kHz).
MOST_MISSING_IN_CONTAINER_S = 0.15
# FFmpeg's names of containers whose header tells a duration; of others it estimates one by the bit rate.
CONTAINERS_WITH_DURATION = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "caf", "wv", "tta", "ape")
# Of those in which every block has its time, so that a hole shows.
CONTAINERS_WITH_TIMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# Of those with an index of their blocks and times in samples: in others, FFmpeg's seeking is a guess.
CONTAINERS_WITH_INDEX = ("mov,mp4,m4a,3gp,3g2,mj2",)
# Audio decoded before a place that was sought and thrown away, for the blocks of these codecs overlap: four blocks of AAC.
PREROLL_S, PREROLL_SAMPLES = 0.2, 4096
# Frames of an mp3 decoded before a place: its bits may lie 511 bytes back (ISO 11172-3), nine of the smallest frames.
PREROLL_FRAMES = 12
# Up to here decoding on costs no more than seeking.
NEAR_S = 5.0
# No codec packs more samples into a byte: FLAC holds 65,535 of silence in a dozen.
MOST_SAMPLES_PER_BYTE = 8192
# Programs that write into a pipe put the largest number of 31 or 32 bits, or a little less, where the size belongs.
UNKNOWN_SIZE_MARGIN = 2**16
# Behind the last chunk of a wav; programs leave a little there.
MOST_BYTES_BEHIND = 4096
# libsndfile's and FFmpeg's names of mp3, mp2 and mp1.
MPEG = ("MP3", "MPEG", "mp3")
# Of integer formats; those of floating point need none.
FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}
UNREADABLE = "not an audio file that libsndfile or FFmpeg can read"
# What the two libraries raise on damaged files; a disk may fail in between.
SOUNDFILE_ERRORS = (OSError, *(() if soundfile is None else (soundfile.LibsndfileError,)))
FFMPEG_ERRORS = (OSError, *(() if av is None else (av.FFmpegError,)))

Note = Callable[[str], None]


class SoundfileDecoder:
    """libsndfile: wav, flac, ogg, opus, aiff and more.

    Raises:
        AudioError: its end is missing.
    """

    def __init__(self, opened: "soundfile.SoundFile", note: Note):
        self._file, self._note = opened, note
        self.sampling_rate, self.channels, self.num_samples = opened.samplerate, opened.channels, opened.frames
        sizes = re.search(r"^ *(?:data|SSND|riff|Riff size|Data Size) *: (\d+) \(should be (\d+)\)", opened.extra_info, re.M)
        if sizes:
            declared, found = int(sizes[1]), int(sizes[2])
            is_known = declared % 2**31 and (declared + UNKNOWN_SIZE_MARGIN) % 2**31 >= UNKNOWN_SIZE_MARGIN
            if is_known and declared > found > 0:
                self._require_end(self.num_samples, round(self.num_samples * (declared / found - 1)))

    def read(self, start: int, count: int) -> np.ndarray:
        """Samples from `start` on; silence stands for a few milliseconds that are missing at the end."""
        count = max(min(count, self.num_samples - start), 0)
        try:
            self._file.seek(start)
            samples = self._file.read(count, dtype="float32", always_2d=True)
        except SOUNDFILE_ERRORS as error:
            raise _undecodable(start / self.sampling_rate, error) from None
        if len(samples) < count:
            self._require_end(start + len(samples), count - len(samples))
            samples = np.pad(samples, ((0, count - len(samples)), (0, 0)))
        return samples

    def _require_end(self, found: int, missing: int) -> None:
        found_s, missing_s = found / self.sampling_rate, missing / self.sampling_rate
        require_end(found_s, found_s + missing_s, MOST_MISSING_S, self._note)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class _ForwardDecoder:
    """Decodes block by block and goes on from where it stands; what was read last is kept, so that reads may overlap."""

    sampling_rate: int
    channels: int
    num_samples: int | None = None

    def __init__(self):
        self._held: list[np.ndarray] = []
        self._begin = self._end = 0  # the samples that `_held` holds
        self._blocks: Iterator[np.ndarray] | None = None

    def _decode_from(self, start: int) -> tuple[int, Iterator[np.ndarray]]:
        """Decode on from a place so far before `start` that the samples there are those of the whole file.

        Returns:
            The place, and blocks (samples, channels) from it to the end.
        """
        raise NotImplementedError

    def read(self, start: int, count: int) -> np.ndarray:
        """Samples from `start` on."""
        if self._blocks is None or not self._begin <= start <= self._end + NEAR_S * self.sampling_rate:
            self._held = []
            self._begin, self._blocks = self._decode_from(start)
            self._end = self._begin
        self._forget_before(start)
        while self._end < start + count:
            block = next(self._blocks, None)
            if block is None:
                self.num_samples = self._end
                break
            self._held.append(block)
            self._end += len(block)
            self._forget_before(start)
        held = np.concatenate(self._held) if self._held else np.zeros((0, self.channels), np.float32)
        return held[max(start - self._begin, 0) : max(start + count - self._begin, 0)]

    def _forget_before(self, start: int) -> None:
        while self._held and self._begin + len(self._held[0]) <= start:
            self._begin += len(self._held.pop(0))


class MpegDecoder(_ForwardDecoder):
    """mp3, mp2 and mp1: FFmpeg's decoder is given the frames that are there, one after the other.

    Raises:
        AudioError: it is damaged or cut, or changes its rate.
    """

    def __init__(self, content: bytes, frames: MpegFrames, note: Note):
        super().__init__()
        if frames.fault:
            raise AudioError(frames.fault)
        for text in frames.notes:
            note(text)
        self._content, self._frames = content, frames
        self.sampling_rate, self.channels, self.num_samples = frames.sampling_rate, frames.channels, frames.num_samples

    def _decode_from(self, start: int) -> tuple[int, Iterator[np.ndarray]]:
        per_frame, skipped = self._frames.samples_per_frame, self._frames.skip_start
        first = max((start + skipped) // per_frame - PREROLL_FRAMES, 0)
        return max(first * per_frame - skipped, 0), self._decode(first)

    def _decode(self, first: int) -> Iterator[np.ndarray]:
        frames = self._frames
        codec = av.CodecContext.create(f"mp{frames.layer}float", "r")
        for number in range(first, len(frames.places)):
            begin = number * frames.samples_per_frame - frames.skip_start
            place = frames.places[number]
            try:
                decoded = codec.decode(av.Packet(self._content[place : place + frames.lengths[number]]))
            except FFMPEG_ERRORS as error:
                raise _undecodable(max(begin, 0) / self.sampling_rate, error) from None
            block = np.concatenate([_to_array(frame, self.channels) for frame in decoded])
            yield block[max(-begin, 0) : max(self.num_samples - begin, 0)]

    def close(self) -> None:
        """Let go of the bytes."""
        self._content, self._blocks = b"", None


class FFmpegDecoder(_ForwardDecoder):
    """FFmpeg: m4a, aac, wma, webm, the sound of videos, and what libsndfile cannot read to its end.

    Samples are counted from the first that is decoded, whatever its time stamp.

    Raises:
        AudioError: FFmpeg cannot read it, or it holds no sound.
    """

    def __init__(self, file: io.IOBase, note: Note):
        super().__init__()
        self._file, self._note, self._container = file, note, None
        self._open()
        self.format = self._container.format.name
        first = next(self._decode(), None)
        if first is None:
            raise AudioError("holds no samples")
        self.sampling_rate, self.channels = first.sample_rate, len(first.layout.channels)
        self._first_pts = first.pts

    def _open(self) -> None:
        self.close()
        self._file.seek(0)
        try:
            # other files that this one may name, as playlists do, are none of its sound
            self._container = av.open(self._file, metadata_errors="replace", io_open=_open_no_other)
        except FFMPEG_ERRORS:
            raise AudioError(UNREADABLE) from None
        self._stream = self._container.streams.best("audio")
        if self._stream is None:
            raise AudioError("holds no sound")

    def _decode_from(self, start: int) -> tuple[int, Iterator[np.ndarray]]:
        self._open()
        sought = start - max(round(PREROLL_S * self.sampling_rate), PREROLL_SAMPLES)
        in_samples = self._first_pts is not None and self._stream.time_base * self.sampling_rate == 1
        if self.format in CONTAINERS_WITH_INDEX and in_samples and sought > 0:
            self._container.seek(sought + self._first_pts, stream=self._stream)
            frames = self._decode()
            first = next(frames, None)
            if first is not None and first.pts is not None and 0 <= first.pts - self._first_pts <= sought:
                place = first.pts - self._first_pts
                return place, self._to_blocks(itertools.chain([first], frames), place)
            self._open()
        return 0, self._to_blocks(self._decode(), 0)

    def _to_blocks(self, frames: Iterator["av.AudioFrame"], place: int) -> Iterator[np.ndarray]:
        """Samples of the frames; ends with an error where one is missing."""
        rate = self.sampling_rate
        end_s = 0.0
        for frame in frames:
            if frame.sample_rate != rate:
                raise AudioError(
                    f"changes its sampling rate at {place / rate:.2f} s from {rate} to {frame.sample_rate} Hz; {WRITE_ANEW}"
                )
            if frame.pts is not None and self._first_pts is not None:
                hole_s = float((frame.pts - self._first_pts) * frame.time_base) - place / rate
                if hole_s > MOST_MISSING_IN_CONTAINER_S and self.format in CONTAINERS_WITH_TIMES:
                    raise AudioError(f"damaged: {hole_s:.2f} s are missing at {place / rate:.2f} s")
                end_s = float(frame.pts * frame.time_base) + frame.samples / rate
            place += frame.samples
            yield _to_array(frame, self.channels)
        declared_s = self._declared_end_s()
        if end_s and declared_s:
            require_end(end_s, declared_s, MOST_MISSING_IN_CONTAINER_S, self._note)

    def _declared_end_s(self) -> float | None:
        """The time at which the header says that the sound ends, where it says so."""
        stream, container = self._stream, self._container
        if self.format not in CONTAINERS_WITH_DURATION:
            return None
        if stream.duration is not None:
            return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        if container.duration is None or len(container.streams) > 1:
            return None  # the length of the pictures
        return container.duration / av.time_base

    def _decode(self) -> Iterator["av.AudioFrame"]:
        """Frames up to the end; a last packet that is cut is a few milliseconds, any other that is broken is an error."""
        decoded, rate, broken = 0, 1, None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except FFMPEG_ERRORS as error:
                if broken:
                    raise _undecodable(decoded / rate, broken) from None
                broken, frames = error, []
                continue
            if packet is None:
                break
            if broken and packet.size:
                raise _undecodable(decoded / rate, broken)
            for frame in frames:
                decoded, rate = decoded + frame.samples, frame.sample_rate
                yield frame
        if broken:
            self._note(f"its last block, at {decoded / rate:.2f} s, is cut: a few milliseconds are missing")

    def close(self) -> None:
        """Let go of the file."""
        self._blocks = None
        if self._container is not None:
            self._container.close()


Decoder = SoundfileDecoder | MpegDecoder | FFmpegDecoder


def open_decoder(file: io.IOBase, note: Note) -> Decoder:
    """Find the decoder that reads a file to its end.

    Args:
        file: unbuffered, or bytes as a file.
        note: told what is not as it should be and used all the same.

    Raises:
        AudioError: there is none, or the file is cut or damaged; or the package is missing that reads it.
    """
    # before libsndfile opens it, which from then on owns the place in the file
    size, behind, is_chained = file.seek(0, os.SEEK_END), count_bytes_behind(file), False
    file.seek(0)
    if file.read(4) == b"OggS":
        content = _read_all(file)
        if fault := find_ogg_fault(content):
            raise AudioError(fault)
        is_chained = is_chained_ogg(content)
    opened = None if is_chained else _open_soundfile(file)
    kind = "" if opened is None else opened.format
    if kind not in ("", *MPEG) and 0 < opened.frames <= MOST_SAMPLES_PER_BYTE * size:  # or else it was unknown to the writer
        if behind > MOST_BYTES_BEHIND:
            raise AudioError(
                f"its header is wrong: {behind} bytes lie behind the {opened.frames} samples it tells of; write it anew:"
                " ffmpeg -ignore_length 1 -i old.wav new.wav"
            )
        return SoundfileDecoder(opened, note)
    if av is None:
        raise AudioError("reading this file needs PyAV, which is not installed: pip install av")
    decoder = None if kind in MPEG else FFmpegDecoder(file, note)
    if decoder is not None and decoder.format not in MPEG:
        return decoder
    content = _read_all(file)
    frames = find_mpeg_frames(content)
    if frames is None:
        raise AudioError(UNREADABLE)
    return MpegDecoder(content, frames, note)


def require_end(found_s: float, declared_s: float, most_missing_s: float, note: Note) -> None:
    """Make a note of a few milliseconds that are missing at the end.

    Raises:
        AudioError: more is missing.
    """
    missing_s = declared_s - found_s
    if missing_s > most_missing_s:
        raise AudioError(f"truncated: {found_s:.2f} s of {declared_s:.2f} s are there")
    if missing_s > 1e-3:
        note(f"{1000 * missing_s:.0f} ms are missing at its end")


def _open_soundfile(file: io.IOBase) -> "soundfile.SoundFile | None":
    """None where libsndfile is not there or cannot read it."""
    file.seek(0)
    try:
        # by its descriptor: soundfile would take a name that ends in .raw for samples without a header
        given = file if isinstance(file, io.BytesIO) else file.fileno()
        return None if soundfile is None else soundfile.SoundFile(given, closefd=False)
    except SOUNDFILE_ERRORS:
        return None


def _read_all(file: io.IOBase) -> bytes:
    file.seek(0)
    return file.read()


def _open_no_other(url: str, *_):
    raise OSError(f"{url} is another file")


def _undecodable(second: float, error: Exception) -> AudioError:
    reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or type(error).__name__
    return AudioError(f"cannot be decoded from {second:.2f} s on: {reason}")


def _to_array(frame: "av.AudioFrame", channels: int) -> np.ndarray:
    """(samples, channels) float32; a frame with other channels than the first is mixed down."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels))
    scale = FULL_SCALE.get(frame.format.name.removesuffix("p"))
    samples = values.astype(np.float32)
    if scale:
        samples = (samples - scale if frame.format.name.startswith("u") else samples) / np.float32(scale)
    if samples.shape[1] != channels:
        samples = np.repeat(samples.mean(axis=1, keepdims=True), channels, axis=1)
    return samples
