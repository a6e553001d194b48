"""Tables of datasets: rows that contradict each other, names in another spelling, and lines that other programs would cut."""

import pytest
from support.task_layouts import BUILDERS, MP3, put

from mert_hf.common.errors import InputError
from mert_hf.tasks import TASKS

ONE, TWO = "caf\u00e9", "cafe\u0301"  # two spellings of one word


@pytest.fixture
def data(request, tmp_path):
    """A data folder with one dataset in it, and that dataset's folder."""
    BUILDERS[request.param](tmp_path / request.param)
    return tmp_path, tmp_path / request.param


def edit(file, old, new, count=1):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, count), encoding="utf-8", newline="")


def refused(task, folder):
    with pytest.raises(InputError) as error:
        TASKS[task].load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def table_of(folder):
    return folder / "data" / "splits" / "split-0" / "autotagging_moodtheme-train.tsv"


@pytest.mark.parametrize("data", ["mtg_jamendo"], indirect=True)
def test_jamendo(data):
    top, folder = data
    table = table_of(folder)
    lines = table.read_text().split("\n")
    path = lines[1].split("\t")[3]
    written, there = path.replace(".mp3", f"{ONE}\u2028.mp3"), path.replace(".mp3", f"{TWO}\u2028.mp3")
    edit(table, path, written)
    put(folder / "audio" / there, MP3)
    sizes = [len(examples) for examples in TASKS["jamendo_mood"].load(top).splits.values()]
    example = TASKS["jamendo_mood"].load(top).splits["train"][0]
    assert (example.name, example.audio) == (written, folder / "audio" / there)
    assert example.audio.is_file()
    assert sizes[0] == len([line for line in lines if line]) - 1
    with table.open("a") as file:
        file.write("\t".join([*lines[2].split("\t")[:5], "mood/theme---other"]) + "\n")
    assert f"{lines[2].split(chr(9))[3]} stands in {table}, line 3 too" in refused("jamendo_mood", top)
    table.write_text(lines[0] + "\ntrack_1\tartist_1\n")
    assert f"{table}, line 2: expected five fields and tags behind them" in refused("jamendo_mood", top)
    table.write_bytes(b"\xff\xfe")
    assert "no text in UTF-8" in refused("jamendo_mood", top)


@pytest.mark.parametrize("data", ["magnatagatune"], indirect=True)
def test_magnatagatune(data):
    top, folder = data
    table = folder / "annotations_final.csv"
    edit(table, "0/song-1.mp3", f"0/{ONE}.mp3")
    (folder / "0" / "song-1.mp3").rename(folder / "0" / f"{TWO}.mp3")
    (example,) = [e for e in TASKS["magnatagatune"].load(top).splits["train"] if e.name == f"0/{ONE}.mp3"]
    assert example.audio == folder / "0" / f"{TWO}.mp3" and example.audio.is_file()
    edit(table, "song-2.mp3", "song-3.mp3")
    assert "0/song-3.mp3 has a row already, in line 3" in refused("magnatagatune", top)
    edit(table, "song-3.mp3", "song-2.mp3")
    edit(table, "tag 01", "tag 02")
    assert "has the column 'tag 02' twice" in refused("magnatagatune", top)
    table.write_text("\n\n")
    assert "must begin with clip_id" in refused("magnatagatune", top)


@pytest.mark.parametrize("data", ["emomusic"], indirect=True)
def test_emomusic(data):
    top, folder = data
    table = folder / "static_annotations.csv"
    before = TASKS["emomusic"].load(top).fingerprint
    header, row, *_ = table.read_text().split("\n")
    with table.open("a") as file:
        file.write("\n" + row + "\n")  # again, and the same
    assert TASKS["emomusic"].load(top).fingerprint == before
    number, arousal, deviation, valence = row.split(",")[:4]
    with table.open("a") as file:
        file.write(f"{number},{arousal},{deviation},{float(valence) + 1}\n")
    assert f"song_id {number.strip()} has another row already, which says something else" in refused("emomusic", top)
    for other in ("\u00b2", "1" * 5000):
        table.write_text(f"{header}\n{other},1,1,1\n")
        assert "in column 'song_id' is no number" in refused("emomusic", top)
