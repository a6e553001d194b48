"""Finds the decoder that reads an audio file to its end."""

import io
import os

from .audio_containers_mert import count_bytes_behind, find_ogg_links
from .decoding_mert import Note
from .errors_mert import AudioError
from .ffmpeg_decoders_mert import UNREADABLE, FFmpegDecoder, MpegDecoder
from .mpeg_frames_mert import find_mpeg_frames
from .soundfile_decoders_mert import ChainDecoder, SoundfileDecoder, open_soundfile, require_nothing_behind

# How an mp3 begins: with a tag, a frame, or the silence that some programs write before it.
MPEG_BEGINNINGS = (b"ID3", b"TAG", b"APETAGEX", b"\xff", b"\0\0\0\0")
# No codec packs more samples into a byte: FLAC holds 65,535 of silence in a dozen.
MOST_SAMPLES_PER_BYTE = 8192

Decoder = SoundfileDecoder | ChainDecoder | MpegDecoder | FFmpegDecoder


def open_decoder(file: io.RawIOBase | io.BytesIO, note: Note) -> Decoder:
    """The decoder that reads a file to its end.

    Args:
        file: unbuffered, or bytes as a file.
        note: is told what is not as it should be and used all the same.

    Raises:
        AudioError: there is none, or the file is cut or damaged; or the package is missing that reads it.
    """
    file.seek(0)
    beginning = file.read(8)
    if beginning.startswith(b"OggS"):
        return _open_ogg(file, note)
    # libsndfile is not asked for mp3: it believes tags, and its decoder writes to the terminal
    is_mpeg = beginning.startswith(MPEG_BEGINNINGS)
    decoder = (_open_mpeg if is_mpeg else _open_with_soundfile)(file, note) or FFmpegDecoder(file, note)
    if isinstance(decoder, FFmpegDecoder) and decoder.format == "mp3":
        decoder.close()
        decoder = _open_mpeg(file, note)
        if decoder is None:
            raise AudioError(f"{UNREADABLE}: its frames do not follow one another, or are of free format")
    return decoder


def _open_mpeg(file: io.RawIOBase | io.BytesIO, note: Note) -> MpegDecoder | None:
    content = _read_all(file)
    frames = find_mpeg_frames(content)
    return None if frames is None else MpegDecoder(content, frames, note)


def _open_ogg(file: io.RawIOBase | io.BytesIO, note: Note) -> Decoder:
    """Each of the files behind one another by itself: libsndfile reads no further than the first."""
    content = _read_all(file)
    links, decoders = find_ogg_links(content), []
    if any(link.streams > 1 for link in links):
        return FFmpegDecoder(file, note)
    for link in links:
        opened = open_soundfile(io.BytesIO(content[link.begin : link.end]))
        if opened is None or not _is_length(opened.frames, len(content)):
            return FFmpegDecoder(file, note, sum(link.num_samples for link in links))
        decoders.append(SoundfileDecoder(opened, note, link))
    return decoders[0] if len(decoders) == 1 else ChainDecoder(decoders)


def _open_with_soundfile(file: io.RawIOBase | io.BytesIO, note: Note) -> SoundfileDecoder | None:
    size, behind = file.seek(0, os.SEEK_END), count_bytes_behind(file)  # before libsndfile, which then owns the file's place
    opened = open_soundfile(file)
    # it believes what is said of the length of mp3, in a wav too
    if opened is None or "MPEG" in opened.subtype or not _is_length(opened.frames, size):
        return None
    require_nothing_behind(behind, opened.frames)
    ends_with_sound = opened.format in ("FLAC", "AU")
    return SoundfileDecoder(opened, note, bytes_behind=lambda: size - file.tell() if ends_with_sound else 0)


def _is_length(num_samples: int, num_bytes: int) -> bool:
    """Whether it was known when the file was written: otherwise it is 0, or the largest number there is."""
    return 0 < num_samples <= MOST_SAMPLES_PER_BYTE * num_bytes


def _read_all(file: io.RawIOBase | io.BytesIO) -> bytes:
    file.seek(0)
    return file.read()
