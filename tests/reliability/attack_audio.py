"""Damaged audio files of all kinds, and rates, places and lengths that are none."""

import numpy as np
import soundfile
from fuzzing import HOSTILE, damage_bytes
from support.sounds import encode_by_ffmpeg, make_tones

from mert_hf.audio import check_audio, read_audio, read_info
from mert_hf.common.errors import InputError

DOCUMENTED = (InputError,)
# name -> codec of FFmpeg; None where libsndfile writes it
FILES = {
    **dict.fromkeys(("a.wav", "a.flac", "a.ogg", "a.aiff", "a.caf", "a.mp3"), None),
    **{"b.mp3": "libmp3lame", "a.m4a": "aac", "a.aac": "aac", "a.wma": "wmav2", "a.webm": "libopus", "a.mka": "vorbis"},
    **{"a.ac3": "ac3", "a.mp2": "mp2", "b.flac": "flac"},
}


def prepare(folder):
    tones = np.stack([make_tones(1.0, 44100, seed) for seed in (1, 2)], axis=1)
    wide = np.stack([make_tones(1.0, 48000, seed) for seed in (1, 2)], axis=1)
    contents = []
    for name, codec in FILES.items():
        if codec is None:
            soundfile.write(folder / name, tones, 44100)
        else:
            encode_by_ffmpeg(folder / name, wide, 48000, codec)
        contents.append((folder / name).read_bytes())

    def strike(rng):
        source = damage_bytes(rng, contents[int(rng.integers(len(contents)))])
        if rng.random() < 0.5:
            path = folder / "damaged"
            path.write_bytes(source)
            source = path
        way = rng.random()
        if way < 0.2:
            read_audio(source, *(HOSTILE[int(place)] for place in rng.integers(len(HOSTILE), size=int(rng.integers(1, 4)))))
        elif way < 0.4:
            read_info(source)
        elif way < 0.6:
            read_audio(source, 24000, int(rng.integers(12000)), int(rng.integers(12000)))
        else:
            info, _ = check_audio(source)
            found = len(read_audio(source, info.sampling_rate))
            if found != info.num_samples:
                raise AssertionError(f"check_audio counts {info.num_samples} samples, read_audio gives {found}")

    return strike
