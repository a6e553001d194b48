"""The vectors of one track as a file to take along: of the whole track and of every second of it."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mert_hf.encoding.pooling import MeanPool, SecondPool
from mert_hf.models.windows_mert import FrameGrid


class TrackAndSeconds:
    """The mean over all frames of a clip, and behind it the means of its seconds: (layers, 1 + seconds, hidden)."""

    def __init__(self, grid: FrameGrid, num_frames: int):
        self._pools = MeanPool(grid, num_frames), SecondPool(grid, num_frames)

    def add(self, frames: NDArray) -> None:
        """The next frames, (layers, frames, hidden)."""
        for pool in self._pools:
            pool.add(frames)

    def result(self) -> NDArray[np.float32]:
        """What all frames came to."""
        track, seconds = (pool.result() for pool in self._pools)
        return np.concatenate([track[:, None], seconds], axis=1)


def to_parquet(vectors: NDArray[np.float32], duration_s: float, model: str, layer: int) -> bytes:
    """A Parquet file of the vectors of a track.

    Its columns are `part` ("track" in the first row, "second" in all others), `start_s` and `end_s` of the part, and `vector`,
    float32 as the model gives it, not scaled to length 1. Its schema's metadata name `model` and `layer`.

    Args:
        vectors: (1 + seconds, hidden), as of [`TrackAndSeconds`]; the mean of a second is over the frames that begin in it.
        duration_s: of the track; the last second ends with it.
        model, layer: that the vectors are of.
    """
    starts = np.arange(len(vectors) - 1, dtype=np.float64)
    table = {
        "part": pa.array(["track"] + ["second"] * len(starts), pa.string()),
        "start_s": pa.array([0.0, *starts], pa.float64()),
        "end_s": pa.array([duration_s, *np.minimum(starts + 1, duration_s)], pa.float64()),
        "vector": pa.array(list(vectors), pa.list_(pa.float32())),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(table).replace_schema_metadata({"model": model, "layer": str(layer)}), file)
    return file.getvalue()
