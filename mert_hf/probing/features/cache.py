"""Features on the disk, by what they were made from: shards of whole examples, written once and mapped into memory."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_file, digest_json, open_atomically, write_atomically
from mert_hf.common.reading import read_array, read_json, read_text, to_dataclass

KEY_FILE = "key.json"
# up to here, a split is read into memory at once
MEMORY_BYTES = 2**30


@dataclass(frozen=True)
class FeatureWindow:
    """Where a stretch of rows comes from: `start_s` in its example, and how many `rows` it has."""

    start_s: float
    rows: int


@dataclass(frozen=True)
class Features:
    """Features of a split, in the order of its examples."""

    shards: Sequence[NDArray]  # (rows, layers, hidden) each, mapped from files or one in memory
    windows: Sequence[Sequence[FeatureWindow]]  # the windows of every example, in order

    @property
    def owners(self) -> NDArray[np.int64]:
        """(windows,) the example of every window."""
        return np.repeat(np.arange(len(self.windows)), [len(found) for found in self.windows])

    @property
    def rows(self) -> NDArray[np.int64]:
        """(windows,) rows of every window."""
        return np.array([window.rows for found in self.windows for window in found], dtype=np.int64)

    @property
    def rows_by_window(self) -> list[NDArray[np.int64]]:
        """Of every window, the numbers of its rows."""
        return np.split(np.arange(self.rows.sum()), np.cumsum(self.rows)[:-1])

    @property
    def hidden_size(self) -> int:
        """Numbers a row and layer."""
        return self.shards[0].shape[2]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) numbers of rows -> (n, layers, hidden) float32."""
        if self._whole is not None:
            return self._whole[rows].astype(np.float32)
        starts = np.cumsum([0, *(len(shard) for shard in self.shards)])
        taken = np.empty((len(rows), *self.shards[0].shape[1:]), dtype=np.float32)
        places = np.searchsorted(starts, rows, side="right") - 1
        for place in np.unique(places):
            chosen = places == place
            taken[chosen] = self.shards[place][rows[chosen] - starts[place]]
        return taken

    @cached_property
    def _whole(self) -> NDArray | None:
        """All shards as one, in memory, where they are small: probes ask for their rows hundreds of times."""
        small = sum(shard.nbytes for shard in self.shards) <= MEMORY_BYTES
        return self.shards[0] if len(self.shards) == 1 else np.concatenate(self.shards) if small else None

    def with_context(self, frames: int) -> "Features":
        """The same rows, each with so many before and behind it in its window (the first or last again beyond its ends)."""
        return self if not frames else FeaturesInContext(self.shards, self.windows, frames)

    def mean_by_example(self) -> "Features":
        """One row an example: the mean of its windows, each of which is one row."""
        if not (self.rows == 1).all():
            raise ValueError("features of windows have one row each.")
        stops = np.cumsum([len(found) for found in self.windows])[:-1]
        means = [self.take(rows).mean(axis=0) for rows in np.split(np.arange(len(self.owners)), stops)]
        return Features([np.stack(means)], [found[:1] for found in self.windows])


@dataclass(frozen=True)
class FeaturesInContext(Features):
    """Features of frames, each beside its neighbours; see [`Features.with_context`]."""

    frames: int  # to each side

    @property
    def hidden_size(self) -> int:
        """Numbers a row and layer."""
        return (2 * self.frames + 1) * super().hidden_size

    @cached_property
    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows,) the first and the last row of the window of every row."""
        stops = np.cumsum(self.rows)
        return np.repeat(stops - self.rows, self.rows), np.repeat(stops - 1, self.rows)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) numbers of rows -> (n, layers, hidden) float32, the earliest neighbour first."""
        first, last = (ends[rows] for ends in self._ends)
        near = [np.clip(rows + offset, first, last) for offset in range(-self.frames, self.frames + 1)]
        if self._whole is not None:
            return np.concatenate([self._whole[part] for part in near], axis=-1).astype(np.float32)
        # neighbours overlap: every row is read once
        needed, places = np.unique(np.concatenate(near), return_inverse=True)
        taken = super().take(needed)
        return np.concatenate([taken[part] for part in places.reshape(len(near), -1)], axis=-1)


