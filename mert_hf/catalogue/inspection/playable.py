"""A track in a form that every browser plays, small enough to lie within a page."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mert_hf.audio import AudioFile
from mert_hf.audio.writing import encode_mp3
from mert_hf.common.errors import InputError
from mert_hf.models.mpeg_frames_mert import find_mpeg_frames

MEGABYTE = 10**6
# A file that browsers play goes into a page as it is up to this size: a song of four minutes at 256 kbit/s.
MOST_ORIGINAL_BYTES = 8 * MEGABYTE
# Everything else becomes an mp3 of at most this size. Written as text it is a third larger: 32 MB, the longest data: URL of
# Firefox 97 to 135 (developer.mozilla.org, "data: URLs"); other browsers take more.
MOST_BYTES = 23 * MEGABYTE
# mono, at 44.1 kHz; where the track is too long for that, at 24 kHz with as much as fits
USUAL_KBPS, USUAL_RATE = 96, 44100
LONG_RATE = 24000
# bit rates of mp3 at 24 kHz (ISO 13818-3)
LONG_KBPS = (64, 56, 48, 40, 32, 24, 16, 8)
BLOCK_S = 60
# formats of samples in wav files that browsers play: integers, floating point, or told further on (mmreg.h)
WAV_FORMATS = (1, 3, 0xFFFE)


@dataclass(frozen=True)
class Playable:
    """Audio for a page.

    Attributes:
        content: an audio file.
        mime: its type, such as "audio/mpeg".
        note: what was done to it, for people.
    """

    content: bytes
    mime: str
    note: str


def make_playable(path: str | os.PathLike, progress: bool = False) -> Playable:
    """The bytes of a file where browsers play them and they are few, otherwise an mp3 of it, mono.

    Raises:
        AudioError: it cannot be read.
        InputError: it is so long that no mp3 of it is small enough.
    """
    if Path(path).stat().st_size <= MOST_ORIGINAL_BYTES:
        content = Path(path).read_bytes()
        mime = playable_type(content)
        if mime is not None:
            return Playable(content, mime, "as it is")
    with AudioFile(path) as audio:
        duration_s = audio.info.duration_s
        rate, kbps = choose_bit_rate(duration_s)
        content = encode_mp3(_blocks(audio, rate, duration_s, progress), rate, kbps)
    return Playable(content, "audio/mpeg", f"as an mp3, mono, {kbps} kbit/s")


def choose_bit_rate(duration_s: float) -> tuple[int, int]:
    """Sampling rate in Hz and kbit/s of the mp3 of a track.

    Raises:
        InputError: nothing is small enough.
    """
    fitting_kbps = MOST_BYTES * 8 / 1000 / duration_s
    if fitting_kbps >= USUAL_KBPS:
        return USUAL_RATE, USUAL_KBPS
    kbps = next((one for one in LONG_KBPS if one <= fitting_kbps), None)
    if kbps is None:
        longest_h = MOST_BYTES * 8 / 1000 / LONG_KBPS[-1] / 3600
        raise InputError(
            f"a page holds a track of at most {longest_h:.1f} h, this one has {duration_s / 3600:.1f} h; write a picture (.png)"
            " or cut the track."
        )
    return LONG_RATE, kbps


def playable_type(content: bytes) -> str | None:
    """The type of an audio file that every browser plays, by what its bytes say: mp3, wav, FLAC, Vorbis or Opus in ogg."""
    if content.startswith(b"fLaC"):
        return "audio/flac"
    if content.startswith(b"OggS"):
        return "audio/ogg" if b"\x01vorbis" in content[:128] or b"OpusHead" in content[:128] else None
    if content[:4] == b"RIFF" and content[8:16] == b"WAVEfmt ":
        return "audio/wav" if int.from_bytes(content[20:22], "little") in WAV_FORMATS else None
    if content.startswith((b"ID3", b"\xff")):
        frames = find_mpeg_frames(content)
        return "audio/mpeg" if frames is not None and frames.layer == 3 and not frames.fault else None
    return None


def _blocks(audio: AudioFile, rate: int, duration_s: float, progress: bool) -> Iterator[np.ndarray]:
    num_samples, block = audio.info.resampled_length(rate), BLOCK_S * rate
    for start in tqdm(range(0, num_samples, block), desc="Encoding for the page", unit="min", disable=not progress):
        yield audio.read(rate, start, min(block, num_samples - start))
