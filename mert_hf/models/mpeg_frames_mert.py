"""The frames of an mp3, found by walking through its bytes: what a tag claims of them is often wrong, or missing."""

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from .decoding_mert import WRITE_ANEW

# Bit rates in kbit/s by the index in a frame's header, for layers I, II, III of MPEG 1, and for layers I and II/III of MPEG 2
# and 2.5 (ISO 11172-3, 13818-3).
KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# What programs that write for themselves put behind the music, such as old tags of a shop or a player.
MOST_JUNK_AT_THE_END = 16384
# Samples by which a decoder of layer III lags, beside the encoder's own delay (LAME's convention, in its tag).
LAYER_3_DELAY = 529


class _Head(NamedTuple):
    """What the header of a frame says. A file keeps its `kind`: version, layer, rate; a tag of Xing stands at `tag_at`."""

    kind: tuple[int, int, int]
    rate: int
    channels: int
    samples: int
    length: int
    tag_at: int


@dataclass
class MpegFrames:
    """The frames of an MPEG audio file (mp3, mp2, mp1), without those that hold only a tag.

    Attributes:
        places: first byte of each frame, and the byte behind the last.
        lengths: bytes of each frame.
        layer: 1, 2 or 3.
        sampling_rate, channels: of the frames; the most channels that one has.
        samples_per_frame: samples per channel that a frame decodes to.
        skip_start, skip_end: samples that the encoder put before and behind the music, by LAME's tag.
        fault: why the file cannot be used; None where it can.
        notes: what was passed over.
    """

    layer: int
    sampling_rate: int
    samples_per_frame: int
    channels: int = 1
    places: array = field(default_factory=lambda: array("q"))
    lengths: array = field(default_factory=lambda: array("i"))
    skip_start: int = 0
    skip_end: int = 0
    fault: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def num_samples(self) -> int:
        """Samples per channel of the music."""
        return max(len(self.places) * self.samples_per_frame - self.skip_start - self.skip_end, 0)


def find_mpeg_frames(content: bytes) -> MpegFrames | None:
    """Walk from frame to frame through the bytes of an MPEG audio file; no tag is believed that the frames contradict.

    Returns:
        The frames; None where less than half of the file is frames that follow one another.
    """
    heads: dict[int, _Head | None] = {}
    place = _resync(content, _skip_tags(content, 0), None, heads)
    if place is None:
        return None
    begin = place
    first = _head(content, place, heads)
    found = MpegFrames(first.kind[1], first.rate, first.samples)
    tag = _read_length_tag(content, place, first)
    size = len(content)
    while place < size:
        head = _head(content, place, heads)
        if head is None or (head.kind != first.kind and not _is_followed(content, place, head, heads)):
            after = _skip_tags(content, place)
            if after == place:
                after = _pass_junk(content, place, found, first, heads)
            if after is None:
                break
            place = after
            continue
        if head.kind != first.kind:
            second = len(found.places) * found.samples_per_frame / found.sampling_rate
            found.fault = (
                f"an mp3 that changes at {second:.2f} s from {first.rate} to {head.rate} Hz or to another kind of frame;"
                f" {WRITE_ANEW}"
            )
            return found
        if place + head.length > size:
            found.notes.append("its last frame is cut, a few milliseconds are missing")
            break
        if not _is_tag(content, place, head):
            found.places.append(place)
            found.lengths.append(head.length)
            found.channels = max(found.channels, head.channels)
        place += head.length
    if 2 * sum(found.lengths) < size - begin:
        return None
    _compare_with_tag(found, tag, size)
    return found


def _head(content: bytes, place: int, heads: dict[int, _Head | None]) -> _Head | None:
    """The frame whose header stands here; None where none does."""
    word = content[place : place + 4]
    if len(word) < 4 or word[0] != 0xFF:
        return None
    key = int.from_bytes(word, "big") >> 6  # what lies below says nothing of length and kind
    if key not in heads:
        heads[key] = _parse_head(key << 6)
    return heads[key]


