"""MTG-Jamendo: tags of whole tracks, in four sets.

Folder `mtg_jamendo`: a clone of MTG/mtg-jamendo-dataset, of which `data/splits/split-0/` is read (tab-separated: TRACK_ID,
ARTIST_ID, ALBUM_ID, PATH, DURATION, then one tag a field), and in it `audio/` with the tracks where PATH says; those of the
smaller download, whose names end in `.low.mp3`, are found too.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_lines
from mert_hf.data.names import FilesBelow
from mert_hf.tasks.base import Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import DEEZER_FIELDS, MARBLE
from mert_hf.tasks.sources import LocalFolder

SPLIT_FOLDER = "data/splits/split-0"


def _audio(audio: FilesBelow, path: str) -> Path:
    full = audio.path(path)
    if full.is_file():
        return full
    small = audio.path(PurePosixPath(path).with_suffix(".low.mp3").as_posix())
    return small if small.is_file() else full


def _read(folder: Path, subset: str) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    splits: dict[str, list[Example]] = {}
    found: set[str] = set()
    audio, places = FilesBelow(folder / "audio"), {}
    for split in ("train", "validation", "test"):
        table = folder / SPLIT_FOLDER / f"autotagging_{subset}-{split}.tsv"
        header, *lines = read_lines(table) or [""]
        if header.split("\t")[3:4] != ["PATH"]:
            raise InputError(f"{table} has no PATH in its fourth column; its header: {header[:200]}")
        splits[split] = []
        for number, line in enumerate(lines, start=2):
            fields = line.split("\t")
            place = f"{table}, line {number}"
            if len(fields) < 6 or not fields[3]:
                raise InputError(f"{place}: expected five fields and tags behind them, found {line[:80]!r}.")
            path, tags = fields[3], tuple(dict.fromkeys(fields[5:]))
            if places.setdefault(path, place) != place:
                raise InputError(f"{place}: {path[:200]} stands in {places[path]} too.")
            found.update(tags)
            splits[split].append(Example(path, _audio(audio, path), tags))
    return splits, tuple(sorted(found))


def _task(name: str, subset: str, title: str, num_labels: int, sizes: dict[str, int]) -> Task:
    files = tuple(f"{SPLIT_FOLDER}/autotagging_{subset}-{split}.tsv" for split in ("train", "validation", "test"))
    layout = f"a clone of MTG/mtg-jamendo-dataset with the tracks in audio/; {SPLIT_FOLDER}/autotagging_{subset}-*.tsv is read"
    return Task(
        name=f"jamendo_{name}",
        title=f"MTG-Jamendo {title}",
        dataset="mtg_jamendo",
        kind="multilabel",
        source=LocalFolder(layout, files, partial(_read, subset=subset)),
        num_labels=num_labels,
        protocol=MARBLE,
        windows=Windows(duration_s=30.0, least_s=1.0),
        split_sizes=sizes,
    )


def _for_deezer(task: Task) -> Task:
    return replace(task, name=f"deezer_{task.name}", title=f"{task.title} (Deezer)", **DEEZER_FIELDS)


# sizes of the splits: Table 1 of Deezer's comparison, which uses the same split-0. The numbers of labels are those of the
# split files (the music2vec paper's text says 41 instruments and 59 moods).
TOP50 = _task("top50", "top50tags", "top 50", 50, {"train": 32136, "validation": 10888, "test": 11356})
GENRE = _task("genre", "genre", "genre", 87, {})
INSTRUMENT = _task("instrument", "instrument", "instrument", 40, {"train": 14395, "validation": 5466, "test": 5115})
MOOD = _task("mood", "moodtheme", "mood/theme", 56, {"train": 9949, "validation": 3802, "test": 4231})

DEEZER_TOP50, DEEZER_INSTRUMENT, DEEZER_MOOD = map(_for_deezer, (TOP50, INSTRUMENT, MOOD))
