"""What ogg, wav and aiff files hold, read off their bytes where libsndfile trusts what a header claims."""

import os
import re
from collections.abc import Iterator
from typing import BinaryIO


def find_ogg_fault(content: bytes) -> str | None:
    """What is wrong with an ogg file, by the length that each page tells; None where nothing is."""
    end = 0
    for place, length, _ in _ogg_pages(content):
        if place + length > len(content):
            return "truncated: its last page is cut"
        end = place + length
    return None if end else "truncated: it holds no whole page"


def is_chained_ogg(content: bytes) -> bool:
    """Whether an ogg file is several ones behind one another, of which libsndfile reads the first only."""
    begun = False
    for _, _, begins in _ogg_pages(content):
        if begins and begun:
            return True
        begun = begun or not begins
    return False


def _ogg_pages(content: bytes) -> Iterator[tuple[int, int, bool]]:
    """Place and length of each page (RFC 3533), and whether a stream begins with it."""
    place = content.find(b"OggS")
    while place >= 0:
        head = content[place : place + 27]
        if len(head) < 27:
            yield place, len(content) - place + 1, False
            return
        lengths = content[place + 27 : place + 27 + head[26]]
        length = 27 + head[26] + sum(lengths)
        yield place, length, bool(head[5] & 2)
        place = content.find(b"OggS", min(place + length, len(content)))


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
