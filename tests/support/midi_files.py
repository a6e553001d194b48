"""A reader of MIDI files that knows the format's rules and nothing of ours."""

import struct

from mert_hf.synthetic.sound.midi import TICKS_PER_S


def read_midi(data):
    """(seconds, status, data...) of every message, read by the format's rules."""
    kind, length, form, tracks, division = struct.unpack(">4sIHHH", data[:14])
    assert (kind, length, form, tracks) == (b"MThd", 6, 0, 1)
    kind, size = struct.unpack(">4sI", data[14:22])
    assert kind == b"MTrk" and size == len(data) - 22
    place, tick, events, quarter_s = 22, 0, [], None

    def number():
        nonlocal place
        value = 0
        while True:
            byte = data[place]
            place += 1
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                return value

    while place < len(data):
        tick += number()
        status = data[place]
        place += 1
        if status == 0xFF:
            meta, count = data[place], data[place + 1]
            content = data[place + 2 : place + 2 + count]
            place += 2 + count
            if meta == 0x51:
                quarter_s = int.from_bytes(content, "big") / 1e6
            elif meta == 0x2F:
                assert place == len(data)
        else:
            count = 1 if status >> 4 == 0xC else 2
            events.append((tick * quarter_s / division, status, *data[place : place + count]))
            place += count
    assert division / quarter_s == TICKS_PER_S
    return events
