"""The files of a label store, with checksums: a header, shards in which tracks lie one behind the other, an index of each."""

import json
import logging
import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.reading import parse_json, read_json, read_json_lines, to_dataclass
from mert_hf.data.corpus import Corpus

logger = logging.getLogger(__name__)

# Labels and audio may differ by so much in length (fairseq's hubert_dataset); other tracks are left out.
TOLERANCE_S = 0.1
# What no teacher has; a header that says more is damaged.
HIGHEST_RATE, MOST_CODEBOOKS, MOST_CODES = 1_000_000, 64, 2**24
MAKE_ANEW = (
    "give training/prepare_labels.py the same command again, it makes what is damaged anew (labels that were imported: import"
    " them again)"
)


class LabelFolder:
    """Names of the files of a label store."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        self.header = self.folder / "labels.json"
        self.shards = self.folder / "shards"
        self.teacher = self.folder / "teacher"
        self.tracks = self.folder / "tracks.json"
        self.skipped = self.folder / "skipped.jsonl"
        self.recipe = self.folder / "recipe.yaml"
        self.results = self.folder / "results.json"
        self.lock = self.folder / "labels.lock"


@dataclass(frozen=True)
class LabelHeader:
    """What a label store holds."""

    description: str  # of the teacher, for people
    settings: dict[str, Any]  # of the teacher; empty where nobody knows them, as with imported labels
    fingerprint: str | None  # of the teacher's weights; None where nobody knows it
    frame_local: bool  # whether the labels of a crop are those of the whole track away from the crop's edges
    sampling_rate: int  # samples per second of the audio the teacher heard
    frame_rate: float  # labels per second
    codebook_sizes: list[int]  # codes of each codebook; labels are raw codes, 0 to size - 1
    corpus: str  # where the tracks were
    tracks: int = 0  # how many of them have labels
    corpus_checksum: str = ""  # of their names and lengths
    complete: bool = False  # whether every track was done
    checksum: str = ""  # of all that and of the rows of a complete store; empty as mert_hf wrote it before it had one

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned integer that holds every code, little-endian."""
        return np.dtype(np.min_scalar_type(max(self.codebook_sizes) - 1)).newbyteorder("<")

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame's labels, of all codebooks."""
        return self.dtype.itemsize * len(self.codebook_sizes)

    def end_of(self, row: "LabelRow") -> int:
        """The first byte of a shard behind the labels of a track."""
        return row.offset + row.frames * self.frame_bytes

    def write(self, folder: LabelFolder) -> None:
        """Write `labels.json`; of a complete store with its checksum, so its rows must be there."""
        checksum = self.checksum_with(read_rows(folder).values()) if self.complete else ""
        write_atomically(folder.header, json.dumps(asdict(replace(self, checksum=checksum)), indent=2) + "\n")

    def checksum_with(self, rows: Iterable["LabelRow"]) -> str:
        """The checksum of a complete store with these rows."""
        return digest_json([asdict(replace(self, checksum="")), sorted(row.checksum or row.compute_checksum() for row in rows)])

    @staticmethod
    def read(folder: LabelFolder) -> "LabelHeader":
        """Read `labels.json`; [`LabelStore`] compares its checksum.

        Raises:
            InputError: there is none, or it is damaged.
        """
        if not folder.header.is_file():
            raise InputError(
                f"{folder.folder} holds no labels ({folder.header.name} is missing); make them with training/prepare_labels.py."
            )
        header = to_dataclass(LabelHeader, read_json(folder.header), str(folder.header))
        header.require_possible(str(folder.header))
        return header

    def require_possible(self, where: str) -> None:
        """Refuse numbers that no teacher has; `where` they stand is said in the message.

        Raises:
            InputError: a rate or codebook that there cannot be.
        """
        if not 0 < self.sampling_rate <= HIGHEST_RATE:
            raise InputError(f"{where}: sampling_rate={self.sampling_rate:.6g}; accepted: 1 to {HIGHEST_RATE:,} per second.")
        if not 0 < self.frame_rate <= self.sampling_rate:
            raise InputError(f"{where}: frame_rate={self.frame_rate:.6g}; accepted: above 0, up to sampling_rate.")
        if not 1 <= len(self.codebook_sizes) <= MOST_CODEBOOKS:
            raise InputError(f"{where}: {len(self.codebook_sizes)} codebooks; accepted: 1 to {MOST_CODEBOOKS}.")
        if not 1 <= min(self.codebook_sizes) <= max(self.codebook_sizes) <= MOST_CODES:
            raise InputError(f"{where}: codebooks of 1 to {MOST_CODES:,} codes are accepted; one has another number.")


