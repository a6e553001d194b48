"""Labelled folders with damaged and forged tables, labels and splits: rows, targets and splits, or one line."""

import io
import json

import numpy as np
import soundfile
from fuzzing import HOSTILE, damage_bytes, damage_values
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_folder
from mert_hf.tasks.labelled.labels import make_labels, read_folder_rows
from mert_hf.tasks.labelled.splits import group_tracks, read_split, split_tracks

DOCUMENTED = (InputError,)

LAYOUTS = (
    ("a.wav", "b, c.wav", "jazz/caf\u00e9.wav", "jazz/cafe\u0301 2.wav", "jazz/live/d.wav", "rock/e.wav", "f\u2028.wav"),
    ("train/x/a.wav", "train/y/b.wav", "train/x/c.wav", "train/y/d.wav", "train/x/e.wav", "test/x/f.wav", "test/y/g.wav"),
    ("x/a.wav", "x/b.wav", "x/c.wav", "y/d.wav", "y/e.wav", "y/f.wav", "y/g.wav"),
)
WRITTEN = ("./a.wav", "jazz\\caf\u00e9.wav", "jazz/cafe\u0301.wav", "A.WAV", "/a.wav", "../a.wav", "C:\\a.wav", "..", "gone")
HEADERS = ("file_name", "label", "split", "group", "", "file_name;label", " label ", "label\u2028", "\ufeff")
PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")
TABLES = ("metadata.csv", "metadata.jsonl", "train/metadata.csv", "Metadata.CSV", "metadata.parquet", "jazz/metadata.jsonl")


def prepare(folder):
    """Real audio, looked at once; every strike puts other tables beside it."""
    content = io.BytesIO()
    soundfile.write(content, make_tones(0.6, 8000), 8000, format="WAV")
    opened = []
    for layout, files in enumerate(LAYOUTS):
        audio = folder / str(layout)
        for name in files:
            (audio / name).parent.mkdir(parents=True, exist_ok=True)
            (audio / name).write_bytes(content.getvalue())
        opened.append((audio, open_folder(audio, 0.5)))

    def strike(rng):
        audio, corpus = opened[int(rng.integers(len(opened)))]
        names = [track.name for track in corpus.tracks]
        for table in TABLES:
            (audio / table).unlink(missing_ok=True)
        for _ in range(int(rng.choice([0, 1, 1, 1, 1, 1, 1, 2]))):
            table = TABLES[int(rng.integers(2)) if rng.random() < 0.9 else int(rng.integers(len(TABLES)))]
            (audio / table).parent.mkdir(exist_ok=True)
            rows = make_rows(rng, names)
            (audio / table).write_bytes(json_lines(rng, rows) if table.endswith("jsonl") else csv_lines(rng, rows))
        found = read_folder_rows(audio, corpus, "label", "split")
        if rng.random() < 0.3:  # as the cells of a dataset of any types
            found = damage_values(rng, found)
            found = [row if isinstance(row, dict) else {} for row in found] if isinstance(found, list) else []
            columns = {column for row in found for column in row}
            found = [{column: row.get(column) for column in columns} for row in (found + [{}] * len(names))[: len(names)]]
        problem = PROBLEMS[int(rng.integers(len(PROBLEMS)))]
        labels = make_labels(found, problem, ["label"], ";")
        assert len(labels.targets) == len(names) and np.isfinite(labels.targets).all()
        classes = labels.targets if problem == PROBLEMS[0] else None
        groups = group_tracks(found, [bytes([number]) for number in range(len(names))], "group")
        if "split" in found[0]:
            splits = read_split(found, "split", groups, classes, 0.3, 0)
        else:
            splits = split_tracks(groups, classes, 0.3, 0.3, 0)
        assert sorted(sum(splits.values(), [])) == list(range(len(names)))
        told = {group: {split for split in splits for track in splits[split] if groups[track] == group} for group in groups}
        assert all(len(split) == 1 for split in told.values())

    return strike


def make_rows(rng, names):
    """A row a track, as it should be, in which some cells, names and rows are not."""
    kept = names if rng.random() < 0.8 else names[: int(rng.integers(len(names)))]
    rows = [{"file_name": name, "label": str(rng.choice(["x", "y", "1", "2.5", "x;y"]))} for name in kept]
    if rng.random() < 0.5:
        for number, row in enumerate(rows):
            row["split"] = ("train", "validation", "test")[number % 3]
    if rng.random() < 0.3:
        for row in rows:
            row["group"] = str(int(rng.integers(5)))
    for _ in range(int(rng.integers(3))):
        row = rows[int(rng.integers(len(rows)))] if rows else {}
        kind = int(rng.integers(4))
        if kind == 0:
            row[str(rng.choice(HEADERS))] = HOSTILE[int(rng.integers(len(HOSTILE)))]
        elif kind == 1:
            row["file_name"] = str(rng.choice(WRITTEN))
        elif kind == 2:
            rows.append(dict(row))
        else:
            row.pop(next(iter(row), None), None)
    return rows


def csv_lines(rng, rows):
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    mark = "," if rng.random() < 0.9 else str(rng.choice([";", "\t"]))
    quoted = [[f'"{cell}"' if "," in str(cell) or rng.random() < 0.1 else str(cell) for cell in line] for line in lines]
    return damaged(rng, "\n".join(mark.join(line) for line in quoted) + "\n")


def json_lines(rng, rows):
    rows = damage_values(rng, rows) if rng.random() < 0.3 else rows
    return damaged(rng, "".join(json.dumps(row) + "\n" for row in (rows if isinstance(rows, list) else [rows])))


def damaged(rng, text):
    content = text.encode("utf-8" if rng.random() < 0.95 else "utf-16", "surrogatepass")
    return damage_bytes(rng, content) if rng.random() < 0.4 else content
