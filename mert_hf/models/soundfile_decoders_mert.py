"""libsndfile (through soundfile), told where it believes a header that is wrong: wav, flac, ogg, opus, aiff and more."""

import io
import re
from collections.abc import Callable

import numpy as np

from .audio_containers_mert import OggLink
from .decoding_mert import MOST_MISSING_S, WRITE_ANEW, Note, require_end, undecodable, with_channels
from .errors_mert import AudioError

try:
    import soundfile
except ImportError:
    soundfile = None

# Samples of ogg decoded before a place that libsndfile sought and thrown away, two of Vorbis's longest blocks: the first ones
# are wrong.
OGG_PREROLL = 16384
# Programs that write into a pipe put the largest number of 31 or 32 bits, or a little less, where the size belongs.
UNKNOWN_SIZE_MARGIN = 2**16
# Behind the sound there may be tags, and what programs leave there.
MOST_BYTES_BEHIND = 4096
# What is raised on damaged files; a disk may fail in between.
SOUNDFILE_ERRORS = (OSError, *(() if soundfile is None else (soundfile.LibsndfileError,)))


def open_soundfile(file: io.RawIOBase | io.BytesIO) -> "soundfile.SoundFile | None":
    """The file as libsndfile opens it; None where libsndfile is not there or cannot read it."""
    file.seek(0)
    try:
        # by its descriptor: soundfile would take a name that ends in .raw for samples without a header
        given = file if isinstance(file, io.BytesIO) else file.fileno()
        return None if soundfile is None else soundfile.SoundFile(given, closefd=False)
    except SOUNDFILE_ERRORS:
        return None


def require_nothing_behind(num_bytes: int, num_samples: int) -> None:
    """Refuse a file that holds more than its header tells of.

    Raises:
        AudioError: more bytes than tags have lie behind the sound.
    """
    if num_bytes > MOST_BYTES_BEHIND:
        raise AudioError(
            f"its header is wrong: {num_bytes} bytes lie behind the {num_samples} samples that it tells of; give files that"
            " were joined one by one, or write it anew: ffmpeg -ignore_length 1 -i old.wav new.wav"
        )


class SoundfileDecoder:
    """libsndfile: wav, flac, ogg, opus, aiff and more.

    Args:
        link: where the pages of an ogg file lie, if it is one.
        bytes_behind: tells how many bytes are left where the sound ends.

    Raises:
        AudioError: its end is missing.
    """

    def __init__(
        self,
        opened: "soundfile.SoundFile",
        note: Note,
        link: OggLink | None = None,
        bytes_behind: Callable[[], int] = lambda: 0,
    ):
        self._file, self._note, self._link, self._bytes_behind = opened, note, link, bytes_behind
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
        sought = start if self._link is None else max(min(start, self._link.known_until) - OGG_PREROLL, 0)
        wanted = start - sought + count
        try:
            self._file.seek(sought)
            samples = self._file.read(wanted, dtype="float32", always_2d=True)
        except SOUNDFILE_ERRORS as error:
            raise undecodable(start / self.sampling_rate, error) from None
        if len(samples) < wanted:
            self._require_end(sought + len(samples), wanted - len(samples))
            samples = np.pad(samples, ((0, wanted - len(samples)), (0, 0)))
        if count and start + count == self.num_samples:
            require_nothing_behind(self._bytes_behind(), self.num_samples)
        return samples[start - sought :]

    def _require_end(self, found: int, missing: int) -> None:
        found_s, missing_s = found / self.sampling_rate, missing / self.sampling_rate
        require_end(found_s, found_s + missing_s, MOST_MISSING_S, self._note)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class ChainDecoder:
    """Several ogg files behind one another in one file, as radio stations send them and `cat` joins them.

    Raises:
        AudioError: their rates differ.
    """

    def __init__(self, links: list[SoundfileDecoder]):
        self._links = links
        self.sampling_rate, self.channels = links[0].sampling_rate, max(link.channels for link in links)
        self.num_samples = sum(link.num_samples for link in links)
        for link in links:
            if link.sampling_rate != self.sampling_rate:
                raise AudioError(
                    f"changes its sampling rate from {self.sampling_rate} to {link.sampling_rate} Hz; {WRITE_ANEW}"
                )

    def read(self, start: int, count: int) -> np.ndarray:
        """Samples from `start` on."""
        parts, begin, stop = [np.zeros((0, self.channels), np.float32)], 0, start + count
        for link in self._links:
            first, last = max(start - begin, 0), min(stop - begin, link.num_samples)
            if first < last:
                parts.append(with_channels(link.read(first, last - first), self.channels))
            begin += link.num_samples
        return np.concatenate(parts)

    def close(self) -> None:
        """Let go of the files."""
        for link in self._links:
            link.close()
