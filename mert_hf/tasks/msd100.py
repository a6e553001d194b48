"""MSD100: 100 tags of the Million Song Dataset, cleaned and split by artist (minzwon/tag-based-music-retrieval).

Folder `msd100`: the published split files `train_ids.npy`, `valid_ids.npy`, `test_ids.npy` (strings "row//song id"),
`binaries.npy` (songs, tags) and `tags.npy`; and `audio/` with 7digital's previews by song id, `audio/R/A/B/TRAB....mp3`, as the
dataset's authors keep them. The arrays' names are those of the authors' script and were not seen by us.
"""

from pathlib import Path

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.tasks.base import Task
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import DEEZER_FIELDS
from mert_hf.tasks.sources import LocalFolder

NUM_TAGS = 100
FILES = {"train": "train_ids.npy", "validation": "valid_ids.npy", "test": "test_ids.npy"}


def _load(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read: {reason}. Save it again with numpy as plain strings or numbers.") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path} holds several arrays; expected one, saved with numpy.save.")
    return found


def _read(folder: Path) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    tags = tuple(str(tag) for tag in _load(folder / "tags.npy"))
    binaries = _load(folder / "binaries.npy")
    if binaries.ndim != 2 or binaries.shape[1] != len(tags):
        raise InputError(f"{folder / 'binaries.npy'} must be (songs, {len(tags)} tags); it is {binaries.shape}.")
    splits = {}
    for split, name in FILES.items():
        splits[split] = []
        for entry in _load(folder / name):
            row, _, song = str(entry).partition("//")
            if not row.isdecimal() or len(row) > 18 or int(row) >= len(binaries) or len(song) < 5:
                raise InputError(
                    f"{folder / name} holds {str(entry)[:80]!r}; expected 'row//song id' with a row of binaries.npy."
                )
            label = tuple(tag for tag, set_ in zip(tags, binaries[int(row)], strict=True) if set_)
            splits[split].append(Example(song, folder / "audio" / song[2] / song[3] / song[4] / f"{song}.mp3", label))
    return splits, tags


MSD100 = Task(
    name="deezer_msd100",
    title="MSD100 (Deezer)",
    dataset="msd100",
    kind="multilabel",
    source=LocalFolder(
        "train_ids.npy, valid_ids.npy, test_ids.npy, binaries.npy and tags.npy of minzwon/tag-based-music-retrieval, and"
        " previews in audio/R/A/B/TRAB....mp3",
        (*FILES.values(), "binaries.npy", "tags.npy"),
        _read,
    ),
    num_labels=NUM_TAGS,
    split_sizes={"train": 71388, "validation": 15618, "test": 15281},
    **DEEZER_FIELDS,
)
