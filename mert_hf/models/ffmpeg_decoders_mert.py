"""FFmpeg (through PyAV, whose wheels carry it), not believed where it estimates: mp3, m4a, aac, wma, webm and more."""

import io
from collections.abc import Iterator

import numpy as np

from .decoding_mert import MOST_MISSING_S, WRITE_ANEW, Note, require_end, undecodable, with_channels
from .errors_mert import AudioError
from .mpeg_frames_mert import MpegFrames

try:
    import av
except ImportError:
    av = None

# What may be missing in containers, which tell milliseconds and count to the end of a codec's last block (46 ms of WMA).
MOST_MISSING_IN_CONTAINER_S = 0.15
# FFmpeg's names of containers whose header tells a duration; of others it estimates one by the bit rate.
CONTAINERS_WITH_DURATION = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "caf", "wv", "tta", "ape")
# Of those, and flac, in which every block has its time, so that a hole shows.
CONTAINERS_WITH_TIMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac")
# The object of an asf header that holds when it ends, in 100 ns, what to take off that, in ms, and whether that was known (ASF
# specification 3.2).
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
# Frames of an mp3 decoded before a place: its bits may lie 511 bytes back (ISO 11172-3), nine of the smallest frames.
PREROLL_FRAMES = 12
# Up to here decoding on costs no more than beginning anew.
NEAR_S = 5.0
# Of integer formats; those of floating point need none.
FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}
# What is raised on damaged files; a disk may fail in between.
FFMPEG_ERRORS = (OSError, *(() if av is None else (av.FFmpegError,)))
UNREADABLE = "not an audio file that libsndfile or FFmpeg can read, or a truncated one"


class _ForwardDecoder:
    """Decodes block by block and goes on from where it stands; what was read last is kept, so that reads may overlap."""

    sampling_rate: int
    channels: int
    num_samples: int | None = None

    def __init__(self):
        if av is None:
            raise AudioError("reading this file needs PyAV, which carries FFmpeg and is not installed: pip install av")
        self._held: list[np.ndarray] = []
        self._begin = self._end = 0  # the samples that `_held` holds
        self._blocks: Iterator[np.ndarray] | None = None

    def _decode_from(self, start: int) -> tuple[int, Iterator[np.ndarray]]:
        """A place so far before `start` that the samples there are those of the whole file, and blocks from it to the end."""
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
                raise undecodable(max(begin, 0) / self.sampling_rate, error) from None
            block = np.concatenate([_to_array(frame, self.channels) for frame in decoded])
            yield block[max(-begin, 0) : max(self.num_samples - begin, 0)]

    def close(self) -> None:
        """Let go of the bytes."""
        self._content, self._blocks = b"", None


class FFmpegDecoder(_ForwardDecoder):
    """FFmpeg: m4a, aac, wma, webm, the sound of videos, and what libsndfile cannot read to its end.

    Samples are counted from the first that is decoded, whatever its time stamp.

    Args:
        file: unbuffered, or bytes as a file.
        declared_samples: what its pages tell, if it is ogg; 0 if nothing does.

    Raises:
        AudioError: FFmpeg cannot read it, or it holds no sound.
    """

    def __init__(self, file: io.RawIOBase | io.BytesIO, note: Note, declared_samples: int = 0):
        super().__init__()
        self._file, self._note, self._container, self._declared_samples = file, note, None, declared_samples
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
            self._container = av.open(_Readable(self._file), metadata_errors="replace", io_open=_open_no_other)
        except FFMPEG_ERRORS:
            raise AudioError(UNREADABLE) from None
        self._stream = self._container.streams.best("audio")
        if self._stream is None:
            raise AudioError("holds no sound")

    def _decode_from(self, start: int) -> tuple[int, Iterator[np.ndarray]]:
        self._open()  # sought, codecs that fill in noise give other samples, and in most containers seeking is a guess
        return 0, self._to_blocks(self._decode())

    def _to_blocks(self, frames: Iterator["av.AudioFrame"]) -> Iterator[np.ndarray]:
        """Samples of the frames; ends with an error where some are missing."""
        rate, place, end_s = self.sampling_rate, 0, 0.0
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
        if self._declared_samples:
            end_s, declared_s = place / rate, self._declared_samples / rate
        if end_s and declared_s and declared_s > end_s + MOST_MISSING_S:
            require_end(end_s, declared_s, MOST_MISSING_IN_CONTAINER_S, self._note)

    def _declared_end_s(self) -> float | None:
        """The time at which the header says that the sound ends, where it says so."""
        stream, container = self._stream, self._container
        if self.format == "asf":
            return self._declared_end_of_asf_s()
        if self.format not in CONTAINERS_WITH_DURATION:
            return None
        if stream.duration is not None:
            return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        if container.duration is None or len(container.streams) > 1:
            return None  # the length of the pictures
        return container.duration / av.time_base

    def _declared_end_of_asf_s(self) -> float | None:
        """Read from the header itself: FFmpeg estimates the length of a file that was cut."""
        self._file.seek(0)
        head = self._file.read(65536)
        place = head.find(ASF_FILE_PROPERTIES)
        properties = head[place : place + 92]
        if place < 0 or len(properties) < 92 or properties[88] & 1:
            return None  # its writer could not know
        ticks, preroll_ms = (int.from_bytes(properties[at : at + 8], "little") for at in (64, 80))
        return ticks * 1e-7 - preroll_ms * 1e-3

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
                    raise undecodable(decoded / rate, broken) from None
                broken, frames = error, []
                continue
            if packet is None:
                break
            if broken and packet.size:
                raise undecodable(decoded / rate, broken)
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


def _to_array(frame: "av.AudioFrame", channels: int) -> np.ndarray:
    """(samples, channels) float32."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels))
    samples, scale = values.astype(np.float32), FULL_SCALE.get(frame.format.name.removesuffix("p"))
    if scale:
        samples = (samples - scale if frame.format.name.startswith("u") else samples) / np.float32(scale)
    return with_channels(samples, channels)


class _Readable:
    """The file as FFmpeg is given it: of a place before the beginning it is told by a number, where Python would raise."""

    def __init__(self, file: io.RawIOBase | io.BytesIO):
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


def _open_no_other(url: str, *_):
    raise OSError(f"{url} is another file")
