"""Beats of your own recordings: a probe that learns from synthetic pieces is tested on tracks with annotated beats.

    music/
      song.ogg              any audio format that can be read
      song.beats            beside it, or in a folder `annotations` beside it
      without.mp3           a track without beats is left out

A line of a `.beats` file is a beat: its time in seconds, ascending, and behind white space anything, such as its place in the
bar (the form of Beat This! and of GTZAN-Rhythm). Beats after the end of the audio do not count.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_lines
from mert_hf.data.corpus import find_audio_files
from mert_hf.tasks.base import SPLITS, Check, Loaded, Source, Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.sources import NAMED_FILES, digest
from mert_hf.tasks.synthetic import BEAT, with_renderer

REAL_BEAT = "real_beat"
ENDING, ANNOTATIONS = ".beats", "annotations"
# as long as the pieces that the probe learns from; what is left at the end is heard from a tenth of a second on
_WINDOWS = Windows(duration_s=10.0, least_s=0.1)


@dataclass(frozen=True)
class RealBeats(Source):
    """Synthetic pieces to learn from, and a folder of tracks to be tested on."""

    pieces: Source
    folder: Path

    def describe(self) -> str:
        return f"{self.pieces.describe()}; for test {self.folder} with audio and {ENDING} files beside it or in {ANNOTATIONS}"

    def needs_download(self, folder: Path | None) -> bool:
        """As of the pieces: a check leaves out what takes a minute."""
        return self.pieces.needs_download(folder)

    def check(self, folder: Path | None) -> Check:
        found = self.pieces.check(folder)
        try:
            _, notes = self._tracks()
        except InputError as error:
            return Check((*found.problems, str(error)), found.notes)
        return Check(found.problems, found.notes + notes)

    def load(self, folder: Path | None) -> Loaded:
        """The pieces' training and validation, and the tracks. The fingerprint holds size and time of change of their audio."""
        tracks, notes = self._tracks()
        pieces = self.pieces.load(folder)
        states = [(track.name, track.audio.stat().st_size, track.audio.stat().st_mtime_ns, track.label) for track in tracks]
        return replace(
            pieces,
            splits={**pieces.splits, SPLITS[-1]: tracks},
            origin=f"{pieces.origin}, tested on {self.folder.expanduser().resolve().name}",
            fingerprint=digest([pieces.fingerprint, states]),
            notes=pieces.notes + notes,
        )

    def _tracks(self) -> tuple[list[Example], tuple[str, ...]]:
        """The tracks with beats, and what is to be said of the folder."""
        folder = self.folder.expanduser()
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; give one of tracks with {ENDING} files.")
        names, closed = find_audio_files(folder)
        if closed:
            raise InputError(f"{folder / closed[0].name} {closed[0].skipped_because}.")
        unclaimed = {path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ENDING}")}
        claimed: dict[str, str] = {}
        without, late = [], 0
        tracks: list[Example] = []
        for name in names:
            notes = next((place for place in _places(name) if place in unclaimed or place in claimed), None)
            if notes is None:
                without.append(name)
                continue
            if notes in claimed:
                raise InputError(f"{folder / notes} has two tracks, {claimed[notes]} and {name}; rename one.")
            unclaimed.remove(notes)
            claimed[notes] = name
            track = Example(name, folder / name, ())
            times, end_s = read_beats(folder / notes), track.duration_s()
            heard = tuple(time for time in times if time <= end_s)
            late += len(times) - len(heard)
            tracks.append(replace(track, label=heard))
        if unclaimed:
            raise InputError(
                f"{folder / min(unclaimed)} has no track: no audio of that name lies beside it, or above {ANNOTATIONS}."
            )
        if not tracks:
            raise InputError(f"{folder} holds no {ENDING} file; put one beside a track, or into {ANNOTATIONS}, with its beats.")
        notes = [f"{late} beats lie after the end of their audio"] if late else []
        if without:
            named = f"{', '.join(without[:NAMED_FILES])}{' ...' if len(without) > NAMED_FILES else ''}"
            notes.append(f"{len(without)} tracks without {ENDING} file are left out: {named}")
        return tracks, tuple(notes)


def _places(name: str) -> Iterator[str]:
    """Where the beats of a track may stand."""
    stem = Path(name).with_suffix(ENDING)
    yield stem.as_posix()
    yield (stem.parent / ANNOTATIONS / stem.name).as_posix()


def read_beats(path: Path) -> tuple[float, ...]:
    """Times in seconds of the beats in a file, ascending.

    Raises:
        InputError: it cannot be read, a line does not begin with a time, or the times do not ascend; the line is named.
    """
    times: list[float] = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        first = line.split()[0].removeprefix("\ufeff")  # some editors of Windows begin a file with it
        try:
            time = float(first)
        except ValueError:
            raise InputError(f"{path}, line {number}: {first[:40]!r} is no time in seconds.") from None
        if not (math.isfinite(time) and time > (times[-1] if times else -1e-9)):
            raise InputError(f"{path}, line {number}: beats must ascend from 0 s on; {first[:40]} does not.")
        times.append(time)
    if not times:
        raise InputError(f"{path} holds no beat.")
    return tuple(times)


def real_beats(folder: str | Path, renderer: str = "builtin") -> Task:
    """The synthetic suite's beat task, tested on the tracks of a folder; `renderer` is that of the pieces to learn from."""
    beat = with_renderer(BEAT, renderer)
    sizes = {split: size for split, size in BEAT.split_sizes.items() if split != SPLITS[-1]}
    return replace(
        beat,
        name=REAL_BEAT,
        title="Real beat",
        source=RealBeats(beat.source, Path(folder)),
        windows=_WINDOWS,
        split_sizes=sizes,
        ours=(*BEAT.ours, "learnt from synthetic pieces, tested on recordings in windows of 10 s"),
    )
