"""Names of files and tracks that stand in tables, and the files they mean."""

import os
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from mert_hf.common.errors import InputError


def one_spelling(text: str) -> str:
    """A text in one spelling (NFC): "é" may be one character, or "e" and an accent, as macOS and its programs write it."""
    return unicodedata.normalize("NFC", text)


class Names:
    """Names of files or tracks, as they are written where they lie; one is found in whatever spelling it is asked for."""

    def __init__(self, names: Iterable[str]):
        self._names = set(names)

    def find(self, name: str) -> str | None:
        """The name of the list that is meant: the same one where it is there, else the one with the same letters; or None.

        Raises:
            InputError: two names of the list have these letters, and neither is spelled as this one.
        """
        if name in self._names:
            return name
        meant = self._spellings.get(one_spelling(name), [])
        if len(meant) > 1:
            raise InputError(
                f"{name!r} may mean any of {len(meant)} files whose names are the same but for the characters an accent is made"
                f" of ({', '.join(map(ascii, meant))}); rename all but one, or write the name as it is on the disk."
            )
        return meant[0] if meant else None

    @cached_property
    def _spellings(self) -> dict[str, list[str]]:
        spellings: dict[str, list[str]] = {}
        for name in sorted(self._names):
            spellings.setdefault(one_spelling(name), []).append(name)
        return spellings


class FilesBelow:
    """The files below a folder by the names that a table gives them; it is listed only where one is not there as written."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def path(self, name: str) -> Path:
        """Where the file lies; where there is none, its place by its name.

        Raises:
            InputError: as in [`Names.find`].
        """
        place = self.folder / name
        if name.isascii() or place.exists():
            return place
        return self.folder / (self._names.find(name) or name)

    @cached_property
    def _names(self) -> Names:
        return Names(
            (Path(parent) / name).relative_to(self.folder).as_posix()
            for parent, _, names in os.walk(self.folder)
            for name in names
        )
