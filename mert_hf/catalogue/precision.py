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
    piece = generate_piece(seed=1, duration_s=PIECE_S, sampling_rate=exact.sampling_rate).waveform
    took, vector = _time(exact, piece)
    rough = MusicEncoder(model, device=device, revision=revision, dtype=torch.bfloat16)
    try:
        took_rough, vector_rough = _time(rough, piece)
    except (InputError, RuntimeError) as error:  # not finite in it, or an operation that the device lacks
        logger.info("Computing in float32: bfloat16 does not work here (%s)", str(error).split("\n")[0])
        return "float32"
    cosine = float(vector @ vector_rough / np.linalg.norm(vector) / np.linalg.norm(vector_rough))
    moved = float(np.linalg.norm(vector - vector_rough) / np.linalg.norm(vector))
    chosen = "bfloat16" if took / took_rough >= LEAST_SPEEDUP and cosine >= LEAST_COSINE else "float32"
    logger.info(
        "Computing in %s: bfloat16 is %.2f times as fast here and moves a vector by %.2g %% (cosine %.6f)",
        *(chosen, took / took_rough, 100 * moved, cosine),
    )
    return chosen


def _time(encoder: MusicEncoder, piece: np.ndarray) -> tuple[float, np.ndarray]:
    """The shortest of some times, in seconds, after one that is not counted; and the vector."""
    found = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        vector = encoder.encode(piece, sampling_rate=encoder.sampling_rate, normalize=False, progress=False)
        found.append(time.perf_counter() - started)
    return min(found[1:]), vector
