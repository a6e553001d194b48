"""Clips from a stream of shards (Parquet, WebDataset, a dataset of the Hub) that is read once through, never copied or indexed.

The stream is cut into lanes, one for each reading process of each training process. Lane l of L reads the shards l, l + L, ...
of an endless row of shards: every pass over the stream is a seeded order of its own. Inside a shard, blocks of tracks are
shuffled. A lane's place is three numbers, which travel with its batches; from there reading goes on.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mert_hf.audio import AudioError, read_audio, read_info, require_duration
from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.common.seeding import generator
from mert_hf.data.crops import AudioBatch, BatchRange, UnreadableCrop, begin_reader, collate
from mert_hf.data.source import ClipSource

# A share of left-out tracks means nothing before so many were read.
FEWEST_KNOWN = 100
# A teacher is fitted on at most so many passes over the stream.
FITTING_PASSES = 10


@dataclass
class Position:
    """A lane's place in the stream."""

    shard: int  # place in the endless row of shards
    track: int = 0  # tracks read of that shard
    seen: int = 0  # tracks read in all


@dataclass
class StreamedBatch(AudioBatch):
    """A batch, the lane of its process it came from, and the lane's place behind it."""

    lane: int = 0
    position: Position | None = None


@dataclass(eq=False)
class StreamClips(ClipSource):
    """One random crop of every track of a stream.

    Attributes:
        dataset: a `datasets.IterableDataset` whose `column` holds encoded audio, not decoded.
        crop_samples: length of a crop at `sampling_rate`; shorter tracks are taken whole.
        sampling_rate: samples per second of the crops.
        min_duration_s: shorter tracks are left out and listed.
        block: tracks of a shard that are shuffled among each other; so many encoded tracks are held in memory by each reader.
    """

    dataset: Any
    column: str
    title: str
    crop_samples: int
    sampling_rate: int = 24000
    min_duration_s: float = 3.0
    block: int = 64
    seed: int = 0
    _positions: dict[int, Position] = field(default_factory=dict, init=False)

    def batches(self, place: BatchRange) -> DataLoader:
        """Read batches; each process must read its lanes from the first batch or from a loaded state on."""
        readers = dict(num_workers=place.workers, worker_init_fn=begin_reader)
        return DataLoader(_Lanes(self, place, dict(self._positions)), batch_size=None, **readers)

    def clips(self) -> Iterator[torch.Tensor]:
        """The crops of a few passes."""
        for crop, position, _ in self.read_lane(Position(0), 1):
            if position.shard >= FITTING_PASSES * self.dataset.num_shards:
                return
            if not isinstance(crop, UnreadableCrop):
                yield crop

    def circumstances(self, workers: int) -> dict[str, Any]:
        """Number of shards and of readers, which decide what a lane reads."""
        return {"number of shards": self.dataset.num_shards, "number of readers (data.workers)": max(workers, 1)}

    def num_known(self) -> tuple[int, int]:
        """Tracks this process has read so far."""
        return max(sum(position.seen for position in self._positions.values()), FEWEST_KNOWN), 0

    def remember(self, batch: StreamedBatch) -> None:
        self._positions[batch.lane] = batch.position

    def state_dict(self) -> list:
        return [[lane, *vars(position).values()] for lane, position in sorted(self._positions.items())]

    def load_state_dict(self, state: list) -> None:
        places = [place for place in state if isinstance(place, list) and [type(number) for number in place] == [int] * 4]
        if len(places) != len(state):
            raise InputError(f"the places in the stream {self.title} that were saved are damaged: {str(state)[:80]}.")
        self._positions = {lane: Position(*numbers) for lane, *numbers in places}

    def read_lane(self, position: Position, lanes: int) -> Iterator[tuple[torch.Tensor | UnreadableCrop, Position, str]]:
        """Crops of a lane from a place on, each with the place behind it and the name of its track; never ends."""
        shard, track, seen = position.shard, position.track, position.seen
        rows = None
        while True:
            begin = track - track % self.block
            if rows is None:
                rows = self._open_shard(shard, begin)
            tracks = list(itertools.islice(rows, self.block))
            order = generator(self.seed, "stream order", shard, begin).permutation(len(tracks))
            for index in order[track - begin :]:
                track, seen = track + 1, seen + 1
                number = begin + int(index)
                name = self._name(tracks[index], shard, number)
                yield self._crop(tracks[index], name, shard, number), Position(shard, track, seen), name
            if len(tracks) < self.block:
                shard, track, rows = shard + lanes, 0, None

    def _open_shard(self, shard: int, begin: int) -> Iterator[dict]:
        """The rows of a shard from one on; those before it are read and passed over, so this is for the place to go on from."""
        rows = self.dataset.shard(num_shards=self.dataset.num_shards, index=self._number_of(shard)).skip(begin)
        # by batches of one: plain iteration would deal the shard out to the reading processes once more
        return ({name: value[0] for name, value in row.items()} for row in rows.iter(1))

    def _number_of(self, shard: int) -> int:
        """Number in the stream, 0 to `num_shards` - 1, of the shard at a place in the endless row."""
        passed, place = divmod(shard, self.dataset.num_shards)
        return int(generator(self.seed, "shards", passed).permutation(self.dataset.num_shards)[place])

    def _name(self, track: dict, shard: int, number: int) -> str:
        """The same in every pass: a name counts once, and leads back to the file."""
        name = track.get("__key__") or (track[self.column] or {}).get("path") or f"track {number}"
        return f"{name} (shard {self._number_of(shard)}, row {number})"

    def _crop(self, track: dict, name: str, shard: int, number: int) -> torch.Tensor | UnreadableCrop:
        audio = track[self.column] or {}
        source = audio.get("bytes") or audio.get("path") or b""
        try:
            info = read_info(source)
            require_duration(info, self.min_duration_s)
            available = info.num_samples * self.sampling_rate // info.sampling_rate
            length = min(self.crop_samples, available)
            start = int(generator(self.seed, "stream crop", shard, number).integers(0, available - length + 1))
            return torch.from_numpy(read_audio(source, self.sampling_rate, start, length))
        except AudioError as error:
            return UnreadableCrop(name, str(error))


