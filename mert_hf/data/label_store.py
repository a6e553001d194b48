"""Codes of a whole corpus, made once: a header, and shards in which finished tracks lie one behind the other."""

import json
import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mert_hf.data.corpus import Corpus
from mert_hf.errors import InputError
from mert_hf.files import write_atomically

# Labels and audio may differ by so much in length (fairseq's hubert_dataset); other tracks are left out.
TOLERANCE_S = 0.1


class LabelFolder:
    """Names of the files of a label store.

    Args:
        folder: where they lie.
    """

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
    """What a label store holds.

    Attributes:
        description: of the teacher, for people.
        settings: of the teacher; empty where nobody knows them, as with imported labels.
        fingerprint: of the teacher's weights; None where nobody knows it.
        frame_local: whether the labels of a crop are those of the whole track away from the crop's edges.
        sampling_rate: samples per second of the audio the teacher heard.
        frame_rate: labels per second.
        codebook_sizes: codes of each codebook; labels are raw codes, 0 to size - 1.
        corpus: where the tracks were.
        tracks: how many of them have labels.
        corpus_checksum: of their names and lengths.
        complete: whether every track was done.
    """

    description: str
    settings: dict[str, Any]
    fingerprint: str | None
    frame_local: bool
    sampling_rate: int
    frame_rate: float
    codebook_sizes: list[int]
    corpus: str
    tracks: int = 0
    corpus_checksum: str = ""
    complete: bool = False

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned integer that holds every code, little-endian."""
        return np.dtype(np.min_scalar_type(max(self.codebook_sizes) - 1)).newbyteorder("<")

    def write(self, folder: LabelFolder) -> None:
        """Write `labels.json`."""
        write_atomically(folder.header, json.dumps(asdict(self), indent=2) + "\n")

    @staticmethod
    def read(folder: LabelFolder) -> "LabelHeader":
        """Read `labels.json`.

        Raises:
            InputError: there is none, or it is damaged.
        """
        if not folder.header.is_file():
            raise InputError(
                f"{folder.folder} holds no labels ({folder.header.name} is missing); make them with training/prepare_labels.py."
            )
        try:
            return LabelHeader(**json.loads(folder.header.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError):
            raise InputError(f"{folder.header} is damaged or was written by another version; make the labels anew.") from None


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
    """

    name: str
    frames: int
    offset: int
    crc: int
    duration_s: float
    stamp: tuple[int, int] = (0, 0)
    digest: str | None = None
    made_at: float = field(default_factory=time.time)
    shard: str = ""

    def find_mismatch(self, corpus: Corpus, index: int, frame_rate: float) -> str | None:
        """Why these labels are not of track `index` of a corpus as it is now; None where they are."""
        track = corpus.tracks[index]
        if self.digest is not None and self.stamp != track.stamp and self.digest != corpus.digest(index):
            return "the audio file was replaced since its labels were made"
        if abs(self.frames / frame_rate - track.duration_s) > TOLERANCE_S:
            return f"its labels cover {self.frames / frame_rate:.2f} s of {track.duration_s:.2f} s of audio"
        return None


class LabelWriter:
    """Appends tracks to one shard. Killed at any moment, it leaves all tracks it had finished.

    Args:
        folder: of the store.
        header: of the store.
        shard: number of the shard, one a process; what lies in it already is kept.
    """

    def __init__(self, folder: LabelFolder, header: LabelHeader, shard: int = 0):
        self.header = header
        folder.shards.mkdir(parents=True, exist_ok=True)
        data, index = folder.shards / f"{shard:05d}.bin", folder.shards / f"{shard:05d}.jsonl"
        rows = _read_index(index)
        # what was being written when the process was killed is written anew
        write_atomically(index, "".join(_to_line(row) for row in rows))
        self._data, self._index = data.open("ab"), index.open("a", encoding="utf-8")
        end = max((_end(row, header) for row in rows), default=0)
        if self._data.tell() < end:
            raise InputError(f"{data} is shorter than its index says; remove {folder.folder} and make the labels anew.")
        self._data.truncate(end)

    def __enter__(self) -> "LabelWriter":
        return self

    def __exit__(self, *_) -> None:
        self._data.close()
        self._index.close()

    def write(self, name: str, codes: np.ndarray, duration_s: float, stamp=(0, 0), digest: str | None = None) -> None:
        """Append the labels of a track, (codebooks, frames), and force them to the disk.

        Raises:
            InputError: another number of codebooks, or a label outside its codebook.
        """
        require_codes(name, codes, self.header.codebook_sizes)
        content = np.ascontiguousarray(codes.T.astype(self.header.dtype)).tobytes()
        offset = self._data.seek(0, os.SEEK_END)
        _write_flushed(self._data, content)
        row = LabelRow(name, codes.shape[1], offset, zlib.crc32(content), duration_s, stamp, digest)
        _write_flushed(self._index, _to_line(row))