def _parse_head(header: int) -> _Head | None:
    version = {3: 1, 2: 2, 0: 3}.get(header >> 19 & 3)  # MPEG 1, 2, and 2.5
    layer = 4 - (header >> 17 & 3)
    index, rate_index, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    if header >> 21 != 0x7FF or version is None or layer == 4 or rate_index == 3 or index in (0, 15):
        return None
    rate = (44100, 48000, 32000)[rate_index] >> (version - 1)
    bits = 1000 * KBPS[min(version, 2), layer][index - 1]
    channels = 1 if header >> 6 & 3 == 3 else 2
    samples = 384 if layer == 1 else 576 if layer == 3 and version > 1 else 1152
    length = (12 * bits // rate + padding) * 4 if layer == 1 else samples // 8 * bits // rate + padding
    side = {(1, 1): 17, (1, 2): 32, (2, 1): 9, (2, 2): 17}[min(version, 2), channels]
    return _Head((version, layer, rate), rate, channels, samples, length, 4 + side)


def _is_followed(content: bytes, place: int, head: _Head, heads, frames: int = 2) -> bool:
    """Whether a frame is no chance find: others of its kind follow it, a tag, or the end of the file."""
    for _ in range(frames):
        place += head.length
        if place >= len(content) or _skip_tags(content, place) > place:
            return True
        following = _head(content, place, heads)
        if following is None or following.kind != head.kind:
            return False
        head = following
    return True


def _resync(content: bytes, place: int, kind: tuple[int, int, int] | None, heads) -> int | None:
    """The first frame from here on that others follow, of that kind if one is given; or the tag before it."""
    place -= 1
    while (place := content.find(b"\xff", place + 1)) >= 0:
        head = _head(content, place, heads)
        if head and (kind is None or head.kind == kind) and _is_followed(content, place, head, heads):
            return place
    return None


def _pass_junk(content: bytes, place: int, found: MpegFrames, first: _Head, heads) -> int | None:
    """Where frames go on behind bytes that are none; None where the file ends with them."""
    after = _resync(content, place, None, heads)
    if found.places:
        # the last frame of a file that another was joined to may be cut: the tag of the other then stands inside of it
        inside = content.find(b"ID3", found.places[-1] + 4, place + 10)
        if inside >= 0 and _skip_tags(content, inside) > inside:
            found.places.pop()
            found.lengths.pop()
            found.notes.append("a frame in it is cut, a few milliseconds are missing")
            return inside
    end = len(content) if after is None else after
    junk = end - place
    at_the_end = after is None and any(content[place : place + MOST_JUNK_AT_THE_END])
    second = len(found.places) * found.samples_per_frame / found.sampling_rate
    two_frames = 2 * sum(found.lengths) // max(len(found.lengths), 1)
    if junk > (MOST_JUNK_AT_THE_END if at_the_end else two_frames):
        found.fault = f"damaged: {junk} bytes at {second:.2f} s hold no frames of mp{first.kind[1]}"
    elif after is not None:
        found.notes.append(f"{junk} bytes at {second:.2f} s hold no frames and were passed over")
    return after


def _skip_tags(content: bytes, place: int) -> int:
    """The byte behind the tags that begin here: title and cover as ID3 and APE tags hold them."""
    while True:
        head = content[place : place + 32]
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
            footer = 10 * (head[5] >> 4 & 1)
            place += 10 + footer + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            is_header = head[23] >> 5 & 1
            place += 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
        elif head[:3] == b"TAG":
            place += 128
        else:
            return min(place, len(content))


@dataclass(frozen=True)
class _LengthTag:
    """What the tag of Xing, LAME or VBRI claims; 0 where it says nothing."""

    place: int
    frames: int
    num_bytes: int
    delay: int
    padding: int


def _is_tag(content: bytes, place: int, head: _Head) -> bool:
    if head.kind[1] != 3:
        return False
    return content[place + head.tag_at : place + head.tag_at + 4] in (b"Xing", b"Info") or (
        content[place + 36 : place + 40] == b"VBRI"
    )


def _read_length_tag(content: bytes, place: int, head: _Head) -> _LengthTag | None:
    """The tag, where the frame that begins here is one."""
    if not _is_tag(content, place, head):
        return None

    def number(at: int, count: int = 4) -> int:
        return int.from_bytes(content[at : at + count], "big")

    tag = place + head.tag_at
    if content[tag : tag + 4] not in (b"Xing", b"Info"):
        return _LengthTag(place, number(place + 36 + 14), number(place + 36 + 10), 0, 0)
    flags, at = number(tag + 4), tag + 8
    frames, at = (number(at), at + 4) if flags & 1 else (0, at)
    num_bytes, at = (number(at), at + 4) if flags & 2 else (0, at)
    at += 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    both = number(at + 21, 3) if content[at : at + 4] in (b"LAME", b"Lavf", b"Lavc") else 0
    return _LengthTag(place, frames, num_bytes, both >> 12, both & 0xFFF)


def _compare_with_tag(found: MpegFrames, tag: _LengthTag | None, size: int) -> None:
    """Note what the encoder added, and whether the file once was longer; a tag that claims less than there is, is wrong."""
    count, per_frame = len(found.places), found.samples_per_frame
    if tag is None or found.fault:
        return
    missing = tag.frames - count
    if missing > 1 or (not tag.frames and tag.num_bytes > size - tag.place + 4096):
        of = f" of {tag.frames * per_frame / found.sampling_rate:.2f} s" if tag.frames else ""
        found.fault = f"truncated: {count * per_frame / found.sampling_rate:.2f} s{of} are there"
    elif tag.delay and tag.delay + LAYER_3_DELAY < count * per_frame:
        found.skip_start = tag.delay + LAYER_3_DELAY
        if missing in (0, 1):
            padding = max(tag.padding - LAYER_3_DELAY - missing * per_frame, 0)
            found.skip_end = min(padding, count * per_frame - found.skip_start)