class _Lanes(IterableDataset):
    """The batches of one process; inside a reading process, those of its lane."""

    def __init__(self, stream: StreamClips, place: BatchRange, positions: dict[int, Position]):
        self._stream, self._place, self._positions = stream, place, positions

    def __iter__(self) -> Iterator[StreamedBatch]:
        worker, place = get_worker_info(), self._place
        index, readers = (worker.id, worker.num_workers) if worker else (0, 1)
        # readers take turns from the first on; with this, batch b comes from lane b % readers, wherever a run goes on
        lane = (place.start + index) % readers
        first = Position(place.rank * readers + lane)
        crops = self._stream.read_lane(self._positions.get(lane, first), place.world_size * readers)
        for _ in range(place.start + index, place.stop, readers):
            read = list(itertools.islice(crops, place.size))
            batch = collate([crop for crop, _, _ in read], [name for _, _, name in read])
            yield StreamedBatch(**vars(batch), lane=lane, position=read[-1][1])


def open_stream(name: str, split: str, column: str, setting: str = "data.dataset", column_setting: str = "data.dataset_column"):
    """A stream of encoded audio: a dataset of the Hub, or a folder of Parquet or WebDataset (.tar) shards.

    Returns:
        A `datasets.IterableDataset` whose audio is not decoded.

    Raises:
        InputError: it cannot be opened, is empty, or its column holds no encoded audio; names the settings it was given in.
    """
    require_packages("train", "datasets")
    from datasets import Audio, load_dataset

    folder = Path(name).expanduser()
    builder, files = name, {}
    if folder.is_dir():
        kinds = {"parquet": sorted(folder.rglob("*.parquet")), "webdataset": sorted(folder.rglob("*.tar"))}
        found = [kind for kind, shards in kinds.items() if shards]
        if len(found) != 1:
            raise InputError(f"{setting}={name!r} must hold Parquet shards (.parquet) or WebDataset shards (.tar), one kind.")
        builder, files = found[0], {"data_files": {split: [str(shard) for shard in kinds[found[0]]]}}
    try:
        stream = load_dataset(builder, split=split, streaming=True, **files)
        if isinstance((stream.features or {}).get(column), Audio):
            stream = stream.cast_column(column, Audio(decode=False))
        first = next(iter(stream.iter(1)), None)
    except (OSError, ValueError, ConnectionError) as error:
        raise InputError(f"{setting}={name!r} cannot be streamed: {' '.join(str(error).split())}") from None
    if first is None:
        raise InputError(f"{setting}={name!r} is empty.")
    if column not in first:
        raise InputError(f"{setting}={name!r} has no column {column!r} ({column_setting}); it has: {', '.join(first)}.")
    if not isinstance(first[column][0], dict):
        raise InputError(f"column {column!r} of {setting}={name!r} holds no encoded audio (bytes and path).")
    return stream