@dataclass(frozen=True)
class LabelRow:
    """Where the labels of a track lie, and of what audio they are.

    Attributes:
        name: of the track in its corpus.
        frames: number of labels in each codebook.
        offset: first byte in the shard.
        crc: CRC-32 of the bytes.
        duration_s: length of the audio.
        stamp: size and modification time of the audio file.
        digest: of the audio file's content; None where it was not seen, as with imported labels.
        made_at: seconds since 1970; of two rows of one track the newer counts.
        shard: name of the shard.
        checksum: of the others without the shard; empty as mert_hf wrote it before it had one.
    """

    name: str
    frames: int
    offset: int
    crc: int
    duration_s: float
    stamp: tuple[int, int] = (0, 0)
    digest: str | None = None
    made_at: float = field(default_factory=lambda: round(time.time(), 6))  # all of its digits count
    shard: str = ""
    checksum: str = ""

    def compute_checksum(self) -> str:
        """What `checksum` must be."""
        return digest_json({name: value for name, value in asdict(self).items() if name not in ("shard", "checksum")})

    def find_mismatch(self, corpus: Corpus, index: int, frame_rate: float) -> str | None:
        """Why these labels are not of track `index` of a corpus as it is now; None where they are."""
        track = corpus.tracks[index]
        if self.digest is not None and self.stamp != track.stamp and self.digest != corpus.digest(index):
            return "the audio file was replaced since its labels were made"
        if abs(self.frames / frame_rate - track.duration_s) > TOLERANCE_S:
            return f"its labels cover {self.frames / frame_rate:.2f} s of {track.duration_s:.2f} s of audio"
        return None


class LabelShards:
    """The shards of a store, memory-mapped when they are first looked at."""

    def __init__(self, folder: LabelFolder, header: LabelHeader):
        self._folder, self._header = folder, header
        self._mapped: dict[str, np.memmap] = {}

    def require_room(self, rows: Iterable[LabelRow]) -> None:
        """See that tracks lie in their shards one behind the other.

        Raises:
            InputError: a shard is missing or cut off, or tracks share bytes.
        """
        ends: dict[str, int] = {}
        for row in sorted(rows, key=lambda row: row.offset):
            if row.offset < ends.get(row.shard, 0):
                raise InputError(f"{self._file(row)} is damaged: {row.name} begins before another track ends; {MAKE_ANEW}.")
            ends[row.shard] = self._header.end_of(row)
        for shard, needed in ends.items():
            data = self._folder.shards / f"{shard}.bin"
            if not data.is_file() or data.stat().st_size < needed:
                raise InputError(f"{data} is missing or cut off; {MAKE_ANEW}.")

    def codes(self, row: LabelRow) -> np.ndarray:
        """Labels of a track as they lie there, (codebooks, frames)."""
        return self._bytes(row).view(self._header.dtype).reshape(-1, len(self._header.codebook_sizes)).T

    def verify(self, row: LabelRow) -> None:
        """Compare the labels of a track with its checksum.

        Raises:
            InputError: they are not those that were written.
        """
        try:
            require_codes(row.name, self.codes(row), self._header.codebook_sizes)
        except InputError as error:
            raise InputError(f"{str(error).rstrip('.')}: {self._file(row)} is damaged; {MAKE_ANEW}.") from None
        if zlib.crc32(self._bytes(row)) != row.crc:
            raise InputError(f"{row.name}: its labels in {self._file(row)} are not those that were written; {MAKE_ANEW}.")

    def _file(self, row: LabelRow) -> Path:
        return self._folder.shards / f"{row.shard}.bin"

    def _bytes(self, row: LabelRow) -> np.ndarray:
        if row.frames == 0:  # an empty file cannot be mapped
            return np.empty(0, np.uint8)
        if row.shard not in self._mapped:
            self._mapped[row.shard] = np.memmap(self._file(row), np.uint8, "r")
        return self._mapped[row.shard][row.offset : self._header.end_of(row)]

    def __getstate__(self):
        # a mapping would be copied as a whole to the processes that read audio
        return {**vars(self), "_mapped": {}}


