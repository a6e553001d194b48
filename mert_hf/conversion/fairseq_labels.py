"""Manifests and labels of the official fairseq training to a label store.

A manifest names the root folder and then `path<TAB>samples` a line. Labels are text, a line a track of codes in a row, or a
matrix (tracks, frames) in a `.npy` file, filled up with -1. A label store holds raw codes.

The official loader turns text into classes through a dictionary: class = 4 + the symbol's line, counted from 0, behind the 4
special symbols of fairseq. The dictionary maps symbols to raw codes here too, so a model that was trained officially on text
labels and converted takes these codes with `code_offset` 4; one that was trained on matrices, which go through no dictionary,
with 0.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.common.reading import checker, read_array, read_lines, shown
from mert_hf.data.corpus import Corpus
from mert_hf.data.label_files import TOLERANCE_S, LabelFolder, LabelHeader
from mert_hf.data.label_store import LabelWriter
from mert_hf.data.tracks import Track


def import_labels(
    manifest: str | os.PathLike,
    label_files: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    codebook_size: int = 1024,
    dictionary: str | os.PathLike | None = None,
    sampling_rate: int = 24000,
    frame_rate: float = 75.0,
    description: str = "imported labels",
) -> Corpus:
    """Write a label store of official labels; the paths of the manifest become the names of the tracks.

    Args:
        manifest: `{split}.tsv`.
        label_files: one a codebook, `{split}.{label}` or `.npy`.
        output_dir: folder of the store, where none is yet.
        dictionary: `dict.{label}.txt`; without one the labels must be the codes themselves.
        sampling_rate: of the samples the manifest counts.
        frame_rate: labels per second.

    Returns:
        The tracks, those that are left out with their reasons; they are listed in `skipped.jsonl` too.

    Raises:
        InputError: files that do not fit together, or labels that are no codes.
    """
    folder = LabelFolder(output_dir)
    if folder.header.exists():
        raise InputError(f"{folder.folder} holds labels already; choose another folder.")
    for name, value, kind in (
        ("codebook_size", codebook_size, int),
        ("sampling_rate", sampling_rate, int),
        ("frame_rate", frame_rate, float),
    ):
        if not checker(kind)(value)[0]:
            raise InputError(f"{name} must be a {'whole ' if kind is int else ''}number; got {shown(value)}.")
    header = LabelHeader(
        description=description,
        settings={},
        fingerprint=None,
        frame_local=False,
        sampling_rate=sampling_rate,
        frame_rate=frame_rate,
        codebook_sizes=[codebook_size] * len(label_files),
        corpus="",
    )
    header.require_possible("the labels to import")
    root, tracks = _read_manifest(Path(manifest), sampling_rate)
    header = replace(header, corpus=root)
    codes = None if dictionary is None else _read_dictionary(Path(dictionary), codebook_size)
    books = [_read_labels(Path(file), len(tracks), codes) for file in label_files]
    shutil.rmtree(folder.shards, ignore_errors=True)  # of an import that failed
    reasons = {}
    with LabelWriter(folder, header) as writer:
        for number, track in enumerate(tracks):
            rows = [book[number] for book in books]
            lengths = {len(row) for row in rows}
            labelled_s = min(lengths) / frame_rate
            if len(lengths) > 1:
                reasons[track.name] = f"its codebooks have {', '.join(map(str, sorted(lengths)))} labels"
            elif abs(labelled_s - track.duration_s) > TOLERANCE_S:
                reasons[track.name] = f"its labels cover {labelled_s:.2f} s of {track.duration_s:.2f} s of audio"
            else:
                writer.write(track.name, np.stack(rows), track.duration_s)
    corpus = Corpus(root, tracks, [Path(root) / track.name for track in tracks]).without(reasons)
    corpus.write_skipped(folder.skipped)
    replace(header, tracks=len(corpus.tracks), corpus_checksum=corpus.fingerprint(), complete=True).write(folder)
    return corpus


def _read_manifest(manifest: Path, sampling_rate: int) -> tuple[str, list[Track]]:
    root, *lines = read_lines(manifest) or [""]
    tracks, found = [], {}
    for number, line in enumerate(lines, start=2):
        name, tab, samples = line.rpartition("\t")
        # fairseq's numbers are int64: more digits than these are none
        if not tab or not samples.isdecimal() or len(samples) > 18:
            raise InputError(f"{manifest}, line {number}: expected path<TAB>samples, found {line[:80]!r}.")
        if found.setdefault(name, number) != number:
            raise InputError(f"{manifest}, line {number}: {name[:200]} stands in line {found[name]} too; name a track once.")
        tracks.append(Track(name, sampling_rate, int(samples)))
    if not tracks:
        raise InputError(f"{manifest} names no tracks.")
    return root, tracks


def _read_dictionary(file: Path, codebook_size: int) -> dict[str, int]:
    symbols = [line.split()[0] for line in read_lines(file) if line.strip()]
    twice = next((symbol for symbol, count in Counter(symbols).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{file} has the symbol {twice[:80]!r} twice; which code it stands for cannot be told.")
    if len(symbols) != codebook_size:
        raise InputError(f"{file} has {len(symbols)} symbols, the codebooks have {codebook_size} codes; make them equal.")
    return {symbol: code for code, symbol in enumerate(symbols)}


def _read_labels(file: Path, count: int, codes: dict[str, int] | None) -> list[np.ndarray]:
    """The labels of each track, (frames,) int64."""
    if file.suffix == ".npy":
        matrix = read_array(file)
        if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.integer):
            raise InputError(f"{file} holds {matrix.dtype} of shape {matrix.shape}; expected integers (tracks, frames).")
        rows = [np.asarray(row[row != -1], dtype=np.int64) for row in matrix]
    else:
        rows = [_parse(line, f"{file}, line {number}", codes) for number, line in enumerate(read_lines(file), start=1)]
    if len(rows) != count:
        raise InputError(f"{file} holds the labels of {len(rows)} tracks, the manifest names {count}.")
    return rows


def _parse(line: str, place: str, codes: dict[str, int] | None) -> np.ndarray:
    try:
        labels = [int(symbol) if codes is None else codes[symbol] for symbol in line.split()]
        return np.asarray(labels, dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{place}: labels must be integers; for other symbols give the dictionary.") from None
    except KeyError as missing:
        raise InputError(
            f"{place}: {missing.args[0]!r} is not in the dictionary (the official code would make it unk)."
        ) from None
