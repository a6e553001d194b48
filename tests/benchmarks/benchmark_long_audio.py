"""Time and peak memory of embedding long audio with a model of MERT-95M's size and random weights, on the CPU.

    python tests/benchmarks/benchmark_long_audio.py --minutes 60

The process does nothing else, so the peak is that of loading the libraries, the model and the audio's windows.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.synthetic import generate_piece


def peak_gb() -> float:
    """Most memory this process has had resident so far (ru_maxrss counts KiB, on macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def write_long_track(file: Path, minutes: float) -> None:
    """A stereo track at 44.1 kHz, written piece by piece: one minute of synthetic music over and over."""
    piece = generate_piece(1, duration_s=min(60.0, 60 * minutes), sampling_rate=44100).waveform
    with soundfile.SoundFile(file, "w", 44100, 2, subtype="PCM_16") as track:
        left = round(minutes * 60 * 44100)
        while left > 0:
            part = piece[:left]
            track.write(np.stack([part, 0.5 * part], axis=1))
            left -= len(part)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the track")
    parser.add_argument("--layers", default="7", help='a layer, or "all"')
    parser.add_argument("--pool", default="mean", help="mean, mean_std, second, or none: all frames, into a file")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    encoder = MusicEncoder(MERTModel(MERTConfig.mert_95m()), MERTFeatureExtractor(), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        track = Path(folder) / "long.flac"
        write_long_track(track, arguments.minutes)
        print(f"before the first window: {peak_gb():.2f} GB", flush=True)
        started = time.perf_counter()
        found = encoder.encode(
            track,
            layers=arguments.layers if arguments.layers == "all" else int(arguments.layers),
            pool=None if arguments.pool == "none" else arguments.pool,
            output_dir=folder if arguments.pool == "none" else None,
        )
        took_s = time.perf_counter() - started
        print(
            f"{arguments.minutes:g} min of audio, layers {arguments.layers}, pool {arguments.pool}: result {found.shape},"
            f" {took_s:.0f} s ({60 * arguments.minutes / took_s:.1f} times real time), peak {peak_gb():.2f} GB"
        )
