"""Labels of a folder as people lay it out: tables in csv and JSON lines, folders of splits, names in other spellings."""

import json

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import Corpus, open_folder
from mert_hf.data.tracks import Track
from mert_hf.tasks.labelled.labels import make_labels, read_folder_rows
from mert_hf.tasks.labelled.splits import group_tracks, read_split

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
ONE, TWO = "caf\u00e9", "cafe\u0301"  # two spellings of one word


def read(folder, *names, **options):
    """The rows of tracks of these names, in their order."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    tracks = [Track(name, 8000, 8000) for name in names]
    return read_folder_rows(folder, Corpus("here", tracks, names), "label", **options)


def refused(folder, *names, **options) -> str:
    with pytest.raises(InputError) as error:
        read(folder, *names, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def write(folder, name, *lines):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "test"), ("train", "test")),
        (("training", "valid", "testing"), ("train", "validation", "test")),
        (("Train_Set", "DEV", "test-split"), ("train", "validation", "test")),
        (("train", "val", "evaluation"), ("train", "validation", "test")),
    ],
)
def test_folders_named_after_splits_are_splits_and_the_labels_lie_below(tmp_path, names, splits):
    rows = read(tmp_path, *(f"{name}/{label}/{label}.wav" for name in names for label in ("jazz", "rock")))
    assert rows == [{"label": label, "split": split} for split in splits for label in ("jazz", "rock")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train/a.wav", "test/b.wav"), "train/a.wav lies in no sub-folder of its split's folder"),
        (("train/rock/a.wav", "test/b.wav"), "test/b.wav lies in no sub-folder of its split's folder"),
        (("train/rock/a.wav", "jazz/b.wav"), "'train' is the name of a split and 'jazz' is none"),
        (("train/rock/a.wav", "test/rock/b.wav", "c.wav"), "'test' is the name of a split and 'c.wav' is none"),
        (("val/rock/a.wav", "dev/rock/b.wav", "train/rock/c.wav"), "the folders dev and val both name the validation split"),
        (("artist/album/a.wav", "rock/b.wav"), "artist/album/a.wav lies in 2 folders, so its label may be 'artist' or 'album'"),
        (("rock/a.wav", "b.wav"), "b.wav lies in no sub-folder"),
    ],
)
def test_folders_that_do_not_say_what_they_are(tmp_path, names, message):
    assert message in refused(tmp_path, *names)


def test_splits_of_folders_reach_the_run_and_validation_is_drawn_from_train():
    rows = [{"split": "train"}] * 20 + [{"split": "test"}] * 4
    groups, classes = [str(number) for number in range(24)], np.arange(24) % 2
    splits = read_split(rows, "split", groups, classes, 0.2, seed=3)
    assert splits["test"] == [20, 21, 22, 23]
    assert sorted(splits["train"] + splits["validation"]) == list(range(20))
    assert np.bincount(classes[splits["validation"]]).tolist() == [2, 2]
    paired = [str(number // 2) for number in range(24)]
    drawn = read_split(rows, "split", paired, classes, 0.2, seed=3)
    assert not {paired[track] for track in drawn["train"]} & {paired[track] for track in drawn["validation"]}
    with pytest.raises(InputError, match="no track is left for validation, test"):
        read_split([{"split": "train"}], "split", ["a"], np.zeros(1, int), 0.2)


def test_json_lines_are_read_as_csv_is(tmp_path):
    lines = [{"file_name": "b.wav", "label": "x;y", "n": 1}, {"file_name": "a/c.wav", "label": "z\u2028\f"}]
    (tmp_path / "metadata.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, lines)))  # the last line has no end
    rows = read(tmp_path, "a/c.wav", "b.wav")
    assert rows == [{"file_name": "a/c.wav", "label": "z\u2028\f", "n": None}, {"file_name": "b.wav", "label": "x;y", "n": 1}]
    assert make_labels(rows, MULTI, ["label"], ";").names == ["x", "y", "z"]


def test_a_csv_with_a_mark_quotes_and_blank_lines_of_programs(tmp_path):
    rows = (b" file_name , label ,", b'"a, 1.wav","two\r\nlines",', b",,", b"", b"b.wav,y,", b"")
    (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(rows))
    assert read(tmp_path, "a, 1.wav", "b.wav") == [
        {"file_name": "a, 1.wav", "label": "two\nlines"},
        {"file_name": "b.wav", "label": "y"},
    ]


@pytest.mark.parametrize("written", ["sub\\a.wav", "./sub/a.wav", "sub//a.wav", "other/../sub/a.wav", " sub/a.wav "])
def test_other_ways_to_write_a_path(tmp_path, written):
    write(tmp_path, "metadata.csv", "file_name,label", f"{written},x")
    assert read(tmp_path, "sub/a.wav")[0]["label"] == "x"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("/music/a.wav", "line 2: '/music/a.wav' is an absolute path"),
        ("C:\\music\\a.wav", "is an absolute path"),
        ("../a.wav", "line 2: '../a.wav' leaves the table's folder"),
        (" ", "line 2: file_name must name a file"),
        ("A.WAV", "no audio file of the table's row A.WAV (1 in all); table and files must agree, in upper and lower case too"),
    ],
)
def test_paths_that_cannot_be_meant(tmp_path, written, message):
    write(tmp_path, "metadata.csv", "file_name,label", f"{written},x", "a.wav,y")
    assert message in refused(tmp_path, "a.wav")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file_name;label", "a.wav;x"], "no column 'file_name'; its columns: file_name;label. Are they separated by ';'?"),
        (["file_name\tlabel", "a.wav\tx"], r"Are they separated by '\t'? Separate them by commas."),
        (["file_name,label,label", "a.wav,x,y"], "has the column 'label' twice"),
        (["file_name,label", "a.wav,x,y"], "line 2: 3 cells under 2 columns"),
        (["file_name,label", "a.wav"], "line 2: 1 cells under 2 columns"),
        (["file_name,label", "a.wav,x", '"b.wav,y'], "line 3: unexpected end of data"),
        (["file_name,label", "a.wav,x", "b.wav,y", "a.wav,z"], "line 4: a.wav has a row already, in line 2"),
        (["file_name,label", "a.wav,x", "b.wav,y", "./a.wav,x"], "line 4: a.wav has a row already, in line 2"),
        (["file_name,label"], "holds no rows"),
        ([], "has no column 'file_name'"),
    ],
)
def test_csv_tables_that_are_refused(tmp_path, lines, message):
    write(tmp_path, "metadata.csv", *lines)
    assert message in refused(tmp_path, "a.wav", "b.wav")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"file_name": "a.wav", "label": "x"}', '{"file_name": "a.wav", "label": "y"}'], "line 2: a.wav has a row already"),
        (['{"file_name": "a.wav", "label": "x", "label": "y"}'], "line 1 is damaged: it is no JSON (the key 'label' is given"),
        (['{"file_name": "a.wav"'], "line 1 is damaged"),
        (['["a.wav", "x"]'], "line 1 is damaged: it holds list, not dict"),
        (['{"file_name": 3, "label": "x"}'], "line 1: file_name must name a file"),
        (['{"audio": "a.wav", "label": "x"}'], "no column 'file_name'; its columns: audio, label"),
    ],
)
def test_json_lines_that_are_refused(tmp_path, lines, message):
    write(tmp_path, "metadata.jsonl", *lines)
    assert message in refused(tmp_path, "a.wav")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["metadata.csv", "metadata.jsonl"], "holds metadata.csv and metadata.jsonl; keep the one that is meant"),
        (["metadata.csv", "metadata.parquet"], "holds metadata.csv and metadata.parquet"),
        (["metadata.parquet"], "metadata.parquet is not read; write it as metadata.csv or metadata.jsonl"),
        (["metadata.tsv"], "metadata.tsv is not read"),
        (["Metadata.CSV"], "Metadata.CSV is not read"),
        (["metadata.csv", "sub/metadata.jsonl"], "both tell labels; keep one of them"),
        (["sub/metadata.csv"], "sub/ is not named after a split; write one table for all at the top"),
    ],
)
def test_tables_that_would_be_passed_over(tmp_path, names, message):
    for name in names:
        write(tmp_path, name, "file_name,label", "sub/a.wav,x")
    assert message in refused(tmp_path, "sub/a.wav")


def test_each_split_may_hold_a_table(tmp_path):
    write(tmp_path, "train/metadata.csv", "file_name,label", "a.wav,x", "more/b.wav,y")
    write(tmp_path, "test/metadata.jsonl", '{"file_name": "a.wav", "label": "z", "group": "g"}')
    rows = read(tmp_path, "train/a.wav", "test/a.wav", "train/more/b.wav")
    assert [(row["label"], row["split"], row["group"]) for row in rows] == [
        ("x", "train", None),
        ("z", "test", "g"),
        ("y", "train", None),
    ]
    (tmp_path / "test" / "metadata.jsonl").unlink()
    assert "but test/ has none" in refused(tmp_path, "train/a.wav", "test/a.wav", "train/more/b.wav")


def test_a_table_at_the_top_keeps_the_splits_of_the_folders_unless_it_has_its_own(tmp_path):
    write(tmp_path, "metadata.csv", "file_name,label", "train/a.wav,x", "test/b.wav,y")
    assert [row["split"] for row in read(tmp_path, "train/a.wav", "test/b.wav")] == ["train", "test"]
    write(tmp_path, "metadata.csv", "file_name,label,split", "train/a.wav,x,validation", "test/b.wav,y,test")
    assert [row["split"] for row in read(tmp_path, "train/a.wav", "test/b.wav")] == ["validation", "test"]
    write(tmp_path, "metadata.csv", "file_name,label,part", "train/a.wav,bus,test", "car/b.wav,car,train")
    assert "'train' is the name of a split and 'car' is none" in refused(tmp_path, "train/a.wav", "car/b.wav")
    rows = read(tmp_path, "train/a.wav", "car/b.wav", split_column="part")
    assert [row["part"] for row in rows] == ["test", "train"]


@pytest.mark.parametrize(("written", "there"), [(ONE, TWO), (TWO, ONE)])
def test_names_meet_in_either_spelling_on_a_real_disk(tmp_path, written, there):
    for number, name in enumerate((f"{there}.wav", "b.wav")):
        soundfile.write(tmp_path / name, make_tones(1, 8000, seed=number), 8000)
    write(tmp_path, "metadata.csv", "file_name,label", f"{written}.wav,x", "b.wav,y")
    corpus = open_folder(tmp_path, 0.5)
    found = {
        track.name: row["label"] for track, row in zip(corpus.tracks, read_folder_rows(tmp_path, corpus, "label"), strict=True)
    }
    assert found == {f"{there}.wav": "x", "b.wav": "y"}
    write(tmp_path, "metadata.csv", "file_name,label", f"{written}.wav,x", "b.wav,y", f"{there}.wav,y")
    with pytest.raises(InputError, match="has a row already"):
        read_folder_rows(tmp_path, corpus, "label")


def test_labels_and_groups_are_the_same_in_any_spelling(caplog):
    rows = [{"label": name, "group": name} for name in (ONE, f" {TWO} ", "hip  hop", "hip\u00a0hop", "Rock", "rock")]
    labels = make_labels(rows, SINGLE, ["label"], ";")
    assert labels.names == ["Rock", ONE, "hip hop", "rock"]
    assert labels.targets.tolist() == [1, 1, 2, 2, 0, 3]
    assert "Two classes differ by case or invisible characters only: 'Rock' and 'rock'" in caplog.text
    assert group_tracks(rows, [bytes([number]) for number in range(6)], "group")[:4] == [ONE, ONE, "hip hop", "hip hop"]
    numbered = [{"group": 0}, {"group": 0.0}, {"group": None}, {"group": float("nan")}]
    assert len(set(group_tracks(numbered, [b"1", b"2", b"3", b"4"], "group"))) == 3


@pytest.mark.parametrize(
    ("cells", "problem_type", "message"),
    [
        ([["rock", "jazz"], "rock"], SINGLE, r"holds several labels for one track \(rock, jazz\); leave one"),
        ([None, "rock"], SINGLE, "1 of 2 tracks have no label"),
        ([float("nan"), 1.0], SINGLE, "1 of 2 tracks have no label"),
        ([{"a": 1}, "rock"], SINGLE, "column 'label' holds dict where text or a number is expected"),
        (["a\0b", "rock"], SINGLE, "control characters"),
        (["1e39", "0"], "regression", "hold NaN or infinity"),
        ([10**400, 0], "regression", "must hold numbers for regression"),
        (["x" * 100_000, 0], "regression", "must hold numbers for regression"),
    ],
)
def test_cells_that_are_no_labels(cells, problem_type, message):
    with pytest.raises(InputError, match=message) as error:
        make_labels([{"label": cell} for cell in cells], problem_type, ["label"], ";")
    assert len(str(error.value)) < 1000
