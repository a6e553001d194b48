"""Writing files so that they are there completely or not at all, and JSON that every reader takes."""

import hashlib
import json
import math
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mert_hf.common.reading import read_json


def to_json(content: Any, indent: int | None = None) -> str:
    """JSON, which has no NaN and no infinity: null, as of the accuracy of a codebook without a label."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(item) for name, item in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_atomically(path: str | os.PathLike, content: str | bytes) -> None:
    """Write beside the place of the file, force it to the disk, and move it there."""
    with open_atomically(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_atomically(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to be written as [`write_atomically`] does, where its content is too large to be held a second time."""
    partial = PartialFile(path)
    try:
        yield partial.file
        partial.flush()
        partial.move()
    finally:
        partial.discard()


class PartialFile:
    """A file that is written beside its place and moved there when it is complete.

    Its name is its own: nobody else who writes the same file meets it, in another thread, process or machine,
    nor is what a killed run left taken up.
    """

    def __init__(self, path: str | os.PathLike):
        self._place = Path(path)
        # processes of different machines may have equal numbers, threads and runs one after another too
        name = f"{self._place.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.partial"
        self.path = self._place.with_name(name)
        self.file: BinaryIO = self.path.open("xb")

    def flush(self) -> None:
        """Force what was written to the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def move(self) -> None:
        """Put it in its place, and whatever lies there out of it."""
        self.file.close()
        self.path.replace(self._place)
        _flush(self._place.parent)

    def discard(self) -> None:
        """Remove it, unless it was moved."""
        self.file.close()
        self.path.unlink(missing_ok=True)


def move_flushed(folder: str | os.PathLike, place: str | os.PathLike) -> None:
    """Force a finished folder and all it holds to the disk, then move it to its place, where nothing may lie.

    After a crash, of the machine too, the folder is at its place with all it holds, or is not there.
    """
    folder, place = Path(folder), Path(place)
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush(Path(parent) / name)
        _flush(Path(parent))
    folder.rename(place)
    _flush(place.parent)


def remove_folder(place: str | os.PathLike) -> None:
    """Remove a folder, if there is one, which is there with all it holds until it is not there at all.

    Whoever is killed on the way leaves no half of a folder under its name, only one whose name ends in `.partial`.
    """
    place = Path(place)
    removed = place.with_name(f"{place.name}.removed.partial")
    shutil.rmtree(removed, ignore_errors=True)
    if place.exists():
        place.rename(removed)
        shutil.rmtree(removed)


@contextmanager
def fill_folder(place: str | os.PathLike) -> Iterator[Path]:
    """A folder to be filled beside its place, and then moved there, instead of what lies there: wholly or not at all."""
    place = Path(place)
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        remove_folder(place)
        move_flushed(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def claim_folder(note: str | os.PathLike, facts: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Note in a folder what it is filled from, or compare that with what was noted there before.

    Args:
        note: the file of it; its folder is made where it does not exist.
        facts: by name, as JSON holds them.

    Returns:
        What is different, by name, as it is there and as it is here (None: not at all); empty where the folder is free to use.

    Raises:
        InputError: the note is damaged.
    """
    note = Path(note)
    note.parent.mkdir(parents=True, exist_ok=True)
    if not note.exists():
        write_atomically(note, to_json(facts, indent=2) + "\n")
        return {}
    noted = read_json(note)
    both = ((name, noted.get(name), facts.get(name)) for name in dict.fromkeys((*facts, *noted)))
    return {name: (there, here) for name, there, here in both if there != here}


def digest_json(content: Any) -> str:
    """SHA-256, in hexadecimal, of what JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_there(path: str | os.PathLike) -> bool:
    """Whether a file or folder lies there; nothing does at a name that none can have (too long, with a NUL)."""
    return os.path.exists(path)  # noqa: PTH110 (Path would raise at a name that is too long)


def digest_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(content: bytes) -> str:
    """SHA-256 of a file's content that lies in memory, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_folder(folder: str | os.PathLike) -> dict[str, str]:
    """Digest of every file below a folder, by its path there, with forward slashes."""
    folder = Path(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): digest_file(file) for file in files}


def _flush(path: Path) -> None:
    """Force a file or a folder to the disk. Windows opens no folders, and flushes only what may be written."""
    windows = os.name == "nt"
    if windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