def drop_damaged(folder: LabelFolder, header: LabelHeader) -> None:
    """Take out of the indices all tracks whose labels or lines are damaged, so that they are made anew; a warning names them.

    Reads the whole store, which this run alone holds.
    """
    shards = LabelShards(folder, header)
    for index in sorted(folder.shards.glob("*.jsonl")):
        kept, reasons = [], []
        # bytes that are no text spoil their own line alone
        lines = index.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]
        for number, line in enumerate(lines, start=1):
            where = f"{index}, line {number}"
            try:
                row = _to_row(parse_json(line, where), where, index.stem)
                shards.require_room([row])
                shards.verify(row)
                kept.append(row)
            except InputError as error:
                reasons.append(str(error))
        if reasons:
            logger.warning("%d tracks are labelled anew, since their labels are damaged: %s", len(reasons), reasons[0])
            write_atomically(index, "".join(map(to_line, kept)))


def require_codes(name: str, codes: np.ndarray, codebook_sizes: list[int]) -> None:
    """Refuse labels that are no codes.

    Args:
        codes: (codebooks, frames) integers.

    Raises:
        InputError: another number of codebooks, or a label outside its codebook.
    """
    if codes.ndim != 2 or len(codes) != len(codebook_sizes):
        raise InputError(f"{name}: labels of shape {codes.shape}; expected ({len(codebook_sizes)} codebooks, frames).")
    for book, (row, size) in enumerate(zip(codes, codebook_sizes, strict=True)):
        if row.size and not 0 <= row.min() <= row.max() < size:
            wrong = row.max() if row.max() >= size else row.min()
            raise InputError(f"{name}: label {wrong} lies outside codebook {book}, which has the codes 0 to {size - 1}.")


def read_rows(folder: LabelFolder) -> dict[str, LabelRow]:
    """The finished tracks of all shards by name.

    Raises:
        InputError: a line of an index is damaged.
    """
    rows: dict[str, LabelRow] = {}
    for index in sorted(folder.shards.glob("*.jsonl")):
        for row in read_index(index):
            if row.name not in rows or rows[row.name].made_at <= row.made_at:
                rows[row.name] = row
    return rows


def read_index(index: Path) -> list[LabelRow]:
    """The finished tracks of a shard; [] where it has none.

    Raises:
        InputError: a line is damaged.
    """
    if not index.is_file():
        return []
    entries = enumerate(read_json_lines(index), start=1)
    return [_to_row(entry, f"{index}, line {number}", index.stem) for number, entry in entries]


def _to_row(entry: dict[str, Any], where: str, shard: str) -> LabelRow:
    row = to_dataclass(LabelRow, {**entry, "shard": shard}, where)
    if row.checksum not in ("", row.compute_checksum()) or min(row.frames, row.offset) < 0:
        raise InputError(f"{where} is damaged: it is not as it was written; {MAKE_ANEW}.")
    return row


def to_line(row: LabelRow) -> str:
    """A track's line in the index of its shard."""
    sealed = replace(row, checksum=row.compute_checksum())
    return json.dumps({name: value for name, value in asdict(sealed).items() if name != "shard"}) + "\n"
