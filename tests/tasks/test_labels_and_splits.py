"""Labels and splits: what a table says, what must not be torn apart, and what cannot be used."""

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_folder
from mert_hf.tasks.labelled.labels import make_labels, read_folder_rows
from mert_hf.tasks.labelled.splits import group_tracks, read_split, split_tracks

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("jazz/a.wav", "jazz/b.wav", "rock/c.wav")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, make_tones(2 + number, 8000, seed=number), 8000)
    return tmp_path


def test_sub_folders_are_labels_and_a_table_comes_before_them(folder):
    corpus = open_folder(folder, 0.5)
    rows = read_folder_rows(folder, corpus, "label")
    assert [row["label"] for row in rows] == ["jazz", "jazz", "rock"]
    (folder / "metadata.csv").write_text("file_name,genre\nrock/c.wav,x\njazz/a.wav,y\njazz/b.wav,z\n")
    assert [row["genre"] for row in read_folder_rows(folder, corpus, "label")] == ["y", "z", "x"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,label\na,b\n", "has no column 'file_name'; its columns: name, label"),
        ("file_name,label\njazz/a.wav,x\n", r"has no row for jazz/b.wav \(2 in all\)"),
        (
            "file_name,label\njazz/a.wav,x\njazz/b.wav,x\nrock/c.wav,y\ngone.wav,y\n",
            r"no audio file of the table's row gone.wav",
        ),
        ("file_name,label\njazz/a.wav,Frevo Pé de Serra\n", r"metadata.csv is not in UTF-8; save it as UTF-8"),
    ],
)
def test_tables_that_do_not_fit(folder, table, message):
    (folder / "metadata.csv").write_text(table, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        read_folder_rows(folder, open_folder(folder, 0.5), "label")


def test_files_without_a_label(folder):
    (folder / "jazz" / "a.wav").rename(folder / "a.wav")
    with pytest.raises(InputError, match="holds no metadata.csv, and a.wav lies in no sub-folder"):
        read_folder_rows(folder, open_folder(folder, 0.5), "label")


def test_targets():
    rows = [{"label": "b;a", "x": "1.5", "y": 2}, {"label": "", "x": "-1", "y": 0}, {"label": "c", "x": "0", "y": 1}]
    multi = make_labels(rows, MULTI, ["label"], ";")
    assert multi.names == ["a", "b", "c"]
    np.testing.assert_array_equal(multi.targets, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert [multi.of(track) for track in range(3)] == [("a", "b"), (), ("c",)]
    numbers = make_labels(rows, "regression", ["x", "y"], ";")
    np.testing.assert_array_equal(numbers.targets, [[1.5, 2], [-1, 0], [0, 1]])
    assert numbers.of(0) == (1.5, 2.0)
    single = make_labels([{"label": name} for name in "bab"], SINGLE, ["label"], ";")
    assert single.targets.tolist() == [1, 0, 1]
    assert [single.of(track) for track in range(3)] == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("rows", "problem_type", "columns", "message"),
    [
        ([{"genre": "x"}], SINGLE, ["gener"], "there is no label column 'gener'.*did you mean genre"),
        ([{"label": "x"}, {"label": "x"}], SINGLE, ["label"], r"holds one class only \(x\); two or more are needed"),
        ([{"label": "x"}, {"label": ""}], SINGLE, ["label"], "1 of 2 tracks have no label"),
        ([{"label": "x"}], "regression", ["label"], "must hold numbers for regression"),
        ([{"label": "nan"}], "regression", ["label"], "hold NaN"),
    ],
)
def test_labels_that_cannot_be_used(rows, problem_type, columns, message):
    with pytest.raises(InputError, match=message):
        make_labels(rows, problem_type, columns, ";")


def test_splits_keep_groups_together_and_classes_even():
    classes = np.arange(600) % 3
    groups = [f"artist {number // 3 % 100}" for number in range(600)]  # two albums of three tracks each
    splits = split_tracks(groups, classes, 0.15, 0.2, seed=1)
    assert sorted(sum(splits.values(), [])) == list(range(600))
    artists = {name: {groups[track] for track in tracks} for name, tracks in splits.items()}
    assert not artists["train"] & artists["test"] and not artists["train"] & artists["validation"]
    assert not artists["validation"] & artists["test"]
    assert {name: len(found) for name, found in artists.items()} == {"train": 65, "validation": 15, "test": 20}
    assert split_tracks(groups, classes, 0.15, 0.2, seed=1) == splits
    assert split_tracks(groups, classes, 0.15, 0.2, seed=2) != splits
    alone = split_tracks([str(number) for number in range(300)], classes[:300], 0.15, 0.2, seed=1)
    assert np.bincount(classes[alone["test"]]).tolist() == [20, 20, 20]
    with pytest.raises(InputError, match="2 groups of tracks cannot be split"):
        split_tracks(["a", "b", "a"], None, 0.15, 0.2, seed=1)


def test_equal_files_are_one_group():
    rows = [{"artist": "A"}, {"artist": "B"}, {"artist": "C"}, {"artist": "B"}]
    assert group_tracks(rows, [b"1", b"2", b"1", b"3"], "artist") == ["A", "B", "A", "B"]
    assert group_tracks(rows, [b"1", b"2", b"3", b"1"], "artist") == ["A", "A", "C", "A"]
    assert len(set(group_tracks(rows, [b"1", b"2", b"3", b"3"], "album"))) == 3


def test_a_given_split_that_leaks_is_refused():
    rows = [{"split": name} for name in ("train", "validation", "test", "test")]
    assert read_split(rows, "split", list("abcd")) == {"train": [0], "validation": [1], "test": [2, 3]}
    with pytest.raises(InputError, match="'a' .equal files, or one group. is in train and in test: the test would leak"):
        read_split(rows, "split", list("abca"))
    with pytest.raises(InputError, match="holds 'dev'; accepted: train, validation, test"):
        read_split([{"split": "dev"}], "split", ["a"])
    with pytest.raises(InputError, match="no track is left for validation"):
        read_split([rows[0], rows[2]], "split", ["a", "b"])