class LabelStore:
    """The labels of a corpus, memory-mapped: of a crop only what belongs to it is read.

    A store stands where a teacher of codes stands: it has `sampling_rate`, `frame_rate`, `codebook_sizes` and `description`.

    Args:
        folder: what training/prepare_labels.py or `mert-hf import-labels` wrote.

    Raises:
        InputError: no labels, labels that are not complete, or damaged ones.
    """

    def __init__(self, folder: str | os.PathLike):
        self._names = LabelFolder(folder)
        self.folder = self._names.folder
        self.header = LabelHeader.read(self._names)
        if not self.header.complete:
            raise InputError(
                f"the labels in {self.folder} are not complete; give training/prepare_labels.py the same command again, it goes"
                " on where it stopped."
            )
        self.rows = read_rows(self._names)
        ends: dict[str, int] = {}
        for row in self.rows.values():
            ends[row.shard] = max(ends.get(row.shard, 0), _end(row, self.header))
        for shard, needed in ends.items():
            data = self._names.shards / f"{shard}.bin"
            if not data.is_file() or data.stat().st_size < needed:
                raise InputError(f"{data} is missing or cut off; remove {self.folder} and make the labels anew.")
        self._shards: dict[str, np.memmap] = {}

    @property
    def sampling_rate(self) -> int:
        """Samples per second of the audio the teacher heard."""
        return self.header.sampling_rate

    @property
    def frame_rate(self) -> float:
        """Labels per second."""
        return self.header.frame_rate

    @property
    def codebook_sizes(self) -> list[int]:
        """Codes of each codebook."""
        return self.header.codebook_sizes

    @property
    def description(self) -> str:
        """The teacher that made them."""
        return self.header.description

    def fingerprint(self) -> str:
        """Changes with any label."""
        crcs = sorted((row.name, row.frames, row.crc) for row in self.rows.values())
        return f"{zlib.crc32(json.dumps([crcs, self.codebook_sizes]).encode()):08x}"

    def read(self, name: str, start: int = 0, count: int | None = None) -> torch.Tensor:
        """Labels of a track from frame `start` on: (codebooks, frames) int64, fewer than `count` where the track ends.

        Raises:
            InputError: a label lies outside its codebook: the store is damaged.
        """
        row = self.rows[name]
        if row.shard not in self._shards:
            self._shards[row.shard] = np.memmap(self._names.shards / f"{row.shard}.bin", np.uint8, "r")
        stop = row.frames if count is None else min(start + count, row.frames)
        bytes_per_frame = self.header.dtype.itemsize * len(self.codebook_sizes)
        piece = self._shards[row.shard][row.offset + start * bytes_per_frame : row.offset + stop * bytes_per_frame]
        codes = piece.view(self.header.dtype).reshape(-1, len(self.codebook_sizes)).T.astype(np.int64)
        require_codes(name, codes, self.codebook_sizes)
        return torch.from_numpy(codes)

    def made_for(self, corpus: Corpus) -> str:
        """The corpus the labels were made for, in words, and whether `corpus` has the same list of tracks."""
        same = self.header.corpus_checksum == corpus.fingerprint()
        listed = "the same names and lengths" if same else "another list of names and lengths"
        return f"{self.header.tracks} tracks in {self.header.corpus} ({listed})"

    def match(self, corpus: Corpus) -> Corpus:
        """The tracks of a corpus that have labels; the others are skipped with their reason.

        Raises:
            InputError: none has: labels of another corpus.
        """
        reasons = {}
        for index, track in enumerate(corpus.tracks):
            row = self.rows.get(track.name)
            reason = f"it has no labels in {self.folder}" if row is None else None
            reason = reason or row.find_mismatch(corpus, index, self.frame_rate)
            if reason is not None:
                reasons[track.name] = reason
        if len(reasons) == len(corpus.tracks):
            raise InputError(
                f"the labels in {self.folder} are of another corpus: they were made for"
                f" {self.made_for(corpus)}, and fit none of the {len(corpus.tracks)} in {corpus.title}"
                f" ({next(iter(reasons), 'no track')}: {next(iter(reasons.values()), 'there is none')})."
            )
        return corpus.without(reasons)

    def __getstate__(self):
        # a mapping would be copied as a whole to the processes that read audio
        return {**vars(self), "_shards": {}}


def require_codes(name: str, codes: np.ndarray, codebook_sizes: list[int]) -> None:
    """Refuse labels that are no codes.

    Args:
        name: of the track.
        codes: (codebooks, frames) integers.
        codebook_sizes: codes of each codebook.

    Raises:
        InputError: another number of codebooks, or a label outside its codebook.
    """
    if codes.ndim != 2 or len(codes) != len(codebook_sizes):
        raise InputError(f"{name}: labels of shape {codes.shape}; expected ({len(codebook_sizes)} codebooks, frames).")
    for book, (row, size) in enumerate(zip(codes, codebook_sizes, strict=True)):
        if row.size and not 0 <= row.min() <= row.max() < size:
            wrong = row.max() if row.max() >= size else row.min()
            raise InputError(f"{name}: label {wrong} lies outside codebook {book}, which has the codes 0 to {size - 1}.")


def label_span(start: int, num_samples: int, sampling_rate: int, frame_rate: float) -> tuple[int, int]:
    """First label and number of labels of a crop, both rounded to the nearest as in the official code (fairseq)."""
    return round(start * frame_rate / sampling_rate), round(num_samples * frame_rate / sampling_rate)


def read_rows(folder: LabelFolder) -> dict[str, LabelRow]:
    """The finished tracks of all shards by name."""
    rows: dict[str, LabelRow] = {}
    for index in sorted(folder.shards.glob("*.jsonl")):
        for row in _read_index(index):
            if row.name not in rows or rows[row.name].made_at <= row.made_at:
                rows[row.name] = row
    return rows


def _read_index(index: Path) -> Iterable[LabelRow]:
    if not index.is_file():
        return []
    lines = index.read_text(encoding="utf-8").split("\n")[:-1]  # a last line without its end was being written
    rows = [json.loads(line) for line in lines]
    return [LabelRow(**{**row, "stamp": tuple(row["stamp"]), "shard": index.stem}) for row in rows]


def _to_line(row: LabelRow) -> str:
    return json.dumps({name: value for name, value in asdict(row).items() if name != "shard"}) + "\n"


def _end(row: LabelRow, header: LabelHeader) -> int:
    return row.offset + row.frames * len(header.codebook_sizes) * header.dtype.itemsize


def _write_flushed(file, content) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
