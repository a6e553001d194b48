"""Writing files so that they are there completely or not at all, and JSON that every reader takes."""

import hashlib
import json
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


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
    path = Path(path)
    # processes of different machines may have equal numbers
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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


def is_there(path: str | os.PathLike) -> bool:
    """Whether a file or folder lies there; nothing does at a name that none can have (too long, with a NUL)."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def digest_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: str | os.PathLike) -> dict[str, str]:
    """Digest of every file below a folder, by its path there, with forward slashes."""
    folder = Path(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): digest_file(file) for file in files}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
