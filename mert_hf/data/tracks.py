"""One track of a corpus: what is known of it. It is checked once, and what was found is kept."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mert_hf.audio import AudioError, AudioSource, check_audio, read_info, require_duration
from mert_hf.common.errors import InputError
from mert_hf.common.files import write_atomically
from mert_hf.common.reading import read_json, to_dataclass
from mert_hf.common.threads import count_cores

logger = logging.getLogger(__name__)

# Counts the changes of what the reader takes for a file's length; what an earlier one found is not believed.
READER = 2
# Tracks that are checked between two writings of the index, which takes about a second at half a million tracks.
KEPT_EVERY = 2000
# Beginning of the reason of a track that passed the check and could not be read later.
WHILE_TRAINING = "while training: "


@dataclass(frozen=True)
class Track:
    """One piece of audio.

    Attributes:
        name: path below the corpus folder, or row of the dataset.
        sampling_rate, num_samples: as in the file; 0 where it cannot be used.
        silent: whether it holds nothing but silence (kept, but counted).
        skipped_because: why it cannot be used; None where it can.
        stamp: size and modification time of the file when it was checked.
    """

    name: str
    sampling_rate: int = 0
    num_samples: int = 0
    silent: bool = False
    skipped_because: str | None = None
    stamp: tuple[int, int] = (0, 0)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sampling_rate if self.sampling_rate else 0.0


def check_all(
    items: Sequence,
    examine: Callable[[Any], Track],
    known: dict[str, Track],
    keep: Callable[[list[Track]], None],
    threads: int | None,
) -> list[Track]:
    """Check the tracks in their order; what was found is kept every `KEPT_EVERY` tracks, so that a kill costs no more."""
    tracks, found, checked = [], dict(known), 0
    pool = ThreadPoolExecutor(threads or count_cores())
    try:
        # the bar goes when it is full: what was found is logged, and the bar of what comes next takes its place
        bar = {"desc": "Checking tracks", "unit": "track", "leave": False}
        for track in tqdm(pool.map(examine, items), total=len(items), **bar):
            tracks.append(track)
            if known.get(track.name) is not track:
                found[track.name] = track
                checked += 1
                if checked % KEPT_EVERY == 0:
                    keep(list(found.values()))
    finally:
        pool.shutdown(cancel_futures=True)  # one that is interrupted does not check the rest first
    keep(tracks)
    return tracks


def check_track(name: str, source: AudioSource, min_duration_s: float, check: str) -> Track:
    """Check one track, by decoding it or by its header alone; what is wrong with it is its `skipped_because`."""
    try:
        if check == "full":
            info, silent = check_audio(source, min_duration_s)
        else:
            info, silent = read_info(source), False
            require_duration(info, min_duration_s)
    except AudioError as error:
        return Track(name, skipped_because=str(error))
    return Track(name, info.sampling_rate, info.num_samples, silent)


@dataclass(frozen=True)
class _Index:
    min_duration_s: float
    check: str
    reader: int
    tracks: list[dict]


def read_index(index: str | os.PathLike | None, min_duration_s: float, check: str) -> dict[str, Track]:
    """What `write_index` kept of an equal check by an equal reader, by name, without the tracks that could not be used.

    {} where there is none; where it is damaged, a warning says so, and the tracks are checked anew.
    """
    if index is None or not Path(index).is_file():
        return {}
    try:
        content = read_json(index)
        if content.get("reader") != READER:
            return {}
        kept = to_dataclass(_Index, content, str(index))
        tracks = [to_dataclass(Track, track, str(index)) for track in kept.tracks]
    except InputError as error:
        logger.warning("%s The tracks are checked anew.", error)
        return {}
    if (kept.min_duration_s, kept.check) != (min_duration_s, check):
        return {}
    # a track that could not be used is asked again: the reason may be gone (a package installed, a permission given)
    return {track.name: track for track in tracks if track.skipped_because is None and track.duration_s}


def write_index(index: str | os.PathLike | None, min_duration_s: float, check: str, tracks: list[Track]) -> None:
    """Keep what a check found, if it is to be kept."""
    if index is not None:
        content = _Index(min_duration_s, check, READER, [vars(track) for track in tracks])
        write_atomically(index, json.dumps(vars(content)))
