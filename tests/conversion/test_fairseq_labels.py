import json

import numpy as np
import pytest

from mert_hf.cli import main
from mert_hf.data.corpus import Corpus
from mert_hf.data.label_store import LabelStore
from mert_hf.data.tracks import Track


@pytest.fixture
def official(tmp_path):
    """Three tracks of 2 s at 75 labels a second, two codebooks."""
    (tmp_path / "train.tsv").write_text("/music\n" + "".join(f"{name}.wav\t48000\n" for name in "abc"))
    for book in range(2):
        lines = [" ".join(str((frame * (book + 2) + track) % 16) for frame in range(150)) for track in range(3)]
        (tmp_path / f"train.km_{book}").write_text("\n".join(lines) + "\n")
    return tmp_path


def command(folder, *options):
    files = [str(folder / name) for name in ("train.tsv", "train.km_0", "train.km_1")]
    main(["import-labels", *files, "--output_dir", str(folder / "store"), "--codebook_size", "16", *options])


def test_the_command_writes_a_store(official, capsys):
    command(official, "--teacher", "k-means of MFCC")
    assert "labels of 3 tracks" in capsys.readouterr().out
    store = LabelStore(official / "store")
    assert (store.description, store.codebook_sizes, store.header.dtype.itemsize) == ("k-means of MFCC", [16, 16], 1)
    assert store.read("b.wav", 10, 4).tolist() == [
        [(2 * f + 1) % 16 for f in range(10, 14)],
        [(3 * f + 1) % 16 for f in range(10, 14)],
    ]
    with pytest.raises(SystemExit, match="holds labels already; choose another folder"):
        command(official)


def test_tracks_whose_labels_do_not_cover_them_are_listed_and_left_out(official, capsys):
    manifest = official / "train.tsv"
    manifest.write_text(manifest.read_text().replace("b.wav\t48000", "b.wav\t52000").replace("c.wav\t48000", "c.wav\t50000"))
    command(official)
    store = LabelStore(official / "store")
    assert sorted(store.rows) == ["a.wav", "c.wav"]  # 0.17 s and 0.08 s short
    kept = Corpus("/music", [Track("a.wav", 24000, 48000), Track("c.wav", 24000, 50000)], ["", ""])
    assert store.made_for(kept) == "2 tracks in /music (the same names and lengths)"
    (skipped,) = map(json.loads, (official / "store" / "skipped.jsonl").read_text().splitlines())
    assert skipped == {"file": "b.wav", "reason": "its labels cover 2.00 s of 2.17 s of audio"}
    assert "left out b.wav" in capsys.readouterr().err


def cut(folder):
    file = folder / "train.km_1"
    file.write_text(file.read_text().split("\n", 1)[1])


def rename(folder, old, new):
    file = folder / "train.km_1"
    file.write_text(file.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "train.km_1 holds the labels of 2 tracks, the manifest names 3"),
        (lambda folder: rename(folder, " 9 ", " 16 "), "a.wav: label 16 lies outside codebook 1, which has the codes 0 to 15"),
        (lambda folder: rename(folder, " 9 ", " -2 "), "a.wav: label -2 lies outside codebook 1"),
        (lambda folder: rename(folder, " 9 ", " x "), "train.km_1, line 1: labels must be integers"),
        (lambda folder: (folder / "train.km_1").unlink(), "train.km_1 cannot be read"),
        (lambda folder: (folder / "train.tsv").write_text("/music\na.wav 3\n"), "line 2: expected path<TAB>samples"),
        (lambda folder: (folder / "train.tsv").write_text("/music\n"), "names no tracks"),
        (lambda folder: (folder / "train.tsv").write_text(""), "names no tracks"),
        (lambda folder: (folder / "train.tsv").write_text("/music\na.wav\t\u00b2\n"), "line 2: expected path<TAB>samples"),
        (
            lambda folder: (folder / "train.tsv").write_text("/music\na.wav\t48000\nb.wav\t48000\na.wav\t48000\n"),
            "train.tsv, line 4: a.wav stands in line 2 too",
        ),
    ],
)
def test_files_that_do_not_fit_end_with_one_line(official, damage, message):
    damage(official)
    with pytest.raises(SystemExit) as stop:
        command(official)
    assert message in str(stop.value.code)
    assert len(str(stop.value.code).splitlines()) == 1


def test_what_is_not_in_the_dictionary_is_an_error(official):
    (official / "dict.txt").write_text("".join(f"{code} 1\n" for code in range(15)) + "seven 1\n")
    with pytest.raises(SystemExit, match="line 2: '15' is not in the dictionary"):
        command(official, "--dict", str(official / "dict.txt"))
    (official / "dict.txt").write_text("0 1\n")
    with pytest.raises(SystemExit, match="has 1 symbols, the codebooks have 16 codes"):
        command(official, "--dict", str(official / "dict.txt"))


def test_a_dictionary_with_a_symbol_twice_is_refused(official):
    (official / "dict.txt").write_text("".join(f"{code} 1\n" for code in [*range(15), 3]))
    with pytest.raises(SystemExit, match="has the symbol '3' twice"):
        command(official, "--dict", str(official / "dict.txt"))


def test_names_in_a_manifest_may_hold_what_other_programs_take_for_the_end_of_a_line(official):
    names = ["a\u2028b.wav", "c\fd\x0b.wav", "e\x1c\x85f.wav"]
    (official / "train.tsv").write_text("/mu\u2029sic\n" + "".join(f"{name}\t48000\r\n" for name in names), newline="")
    command(official)
    store = LabelStore(official / "store")
    assert (sorted(store.rows), store.header.corpus) == (sorted(names), "/mu\u2029sic")
    assert store.read(names[1], 10, 4).tolist()[0] == [(2 * frame + 1) % 16 for frame in range(10, 14)]


def test_a_matrix_of_objects_is_refused_unread(official):
    np.save(official / "train.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SystemExit, match="train.npy cannot be read"):
        main(["import-labels", str(official / "train.tsv"), str(official / "train.npy"), "--output_dir", str(official / "s")])
