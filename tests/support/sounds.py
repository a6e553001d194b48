"""Sounds for tests."""

from pathlib import Path

import av
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


def write_constant_mp3(file: Path) -> None:
    """12 s at 44.1 kHz, every frame of the same size."""
    soundfile.write(file, make_tones(12.0, 44100), 44100, bitrate_mode="CONSTANT", compression_level=0.5)


def remove_mp3_length(file: Path) -> None:
    """Take the tag with the length out of an mp3 and put 32 KiB of picture in front, which a guess counts as music."""
    content = file.read_bytes()
    marks = [place for tag in (b"Xing", b"Info") if (place := content.find(tag, 0, 4096)) >= 0]
    assert marks, "the encoder wrote no length; the test needs one to remove"
    # the word in the name of a title must not be taken for the tag
    cover = b"ID3\x04\x00\x00" + bytes([0, 2, 0, 0]) + b"Info".ljust(2 << 14, b"\0")
    file.write_bytes(cover + content[: marks[0]] + b"\0\0\0\0" + content[marks[0] + 4 :])


def encode_by_ffmpeg(
    file: Path, samples: np.ndarray, rate: int, codec: str, container=None, start_s=0.0, kbps=128, **options
) -> None:
    """Write (samples,) or (samples, channels) as FFmpeg does; `options` are those of the container."""
    layout = "mono" if samples.ndim == 1 else "stereo"
    with av.open(file, "w", options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout, options={"strict": "-2"})
        stream.bit_rate = 1000 * kbps
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(np.atleast_2d(samples.T), np.float32), "fltp", layout)
        frame.sample_rate, frame.pts = rate, round(start_s * rate)
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            out.mux(stream.encode(part))
