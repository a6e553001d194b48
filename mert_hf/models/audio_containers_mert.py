"""What ogg, wav and aiff files hold, read off their bytes where libsndfile trusts what a header claims."""

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

from .errors_mert import AudioError


@dataclass
class OggLink:
    """One of the ogg files that a file holds one behind the other; mostly there is one.

    Attributes:
        begin, end: its bytes, the last exclusive.
        streams: that are interleaved in it, such as sound and pictures.
        num_samples: of Vorbis, Opus (what it skips at first included), FLAC and Speex, as its last page tells.
        known_until: samples up to its last page; the place of the last page is counted from an end that may be cut off.
    """

    begin: int
    end: int
    streams: int = 0
    num_samples: int = 0
    known_until: int = 0


def find_ogg_links(content: bytes) -> list[OggLink]:
    """Go through an ogg file from page to page (RFC 3533).

    Raises:
        AudioError: its last page is cut, or others are missing.
    """
    links: list[OggLink] = []
    in_header, end = False, content.find(b"OggS")
    while 0 <= end < len(content):
        place, head = end, content[end : end + 27]
        lengths = content[place + 27 : place + 27 + head[-1]]
        end = place + 27 + len(lengths) + sum(lengths)
        if head[:4] != b"OggS":
            following = content.find(b"OggS", place)
            if following < 0 and links:
                break  # a tag, or what a program left
            raise AudioError(f"damaged: {following - place} of its bytes, from byte {place} on, hold no page")
        if len(head) < 27 or len(lengths) < head[26] or end > len(content):
            raise AudioError("truncated: its last page is cut")
        begins = bool(head[5] & 2)
        if begins and not in_header:
            links.append(OggLink(place, end))
        in_header = begins
        if not links:
            raise AudioError("damaged: its first page is missing")
        link, granule = links[-1], int.from_bytes(head[6:14], "little", signed=True)
        link.end, link.streams = end, link.streams + begins
        if granule >= 0:  # else no block ends on the page
            link.known_until, link.num_samples = link.num_samples, granule
    return links


def count_bytes_behind(file: BinaryIO) -> int:
    """Bytes of a wav or aiff file that belong to none of its chunks: behind sound whose length is written too small."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    order = {b"RIFF": "little", b"FORM": "big"}.get(file.read(12)[:4])
    place = 12
    while order and place < size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:], order)
        if not re.fullmatch(rb"[ -~]{4}", head[:4]):
            return size - place
        if length == 0 and head[:4] in (b"data", b"SSND"):
            return 0  # not known when it was written
        place += 8 + length + length % 2
    return 0
