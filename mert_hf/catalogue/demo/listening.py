"""What the page computes of a song: everything that it shows, and why there is nothing to show."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mert_hf.catalogue.demo.index import Neighbour, describe, make_index
from mert_hf.catalogue.demo.vectors import TrackAndSeconds, to_parquet
from mert_hf.catalogue.inspection.analysis import Inspection, inspect_track, read_track_info
from mert_hf.catalogue.inspection.playable import Playable, make_playable
from mert_hf.common.errors import InputError
from mert_hf.common.redaction import name_only
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.models.windows_mert import FrameGrid

# Of a track, in seconds. A model of 95M parameters takes 0.4 times as long as the track on one core (133 s in 51 s), for which
# others wait.
LONGEST_S = 6 * 60
# Of a file: six minutes of a CD, in stereo, uncompressed, are 64 MB.
MOST_MEGABYTES = 70
# Neighbours that are shown.
COUNT = 5
NO_FILE = "No file is chosen: drop an audio file above, or click there to choose one."


@dataclass(frozen=True)
class Listened:
    """What is shown of a song.

    Attributes:
        inspection: what its picture is drawn of.
        playable: the song, for the page.
        neighbours: the nearest pieces of the index, the nearest first.
        vectors: a Parquet file, see [`to_parquet`](vectors.py).
    """

    inspection: Inspection
    playable: Playable
    neighbours: list[Neighbour]
    vectors: bytes


class Listener:
    """A model and its small index, ready for songs. Many threads may use one at once.

    Args:
        model: folder or repository.
        index: folder that keeps the index; what lies there already is not made again.
        pieces: of the index.
        device: the fastest there is by default.

    Raises:
        InputError: the model cannot be loaded, or the folder holds something else; see [`make_index`].
    """

    def __init__(self, model: str | os.PathLike, index: str | os.PathLike, pieces: int = 40, device: str | None = None):
        self.encoder = MusicEncoder(model, device=device)
        self.model = name_only(model)
        self.catalogue = make_index(index, model, pieces, device)
        self._describe = lru_cache(maxsize=200)(describe)

    def listen(self, path: str | os.PathLike | None) -> Listened:
        """Look at a song.

        Raises:
            InputError: there is none, it is no audio, too short or too long; names the file without its folder.
        """
        if path is None:
            raise InputError(NO_FILE)
        name = os.fsencode(Path(path).name).decode("utf-8", "replace")
        try:
            return self._listen(path)
        except InputError as error:
            raise InputError(str(error).replace(os.fspath(path), name)) from None

    def _listen(self, path: str | os.PathLike) -> Listened:
        duration_s = read_track_info(path).duration_s
        if duration_s > LONGEST_S:
            raise InputError(
                f"{path} lasts {duration_s / 60:.1f} minutes, and this page takes at most {LONGEST_S / 60:g}; cut it, or use"
                " `mert-hf inspect`, which takes any length."
            )
        pools: list[TrackAndSeconds] = []

        def keep(grid: FrameGrid, num_frames: int) -> TrackAndSeconds:
            pools.append(TrackAndSeconds(grid, num_frames))
            return pools[0]

        inspection = inspect_track(self.encoder, path, model_name=self.model, beside=keep, progress=False)
        vectors = pools[0].result()[inspection.layer]
        hits = self.catalogue.search(vectors[0], COUNT)
        return Listened(
            inspection=inspection,
            playable=make_playable(path),
            neighbours=[self._describe(hit) for hit in hits],
            vectors=to_parquet(vectors, inspection.duration_s, self.model, inspection.layer),
        )
