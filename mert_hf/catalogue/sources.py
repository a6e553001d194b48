"""What is to be embedded: files, folders, patterns, playlists, and datasets, as one row of items."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mert_hf.common.errors import InputError

PLAYLISTS = (".m3u", ".m3u8")
# Signs of a pattern, as of the shell's.
PATTERN_SIGNS = frozenset("*?[")


@dataclass(frozen=True)
class Item:
    """One piece of music.

    Attributes:
        path: where it lies, from the root of the file system; of a row of a dataset, the dataset's name and the row's number.
        name: what it is called among those it was found with: its path below a folder, or the file's name.
        source: path, or the encoded bytes of a row.
        size, modified_ns: of the file, in bytes and nanoseconds; -1 of a row.
        fault: why it cannot be embedded, where that is known already.
    """

    path: str
    name: str
    source: str | bytes = b""
    size: int = -1
    modified_ns: int = -1
    fault: str | None = None


class Files:
    """Files, each once, in the order they were given and, below a folder, of their names.

    Args:
        sources: audio files, folders of them, patterns such as `music/**/*.flac`, playlists (.m3u, .m3u8).

    Raises:
        InputError: one of them is not there, or holds no audio.
    """

    def __init__(self, sources: Sequence[str | os.PathLike]):
        found: dict[str, tuple[str, str | None]] = {}
        for source in sources:
            listed = list(_list_source(os.path.expanduser(os.fspath(source))))
            for path, name, fault in listed:
                found.setdefault(path, (name, fault))
        if not found:
            raise InputError("nothing to embed was given; give files, folders, patterns, playlists, or --dataset.")
        self._found = found

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._found)

    def __iter__(self) -> Iterator[Item]:
        for path, (name, fault) in self._found.items():
            yield Item(path, name, fault=fault) if fault else _item_of_file(path, name)


class Rows:
    """Rows of a dataset whose column holds encoded audio.

    Args:
        name: of the dataset, which its rows are called after.
        split: of the dataset.
        column: of the audio.
        stream: read it once through in place of fetching it as a whole.

    Raises:
        InputError: it cannot be opened, or its column holds no encoded audio.
    """

    def __init__(self, name: str, split: str = "train", column: str = "audio", stream: bool = False):
        from mert_hf.data.corpus import load_audio_dataset, require_audio
        from mert_hf.data.streaming import open_stream

        self._title, self._column = f"{name}#{split}", column
        if stream:
            self._rows: Iterable[dict] = open_stream(name, split, column, "--dataset", "--column")
            return
        self._rows = require_audio(load_audio_dataset(name, split, "--dataset"), column)

    @property
    def total(self) -> int | None:
        """How many there are; of a stream nobody knows."""
        return len(self._rows) if hasattr(self._rows, "__len__") else None

    def __iter__(self) -> Iterator[Item]:
        for number, row in enumerate(self._rows):
            audio = row[self._column] or {}
            source = audio.get("bytes") or audio.get("path") or b""
            name = audio.get("path") or row.get("__key__")
            yield Item(f"{self._title}/{number}", str(name or f"row {number}"), source)


def _list_source(source: str) -> Iterator[tuple[str, str, str | None]]:
    """Path, name and fault of what a source holds."""
    if os.path.isdir(source):
        yield from _list_folder(source)
    elif Path(source).suffix.lower() in PLAYLISTS and os.path.isfile(source):
        yield from _list_playlist(source)
    elif os.path.exists(source):
        path = os.path.abspath(source)
        yield path, os.path.basename(path), None
    elif PATTERN_SIGNS & set(source):
        matches = [path for path in sorted(glob.glob(source, recursive=True)) if os.path.isfile(path)]
        if not matches:
            raise InputError(f"no file fits the pattern {source!r}.")
        for match in matches:
            yield from _list_source(match)
    else:
        raise InputError(f"{source!r} does not exist; give an audio file, a folder, a pattern or a playlist.")


def _list_folder(folder: str) -> Iterator[tuple[str, str, str | None]]:
    from mert_hf.data.corpus import find_audio_files

    root = Path(os.path.abspath(folder))
    names, closed = find_audio_files(root)
    if not names and not closed:
        raise InputError(
            f"{folder!r} holds no audio file (.wav, .flac, .mp3 or another ending of audio), nor do folders below it."
        )
    for name in names:
        yield os.path.join(root, name), name, None
    for track in closed:
        yield os.path.join(root, track.name), track.name, track.skipped_because


def _list_playlist(playlist: str) -> Iterator[tuple[str, str, str | None]]:
    text = Path(playlist).read_bytes()
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:  # .m3u has no encoding of its own; this one gives every byte a character
        lines = text.decode("latin-1").splitlines()
    beside = os.path.dirname(os.path.abspath(playlist))
    entries = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not entries:
        raise InputError(f"{playlist!r} is a playlist without entries.")
    for entry in entries:
        if "://" in entry:
            yield entry, entry, "an address, and only files are read; fetch it first"
            continue
        path = os.path.normpath(os.path.join(beside, entry))
        yield path, os.path.basename(path), None if os.path.exists(path) else "does not exist"


def _item_of_file(path: str, name: str) -> Item:
    try:
        path.encode("utf-8")
        stat = os.stat(path)
    except UnicodeEncodeError:  # bytes that are no text cannot stand in a table
        return Item(path, name, fault="its name is no text in UTF-8; rename it")
    except OSError as error:
        return Item(path, name, fault=f"cannot be opened: {error.strerror}")
    return Item(path, name, path, stat.st_size, stat.st_mtime_ns)
