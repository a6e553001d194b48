"""A corpus, opened from a folder or a dataset: the tracks that can be used, and a list of those that cannot."""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mert_hf.audio import AUDIO_EXTENSIONS, AudioSource, read_audio
from mert_hf.common.errors import FULL_DISK, InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.packages import require_packages
from mert_hf.common.reading import read_json_lines
from mert_hf.common.seeding import generator
from mert_hf.data.tracks import WHILE_TRAINING, Track, check_all, check_track, read_index, write_index

# Bytes at the beginning, in the middle and at the end of a file that tell it from others.
DIGEST_BYTES = 16384


class Corpus:
    """Tracks of a folder or of a dataset.

    Args:
        title: where the tracks are, for messages.
        tracks: all that were found and checked.
        sources: path or bytes of each.

    Attributes:
        tracks, skipped: those that can be used, and those that cannot.
    """

    def __init__(self, title: str, tracks: Sequence[Track], sources: Sequence[AudioSource]):
        from torch.utils.data import Subset

        self.title = title
        usable = [index for index, track in enumerate(tracks) if track.skipped_because is None]
        self.tracks = [tracks[index] for index in usable]
        self.skipped = [track for track in tracks if track.skipped_because is not None]
        self._sources = Subset(sources, usable)

    @property
    def duration_s(self) -> float:
        """Length of all usable tracks in seconds."""
        return sum(track.duration_s for track in self.tracks)

    @property
    def num_silent(self) -> int:
        """Number of usable tracks that hold nothing but silence."""
        return sum(track.silent for track in self.tracks)

    def fingerprint(self) -> str:
        """Changes with the names, lengths and order of the usable tracks, on which every crop of a run depends."""
        return digest_json([(track.name, track.sampling_rate, track.num_samples) for track in self.tracks])

    def split(self, share: float, seed: int) -> tuple["Corpus", "Corpus"]:
        """Two corpora: the larger part, which also keeps the list of what was skipped, and `share` of the usable tracks.

        Raises:
            InputError: fewer than two tracks, which cannot be split.
        """
        count = len(self.tracks)
        if count < 2:
            raise InputError(
                f"{self.title} holds {count} usable track; to hold out some, 2 or more are needed (validation.share 0 holds out"
                " none)."
            )
        held_out = min(max(round(share * count), 1), count - 1)
        chosen = set(generator(seed, "validation").permutation(count)[:held_out].tolist())
        kept = [index for index in range(count) if index not in chosen]
        return self._part(kept, self.skipped), self._part(sorted(chosen), [])

    def digest(self, index: int) -> str:
        """Tells a track's file from any other, wherever it lies: its size and its beginning, middle and end; quick to read."""
        source = self._sources[index]
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
            for place in (0, size // 2, max(size - DIGEST_BYTES, 0)):
                file.seek(place)
                digest.update(file.read(DIGEST_BYTES))
        return digest.hexdigest()[:32]

    def without(self, reasons: Mapping[str, str]) -> "Corpus":
        """The corpus with some tracks skipped: their reasons by name."""
        kept = [index for index, track in enumerate(self.tracks) if track.name not in reasons]
        skipped = [replace(track, skipped_because=reasons[track.name]) for track in self.tracks if track.name in reasons]
        return self._part(kept, self.skipped + skipped)

    def _part(self, kept: Sequence[int], skipped: list[Track]) -> "Corpus":
        from torch.utils.data import Subset

        part = Corpus(self.title, [self.tracks[index] for index in kept], Subset(self._sources, kept))
        part.skipped = skipped
        return part

    def length(self, index: int, sampling_rate: int) -> int:
        """Samples of a track at `sampling_rate`."""
        track = self.tracks[index]
        return track.num_samples * sampling_rate // track.sampling_rate

    def source(self, index: int) -> AudioSource:
        """Path or bytes of a track."""
        return self._sources[index]

    def read(self, index: int, sampling_rate: int, start: int = 0, num_samples: int | None = None) -> np.ndarray:
        """Samples of a track, or a crop of them; see [`mert_hf.audio.read_audio`]."""
        if num_samples is None:
            num_samples = self.length(index, sampling_rate) - start
        return read_audio(self._sources[index], sampling_rate, start, num_samples)

    def require_usable(self, max_skipped: float, report: str | os.PathLike) -> None:
        """Stop with a clear message where too little of the corpus can be used.

        Args:
            max_skipped: largest share of tracks that may be skipped, 0 to 1.

        Raises:
            InputError: no track is usable, or too many are not.
        """
        count = len(self.tracks) + len(self.skipped)
        share = len(self.skipped) / count if count else 1.0
        if not self.tracks:
            raise InputError(f"none of the {count} tracks in {self.title} can be used; the reasons are listed in {report}.")
        if share > max_skipped:
            raise InputError(
                f"{len(self.skipped)} of {count} tracks in {self.title} cannot be used ({share:.0%}, data.max_skipped is"
                f" {max_skipped:.0%}); the reasons are listed in {report}. Remove or repair them, or raise data.max_skipped."
            )

    def write_skipped(self, report: str | os.PathLike) -> None:
        """List the skipped tracks in a JSON-lines file: file and reason."""
        entries = [{"file": track.name, "reason": track.skipped_because} for track in self.skipped]
        if Path(report).is_file():
            # what a run that is continued found out about its corpus while it was training
            entries += [entry for entry in read_json_lines(report) if str(entry.get("reason")).startswith(WHILE_TRAINING)]
        write_atomically(report, "".join(json.dumps(entry) + "\n" for entry in entries))


def open_folder(
    folder: str | os.PathLike,
    min_duration_s: float = 3.0,
    check: str = "full",
    index: str | os.PathLike | None = None,
    threads: int | None = None,
    known_from: str | os.PathLike | None = None,
) -> Corpus:
    """Find and check all audio files below a folder.

    Args:
        folder: searched with all folders below it; hidden files and files that are no audio by their name
            ([`mert_hf.audio.AUDIO_EXTENSIONS`]) are passed over, audio of formats that cannot be read is skipped and listed.
        min_duration_s: shorter tracks are skipped (the official training drops those under 3 s).
        check: "full" decodes every track once, and finds damage anywhere in it, NaN samples and silence; "header" reads only
            the header, for corpora too large to decode twice.
        index: file that keeps the results, also those of a check that was broken off; tracks that have not changed since are
            not checked again.
        threads: tracks checked at a time, which changes no result; the cores of this process by default.
        known_from: index of another check, whose results are taken for tracks that have not changed since.

    Raises:
        InputError: the folder does not exist or holds no audio.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"data.folder: {folder} {what}; give a folder of audio files.")
    names, closed = find_audio_files(folder)
    if not names and not closed:
        raise InputError(
            f"data.folder: {folder} holds no audio file (.wav, .flac, .mp3 or another ending of audio), nor do those below it."
        )
    files = [folder / name for name in names]

    def stamp(place: int) -> tuple[int, int]:
        stat = files[place].stat()
        return stat.st_size, stat.st_mtime_ns

    tracks = _check(names, files, stamp, min_duration_s, check, index, threads, known_from)
    return Corpus(str(folder), tracks + closed, files)


def load_audio_dataset(name: str, split: str = "train", setting: str = "data.dataset"):
    """A dataset of the Hub, or one that lies in a folder as `save_to_disk` wrote it.

    Raises:
        InputError: it cannot be loaded; the message names the setting it was given in.
    """
    require_packages("train", "datasets")
    from datasets import load_dataset, load_from_disk

    folder = Path(name).expanduser()
    try:
        if (folder / "dataset_info.json").is_file():
            return load_from_disk(folder)
        return load_dataset(name, split=split)
    except (OSError, ValueError) as error:  # OSError also of the Hub's refusals
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise InputError(f"{setting}={name!r} cannot be loaded: {' '.join(str(error).split())}") from None


def require_audio(dataset, column: str):
    """A `datasets.Dataset` whose column of encoded audio (a `datasets.Audio` feature) is not decoded.

    Raises:
        InputError: the column does not exist or is no audio.
    """
    require_packages("train", "datasets")
    from datasets import Audio

    if column not in dataset.column_names:
        raise InputError(f"the dataset has no column {column!r}; its columns: {', '.join(dataset.column_names)}.")
    if not isinstance(dataset.features[column], Audio):
        raise InputError(f"column {column!r} is {dataset.features[column]}, not Audio; cast it: dataset.cast_column(...).")
    return dataset.cast_column(column, Audio(decode=False))


def open_dataset(
    dataset,
    column: str = "audio",
    min_duration_s: float = 3.0,
    check: str = "full",
    index: str | os.PathLike | None = None,
    threads: int | None = None,
    known_from: str | os.PathLike | None = None,
) -> Corpus:
    """Check the tracks of a `datasets.Dataset`.

    Args:
        dataset: holds encoded audio (a `datasets.Audio` feature); it is read row by row, never decoded as a whole.
        min_duration_s, check, index, threads, known_from: as in [`open_folder`]; rows are taken for unchanged while the
            dataset's fingerprint is.

    Raises:
        InputError: the column does not exist or is no audio.
    """
    sources = _DatasetSources(require_audio(dataset, column), column)
    stamp = (zlib.crc32(dataset._fingerprint.encode()), len(dataset))
    names = [f"row {row}" for row in range(len(dataset))]
    tracks = _check(names, sources, lambda _: stamp, min_duration_s, check, index, threads, known_from)
    return Corpus("the dataset", tracks, sources)


def _check(names, sources, stamp_of, min_duration_s, check, index, threads, known_from) -> list[Track]:
    """Check the tracks, of which `stamp_of` (place) tells which have not changed; see [`open_folder`]."""
    known = read_index(known_from, min_duration_s, check) | read_index(index, min_duration_s, check)

    def examine(place: int) -> Track:
        name = names[place]
        try:
            stamp = stamp_of(place)
        except OSError as error:
            return Track(name, skipped_because=f"cannot be opened: {error.strerror}")
        if name in known and known[name].stamp == stamp:
            return known[name]
        return replace(check_track(name, sources[place], min_duration_s, check), stamp=stamp)

    return check_all(range(len(names)), examine, known, lambda found: write_index(index, min_duration_s, check, found), threads)


class _DatasetSources(Sequence):
    def __init__(self, dataset, column: str):
        self._dataset, self._column = dataset, column

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, row: int) -> AudioSource:
        audio = self._dataset[row][self._column] or {}
        return audio.get("bytes") or audio.get("path") or b""


def find_audio_files(folder: Path) -> tuple[list[str], list[Track]]:
    """Names of the audio files below a folder, and the folders that cannot be listed, as skipped tracks."""
    names: list[str] = []
    closed: list[Track] = []
    visited: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        closed.append(Track(os.path.relpath(error.filename, folder), skipped_because=f"cannot be listed: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        stat = Path(parent).stat()
        if (stat.st_dev, stat.st_ino) in visited:  # a link back to where we were
            folders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [
            (Path(parent) / name).relative_to(folder).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_EXTENSIONS
        ]
    return sorted(names), closed
