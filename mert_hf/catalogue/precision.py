"""Which floating-point type to compute in, measured where it is to be used."""

import logging
import os
import time

import numpy as np
import torch

from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder

logger = logging.getLogger(__name__)

# bfloat16 must be faster by this factor to be worth its difference, and the vector of a piece may not turn further than this.
LEAST_SPEEDUP, LEAST_COSINE = 1.2, 0.9995
PIECE_S, REPEATS = 10.0, 3


def choose_dtype(model: str | os.PathLike, device: str | None = None, revision: str | None = None) -> str:
    """ "bfloat16" where it is at least 1.2 times as fast and a piece's vector, of the layer that is read by default, keeps a
    cosine of 0.9995 with that in float32; else "float32". What was found is logged.
    """
    from mert_hf.synthetic import generate_piece

    exact = MusicEncoder(model, device=device, revision=revision)
    rough = MusicEncoder(model, device=device, revision=revision, dtype=torch.bfloat16)
    piece = generate_piece(seed=1, duration_s=PIECE_S, sampling_rate=exact.sampling_rate).waveform
    times, rough_times = [], []
    try:
        for _ in range(1 + REPEATS):  # in turn, so that other work of the machine slows both
            vector = _time(exact, piece, times)
            rough_vector = _time(rough, piece, rough_times)
    except (InputError, RuntimeError) as error:  # not finite in it, or an operation that the device lacks
        logger.info("Computing in float32: bfloat16 does not work here (%s)", str(error).split("\n")[0])
        return "float32"
    speedup = min(times[1:]) / min(rough_times[1:])  # the first of each is not counted
    cosine = float(vector @ rough_vector / np.linalg.norm(vector) / np.linalg.norm(rough_vector))
    moved = float(np.linalg.norm(vector - rough_vector) / np.linalg.norm(vector))
    chosen = "bfloat16" if speedup >= LEAST_SPEEDUP and cosine >= LEAST_COSINE else "float32"
    logger.info(
        "Computing in %s: bfloat16 is %.2f times as fast here and moves a vector by %.2g %% (cosine %.6f)",
        *(chosen, speedup, 100 * moved, cosine),
    )
    return chosen


def _time(encoder: MusicEncoder, piece: np.ndarray, times: list[float]) -> np.ndarray:
    """The piece's vector; the seconds it took are added to the times."""
    started = time.perf_counter()
    vector = encoder.encode(piece, sampling_rate=encoder.sampling_rate, normalize=False, progress=False)
    times.append(time.perf_counter() - started)
    return vector
