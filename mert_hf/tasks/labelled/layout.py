"""What the folders say that tracks lie in: their split, where the folders at the top are named after splits, and their label.

rock/a.wav              label rock
train/rock/a.wav        split train, label rock
train/a.wav             split train; the label stands in a table
rock/album/a.wav        refused: nobody can tell whether rock or album is the label
"""

import re
from collections.abc import Iterable
from pathlib import Path

from mert_hf.common.errors import InputError

# The names that `datasets` knows the splits by (its DEFAULT_SPLITS), and these with "set" or "split" behind them.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def split_of_folder(name: str) -> str | None:
    """The split a folder is named after, whatever the case; None for any other name."""
    plain = re.sub(r"[-_. ]?(set|split)$", "", name.casefold())
    return next((split for split, names in SPLIT_FOLDERS.items() if plain in names), None)


def read_split_folders(names: Iterable[str]) -> dict[str, str]:
    """Splits by the folders at the top that are named after them; {} where none is.

    Args:
        names: paths of all audio files below the labelled folder, with forward slashes.

    Raises:
        InputError: some folders (or files) at the top are named after splits and others are not, or two after the same split.
    """
    tops = sorted({name.partition("/")[0] for name in names})
    splits = {top: split for top in tops if (split := split_of_folder(top))}
    others = [top for top in tops if top not in splits]
    if splits and others:
        raise InputError(
            f"{next(iter(splits))!r} is the name of a split and {others[0]!r} is none: are the folders splits or labels?"
            f" Rename them, or write a metadata.csv with the columns file_name, label and split."
        )
    for split in SPLIT_FOLDERS:
        same = [top for top in splits if splits[top] == split]
        if len(same) > 1:
            raise InputError(f"the folders {' and '.join(same)} both name the {split} split; put their tracks into one.")
    return splits


def label_of_track(folder: Path, name: str, in_split: bool) -> str:
    """The label of a track without a table: the one folder it lies in, below its split's.

    Raises:
        InputError: it lies in none, or in several.
    """
    folders = name.split("/")[in_split:-1]
    if len(folders) == 1:
        return folders[0]
    table = "write the table (file_name,label), or put"
    if not folders:
        where = "no sub-folder of its split's folder" if in_split else "no sub-folder"
        raise InputError(
            f"{folder} holds no metadata.csv, and {name} lies in {where}: {table} the files into one sub-folder a label."
        )
    raise InputError(
        f"{folder} holds no metadata.csv, and {name} lies in {len(folders)} folders, so its label may be {folders[0]!r} or"
        f" {folders[-1]!r}: {table} the files right into one sub-folder a label."
    )
