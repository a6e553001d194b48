"""Codes of a whole corpus, made once: written track by track, read crop by crop."""

import json
import os
import zlib

import numpy as np
import torch

from mert_hf.common.errors import InputError
from mert_hf.common.files import write_atomically
from mert_hf.data.corpus import Corpus
from mert_hf.data.label_files import (
    MAKE_ANEW,
    LabelFolder,
    LabelHeader,
    LabelRow,
    LabelShards,
    read_index,
    read_rows,
    require_codes,
    to_line,
)


class LabelWriter:
    """Appends tracks to one shard. Killed at any moment, it leaves all tracks it had finished.

    Args:
        shard: number of the shard, one a process; what lies in it already is kept.
    """

    def __init__(self, folder: LabelFolder, header: LabelHeader, shard: int = 0):
        self.header = header
        folder.shards.mkdir(parents=True, exist_ok=True)
        data, index = folder.shards / f"{shard:05d}.bin", folder.shards / f"{shard:05d}.jsonl"
        rows = read_index(index)
        # what was being written when the process was killed is written anew
        write_atomically(index, "".join(to_line(row) for row in rows))
        self._data, self._index = data.open("ab"), index.open("a", encoding="utf-8")
        end = max((header.end_of(row) for row in rows), default=0)
        if self._data.tell() < end:
            raise InputError(f"{data} is shorter than its index says; {MAKE_ANEW}.")
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
        _write_flushed(self._index, to_line(row))


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
        self.sampling_rate, self.frame_rate = self.header.sampling_rate, self.header.frame_rate
        self.codebook_sizes, self.description = self.header.codebook_sizes, self.header.description
        if not self.header.complete:
            raise InputError(
                f"the labels in {self.folder} are not complete; give training/prepare_labels.py the same command again, it goes"
                " on where it stopped."
            )
        self.rows = read_rows(self._names)
        sealed = self.header.checksum or any(row.checksum for row in self.rows.values())
        if sealed and self.header.checksum != self.header.checksum_with(self.rows.values()):
            raise InputError(f"{self._names.header}, or a line in {self._names.shards}, is not as it was written; {MAKE_ANEW}.")
        self._shards = LabelShards(self._names, self.header)
        self._shards.require_room(self.rows.values())
        self._verified: set[str] = set()

    def fingerprint(self) -> str:
        """Changes with any label."""
        crcs = sorted((row.name, row.frames, row.crc) for row in self.rows.values())
        return f"{zlib.crc32(json.dumps([crcs, self.codebook_sizes]).encode()):08x}"

    def read(self, name: str, start: int = 0, count: int | None = None) -> torch.Tensor:
        """Labels of a track from frame `start` on: (codebooks, frames) int64, fewer than `count` where the track ends.

        The first reading of a track in a process compares the checksum of all its labels.

        Raises:
            InputError: they are not those that were written: the store is damaged.
        """
        row = self.rows[name]
        if name not in self._verified:
            self._shards.verify(row)
            self._verified.add(name)
        stop = row.frames if count is None else min(start + count, row.frames)
        return torch.from_numpy(self._shards.codes(row)[:, start:stop].astype(np.int64))

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
        return {**vars(self), "_verified": set()}


def label_span(start: int, num_samples: int, sampling_rate: int, frame_rate: float) -> tuple[int, int]:
    """First label and number of labels of a crop, both rounded to the nearest as in the official code (fairseq)."""
    return round(start * frame_rate / sampling_rate), round(num_samples * frame_rate / sampling_rate)


def _write_flushed(file, content) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
