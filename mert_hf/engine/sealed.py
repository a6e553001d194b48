"""Folders that say of themselves whether they are as they were written: checkpoints, above all."""

import os
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_file, digest_folder, to_json
from mert_hf.common.reading import read_json

SEAL = "digests.json"


def seal(folder: str | os.PathLike) -> None:
    """Write the SHA-256 of every file of a finished folder into a file of it, `digests.json`.

    What is put into the folder later is not of it, and nobody asks for it.
    """
    folder = Path(folder)
    (folder / SEAL).unlink(missing_ok=True)
    (folder / SEAL).write_text(to_json({"sha256": digest_folder(folder)}, indent=2) + "\n", encoding="utf-8")


def is_sealed(folder: str | os.PathLike) -> bool:
    """Whether [`seal`] was called for a folder, as it was not before there were seals."""
    return (Path(folder) / SEAL).is_file()


def find_damage(folder: str | os.PathLike) -> str | None:
    """What is wrong with a sealed folder: a line that begins with the name of the file; None where all is as it was written."""
    folder = Path(folder)
    if not is_sealed(folder):
        return f"{SEAL} is missing"
    try:
        digests = read_json(folder / SEAL).get("sha256")
    except InputError as error:
        return f"{SEAL}: {error}"
    if not isinstance(digests, dict) or not digests:
        return f"{SEAL} is damaged: it holds no digests"
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    missing = sorted(digests.keys() - there)
    if missing:
        return f"{missing[0]!r} is missing"
    for name, digest in digests.items():
        try:
            found = digest_file(folder / name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
        if found != digest:
            return f"{name} is damaged: its SHA-256 is not that of the file that was written"
    return None
