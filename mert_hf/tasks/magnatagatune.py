"""MagnaTagATune: 50 tags of 29-second clips.

Folder `magnatagatune`, as distributed: `annotations_final.csv` (tab-separated: clip_id, 188 tags, mp3_path) and the clips in
`0/` ... `f/` where mp3_path says. Split by the first letter of the folder: 0 to b train, c validation, d to f test.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.data.names import FilesBelow
from mert_hf.tasks.base import Task
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import DEEZER_FIELDS, MARBLE
from mert_hf.tasks.sources import LocalFolder, read_csv

NUM_TAGS = 50
FOLDERS = tuple("0123456789abcdef")
# files of 0 bytes in the distributed archive (MARBLE leaves them out too)
DAMAGED = frozenset(
    [
        "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
        "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
        "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
    ]
)


def _read(folder: Path, keep_untagged: bool) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    table = folder / "annotations_final.csv"
    header, lines = read_csv(table, delimiter="\t")
    if header[:1] != ["clip_id"] or header[-1] != "mp3_path":
        ends = " ... ".join([*header[:1], *header[-1:]])[:200]
        raise InputError(f"{table} must begin with clip_id and end with mp3_path; its columns: {ends}.")
    places: dict[str, int] = {}
    for line, row in lines:
        if len(row) != len(header) or row[-1][:1] not in FOLDERS:
            raise InputError(f"{table}: the row of clip {row[0][:80]!r} names no clip in a folder 0 to f; is the file whole?")
        if places.setdefault(row[-1], line) != line:
            raise InputError(f"{table}, line {line}: {row[-1][:200]} has a row already, in line {places[row[-1]]}.")
    rows, files = [row for _, row in lines], FilesBelow(folder)
    # the most frequent tags over all clips, whatever their split (MARBLE)
    counts = {tag: sum(row[place] == "1" for row in rows) for place, tag in enumerate(header[1:-1], start=1)}
    tags = tuple(sorted(sorted(counts, key=lambda tag: (-counts[tag], tag))[:NUM_TAGS]))
    columns = {tag: header.index(tag) for tag in tags}
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for row in rows:
        path = row[-1]
        label = tuple(tag for tag in tags if row[columns[tag]] == "1")
        if path in DAMAGED or not (label or keep_untagged):
            continue
        place = FOLDERS.index(path[0])
        split = "train" if place < 12 else "validation" if place == 12 else "test"
        splits[split].append(Example(path, files.path(path), label))
    return splits, tags


LAYOUT = "annotations_final.csv and the clips in 0/ ... f/, as MagnaTagATune is distributed"

MAGNATAGATUNE = Task(
    name="magnatagatune",
    title="MagnaTagATune",
    dataset="magnatagatune",
    kind="multilabel",
    source=LocalFolder(LAYOUT, ("annotations_final.csv",), partial(_read, keep_untagged=True)),
    num_labels=NUM_TAGS,
    protocol=MARBLE,
    split_sizes={"train": 18706, "validation": 1825, "test": 5329},
)

# clips without any of the 50 tags are left out: 15244 + 1529 + 4332 is what then remains
LEFT_OUT = "clips without tags are left out of the 12:1:3 split; the number of clips agrees with the split files used there"
DEEZER_MAGNATAGATUNE = replace(
    MAGNATAGATUNE,
    name="deezer_magnatagatune",
    title="MagnaTagATune (Deezer)",
    source=LocalFolder(LAYOUT, ("annotations_final.csv",), partial(_read, keep_untagged=False)),
    split_sizes={"train": 15244, "validation": 1529, "test": 4332},
    **{**DEEZER_FIELDS, "ours": (*DEEZER_FIELDS["ours"], LEFT_OUT)},
)
