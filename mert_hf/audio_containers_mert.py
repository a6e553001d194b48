"""What a container of audio says of itself where libsndfile says nothing: lengths of mp3 and ogg, read off their bytes."""

import io
import os
from collections import Counter
from pathlib import Path

# Bit rates of mp3 by the index in a frame's header, for MPEG 2 and 2.5, and for MPEG 1 (ISO 11172-3, 13818-3).
MP3_KBPS = (
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
# What is said of such an mp3, behind its name.
MP3_WOULD_BE_CUT = (
    "an mp3 of variable bit rate that does not tell its length, so part of it would be lost; write it anew:"
    " ffmpeg -i old.mp3 -c copy new.mp3"
)


def last_ogg_page_is_cut(source: str | io.BytesIO) -> bool:
    """Whether the end of an ogg file is missing."""
    # an ogg file says nowhere how long it is, but each page (64 KiB at most) says how long the page is
    tail = _read_bytes(source, -2 * 65536)
    page = tail.rfind(b"OggS")
    if page < 0 or page + 27 > len(tail):
        return True
    segments = tail[page + 26]
    lengths = tail[page + 27 : page + 27 + segments]
    return len(lengths) < segments or page + 27 + segments + sum(lengths) > len(tail)


def mp3_would_be_cut(source: str | io.BytesIO) -> bool:
    """Whether a file is an mp3 of which libsndfile would read a part only and say nothing.

    It guesses the length from the first frame's bit rate where the file does not tell it, and reads no further.
    """
    is_mp3 = _mp3_frame(_mp3_audio(source, 4)) is not None
    return is_mp3 and not mp3_declares_length(source) and mp3_varies_bitrate(source)


def mp3_declares_length(source: str | io.BytesIO) -> bool:
    """Whether an mp3 begins with the frame that holds its length (the tag of Xing, LAME or VBRI)."""
    first_frame = _mp3_audio(source, 4096)
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))


def mp3_varies_bitrate(source: str | io.BytesIO) -> bool:
    """Whether the first minutes of an mp3 hold frames of more than one bit rate, read off the frames' headers."""
    audio = _mp3_audio(source, 4 << 20)
    place, seen = 0, Counter()
    while place + 4 <= len(audio):
        frame = _mp3_frame(audio[place : place + 4])
        if frame is None:
            place += 1  # something else, or padding
            continue
        seen[frame[0]] += 1
        place += frame[1]
    # a frame or two of another rate are chance finds, or the frame that held the tag
    return seen.total() - max(seen.values(), default=0) > 0.02 * seen.total()


def _mp3_frame(head: bytes) -> tuple[int, int] | None:
    """Index of the bit rate and length in bytes of the frame that begins with these four bytes; None: no frame of layer III."""
    header = int.from_bytes(head, "big")
    version, layer = header >> 19 & 3, header >> 17 & 3
    bitrate, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    kbps = MP3_KBPS[version == 3][bitrate - 1]
    sampling_rate = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return bitrate, (144 if version == 3 else 72) * 1000 * kbps // sampling_rate + (header >> 9 & 1)


def _mp3_audio(source: str | io.BytesIO, count: int) -> bytes:
    """The first `count` bytes behind the ID3v2 blocks with title and cover."""
    skipped = _id3_length(source)
    return _read_bytes(source, skipped + count)[skipped:]


def _id3_length(source: str | io.BytesIO) -> int:
    length = 0
    while (head := _read_bytes(source, length + 10)[length:])[:3] == b"ID3":
        length += 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return length


def _read_bytes(source: str | io.BytesIO, count: int) -> bytes:
    """The first `count` bytes, or the last ones where `count` is negative."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:count] if count >= 0 else source.getvalue()[count:]
    with Path(source).open("rb") as file:
        if count < 0:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() + count, 0))
        return file.read(abs(count))
