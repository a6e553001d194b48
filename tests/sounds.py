"""Sounds for tests."""

from pathlib import Path

import numpy as np
import soundfile


def make_tones(seconds: float, sampling_rate: int, seed: int = 0) -> np.ndarray:
    """A slowly changing chord with a little noise, (samples,) float32: something with pitch, to be heard at any rate."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    tones = sum(
        np.sin(2 * np.pi * hz * time + phase)
        for hz, phase in zip(random.uniform(80, 900, 4), random.uniform(0, 6, 4), strict=True)
    )
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(0.3, 1.0) * time)
    return (0.1 * tones * envelope + 0.002 * random.standard_normal(len(time))).astype(np.float32)


def write_variable_mp3(file: Path) -> None:
    """12 s at 44.1 kHz: quiet at first, so that the first frames are the smallest."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(9 * 44100)
    tones = np.concatenate([1e-3 * make_tones(3.0, 44100), make_tones(9.0, 44100) + noise])
    soundfile.write(file, tones, 44100, bitrate_mode="VARIABLE", compression_level=0.5)


def remove_mp3_length(file: Path) -> None:
    """Take the tag with the length out of an mp3 and put 32 KiB of picture in front, which a guess counts as music."""
    content = file.read_bytes()
    marks = [place for tag in (b"Xing", b"Info") if (place := content.find(tag, 0, 4096)) >= 0]
    assert marks, "the encoder wrote no length; the test needs one to remove"
    cover = b"ID3\x04\x00\x00" + bytes([0, 2, 0, 0]) + bytes(2 << 14)
    file.write_bytes(cover + content[: marks[0]] + b"\0\0\0\0" + content[marks[0] + 4 :])
