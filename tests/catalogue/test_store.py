"""The folder of a catalogue: torn ends, damage, rows that stand twice."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mert_hf.catalogue import store
from mert_hf.catalogue.settings import NOTE, CatalogueSettings, claim, read_settings
from mert_hf.catalogue.sources import Item
from mert_hf.catalogue.store import Store, drop_superseded, read_journal, read_known, read_tables, schema_of
from mert_hf.common.errors import InputError

SETTINGS = CatalogueSettings("m", None, "w", "2", "mean", 30.0, 3.0, "float32", 24000, 4, "0.1.0")


def add(rows: Store, number: int, content: str | None = None) -> None:
    facts = dict(sha256=content or f"sha {number}", duration_s=float(number), sampling_rate=24000)
    rows.add(Item(f"/{number}.wav", f"{number}.wav", "", number, 1), {**facts, "vector": np.full(4, number, np.float32)})


def paths(folder: Path) -> list[str]:
    return [path for _, table in read_tables(folder, SETTINGS, ["path"]) for path in table["path"].to_pylist()]


def test_a_torn_journal_holds_the_rows_before(tmp_path):
    rows = Store(tmp_path, SETTINGS)
    journal, ends = tmp_path / "journal-00000", []
    for number in range(3):
        add(rows, number)
        ends.append(journal.stat().st_size)
    whole = journal.read_bytes()
    for length in sorted({*range(0, len(whole), 13), *ends, *(end - 1 for end in ends)}):
        journal.write_bytes(whole[:length])
        assert len(read_journal(journal, schema_of(SETTINGS))) == sum(end <= length for end in ends)
    # zeros, as a file system leaves behind a crash of the machine; another byte anywhere
    journal.write_bytes(whole[: ends[1]] + bytes(500))
    assert len(read_journal(journal, schema_of(SETTINGS))) == 2
    for place in range(ends[0], ends[1], 17):
        journal.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert len(read_journal(journal, schema_of(SETTINGS))) == 1
    # who goes on writes behind the rows that are whole
    journal.write_bytes(whole[: ends[1] + 9])
    again = Store(tmp_path, SETTINGS)
    add(again, 7)
    assert paths(tmp_path) == ["/0.wav", "/1.wav", "/7.wav"]
    again.close()
    assert paths(tmp_path) == ["/0.wav", "/1.wav", "/7.wav"] and not journal.exists()


def test_small_shards_are_joined_and_full_ones_left(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROWS_PER_SHARD", 4)
    for start in (0, 3, 4, 10):
        rows = Store(tmp_path, SETTINGS)
        for number in range(start, start + 3 if start != 4 else 10):
            add(rows, number)
        rows.close()
    found = [pq.read_metadata(file).num_rows for file in sorted((tmp_path / "data").iterdir())]
    assert max(found) <= 4 and sum(found) == 3 + 3 + 6 + 3
    drop_superseded(tmp_path, SETTINGS)  # row 4 and 5 stood twice
    assert sorted(paths(tmp_path), key=lambda path: int(path[1:-4])) == [f"/{number}.wav" for number in range(13)]


def test_a_kill_between_shard_and_journal_leaves_no_row_twice(tmp_path):
    rows = Store(tmp_path, SETTINGS)
    add(rows, 0)
    add(rows, 1)
    journal = tmp_path / "journal-00000"
    kept = journal.read_bytes()
    rows.close()
    journal.write_bytes(kept)  # as if the shard were written and the journal not removed yet
    assert len(read_known(tmp_path, SETTINGS)[0]) == 2
    again = Store(tmp_path, SETTINGS)
    add(again, 2)
    again.close()
    assert paths(tmp_path) == ["/0.wav", "/1.wav", "/2.wav"]


def test_the_later_row_of_a_path_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROWS_PER_SHARD", 2)
    rows = Store(tmp_path, SETTINGS)
    for number in (0, 1, 2, 3):
        add(rows, number)
    add(rows, 1, "new")
    add(rows, 0, "new")
    rows.close()
    known, count = read_known(tmp_path, SETTINGS)
    assert count == 6 and {path: one.sha256 for path, one in known.items()} == {
        "/0.wav": "new",
        "/1.wav": "new",
        "/2.wav": "sha 2",
        "/3.wav": "sha 3",
    }
    drop_superseded(tmp_path, SETTINGS)
    assert sorted(paths(tmp_path)) == sorted(known) and len(list((tmp_path / "data").iterdir())) == 2
    assert {path: one.sha256 for path, one in read_known(tmp_path, SETTINGS)[0].items()}["/0.wav"] == "new"


def test_damage_is_told_by_the_file(tmp_path):
    rows = Store(tmp_path, SETTINGS)
    add(rows, 0)
    rows.close()
    (file,) = (tmp_path / "data").iterdir()
    whole = file.read_bytes()
    for content in (b"", whole[:100], b"PAR1" + whole[4:-8] + b"\xff" * 8):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"{file.name} is damaged"):
            paths(tmp_path)
    pq.write_table(pa.table({"song": ["a"]}), file)
    with pytest.raises(InputError, match="has no column 'path'"):
        paths(tmp_path)


def test_a_note_that_is_none(tmp_path):
    with pytest.raises(InputError, match="is no catalogue"):
        read_settings(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_settings(tmp_path / "gone")
    claim(tmp_path, SETTINGS)
    assert read_settings(tmp_path) == SETTINGS
    text = (tmp_path / NOTE).read_text()
    for old, new, told in [
        ('"format": 1', '"format": 2', "is of format 2"),
        ('"dimensions": 4', '"dimensions": "four"', "dimensions is 'four'"),
        ('"layers": "2"', '"layers": "two"', "are none"),
        ("{", "", "no JSON"),
    ]:
        (tmp_path / NOTE).write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=told):
            read_settings(tmp_path)