@dataclass(frozen=True)
class _Shard:
    """What the description of a shard holds."""

    names: list[str]  # of its examples, in order
    windows: list[list[tuple[float, int]]]  # start in seconds and number of rows of every window of every example
    # of the file of features; empty as mert_hf wrote it before there were digests, which are then not compared
    sha256: str = ""
    checksum: str = ""  # of all that

    def sealed(self) -> "_Shard":
        """With its checksum."""
        return replace(self, checksum=digest_json([self.names, self.windows, self.sha256]))


class FeatureCache:
    """One folder a key: the key itself, and shards. A shard is there completely or not at all, so a killed run goes on.

    Digests of a shard and of its description are compared whenever it is read.

    Args:
        folder: of all caches.
        key: everything the features depend on; another key is another folder.

    Raises:
        InputError: the folder of this key holds features of something else.
    """

    def __init__(self, folder: str | Path, key: Mapping[str, Any]):
        text = _spell(key)
        self.folder = _folder_of(folder, text)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / KEY_FILE
        if not file.exists():
            write_atomically(file, text)
        elif read_text(file) != text:
            raise InputError(f"{self.folder} holds features of something else than its name says; delete it and run again.")

    @staticmethod
    def is_begun(folder: str | Path, key: Mapping[str, Any]) -> bool:
        """Whether there is a folder of this key."""
        return _folder_of(folder, _spell(key)).is_dir()

    def has(self, shard: int) -> bool:
        """Whether a shard is complete."""
        return self._description(shard).exists()

    def require_room(self, needed_bytes: float, what: str) -> None:
        """Refuse, with InputError, to begin what the disk has no room for; `what` is such as "a shard of features needs"."""
        free = shutil.disk_usage(self.folder).free
        if needed_bytes > free:
            raise InputError(f"{self.folder} has {free / 1e9:.1f} GB left, {what} {needed_bytes / 1e9:.1f}.")

    def write(self, shard: int, names: Sequence[str], windows: Sequence[Sequence[FeatureWindow]], features: NDArray) -> None:
        """Write the features (rows, layers, hidden) of some examples; the description comes last and marks completeness."""
        self.require_room(features.nbytes, "a shard of features needs")
        with open_atomically(self._array(shard)) as file:
            np.save(file, features, allow_pickle=False)
        listed = [[(window.start_s, window.rows) for window in found] for found in windows]
        described = _Shard(list(names), listed, digest_file(self._array(shard)))
        write_atomically(self._description(shard), json.dumps(asdict(described.sealed())))

    def read(self, names: Iterable[Sequence[str]]) -> Features:
        """All shards; `names` are the examples that each must hold.

        Raises:
            InputError: one is missing, damaged, or holds other examples.
        """
        arrays, windows = [], []
        for shard, expected in enumerate(names):
            if not self.has(shard):
                raise InputError(f"shard {shard} of {self.folder} is missing; run again.")
            described, array = self._read_shard(shard)
            found = [[FeatureWindow(*window) for window in listed] for listed in described.windows]
            rows = sum(window.rows for listed in found for window in listed)
            if described.names != list(expected) or array.ndim != 3 or len(array) != rows or len(found) != len(described.names):
                raise InputError(
                    f"{self._array(shard)} holds other examples than it should; delete {self.folder} and run again."
                )
            arrays.append(array)
            windows += found
        if sum(array.nbytes for array in arrays) <= MEMORY_BYTES:
            arrays = [np.concatenate(arrays)]
        return Features(arrays, windows)

    def _read_shard(self, shard: int) -> tuple[_Shard, NDArray]:
        file, description = self._array(shard), self._description(shard)
        try:
            described = to_dataclass(_Shard, read_json(description), str(description))
            if (described.sha256 or described.checksum) and described != described.sealed():
                raise InputError(f"{description} is damaged: its checksum is not that of what it holds.")
            if described.sha256 and digest_file(file) != described.sha256:
                raise InputError(f"{file} is damaged: its SHA-256 is not that of the file that was written.")
            return described, read_array(file)
        except InputError as error:
            raise InputError(f"{error} The features cannot be read; delete {self.folder} and run again.") from None

    def _array(self, shard: int) -> Path:
        return self.folder / f"shard_{shard:05d}.npy"

    def _description(self, shard: int) -> Path:
        return self.folder / f"shard_{shard:05d}.json"


def _spell(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, indent=1)


def _folder_of(folder: str | Path, spelt: str) -> Path:
    return Path(folder) / hashlib.sha256(spelt.encode()).hexdigest()[:20]
