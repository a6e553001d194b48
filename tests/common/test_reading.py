"""Files that were damaged, cut or forged: what they hold, or one line."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_json, read_json_lines, read_lines, read_yaml, to_dataclass


@dataclass
class Row:
    name: str
    frames: int
    seconds: float = 0.0
    stamp: tuple[int, int] = (0, 0)
    digest: str | None = None
    sizes: list[int] = field(default_factory=list)


def write(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'{"a": NaN}', b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000, b"{}\0"],
)
def test_what_is_no_json_object_is_told_in_a_line(tmp_path, content):
    with pytest.raises(InputError, match="^[^\n]+ is damaged: [^\n]+$") as raised:
        read_json(write(tmp_path, content))
    assert len(str(raised.value)) < 600


def test_a_missing_file_is_told_in_a_line(tmp_path):
    with pytest.raises(InputError, match="missing cannot be read: No such file"):
        read_json(tmp_path / "missing")


def test_lines_end_where_lines_end(tmp_path):
    assert read_lines(write(tmp_path, "a\u2028b\r\nc\x0cd\x85e\n\nf")) == ["a\u2028b", "c\x0cd\x85e", "", "f"]
    assert read_lines(write(tmp_path, "a\n")) == ["a"]


def test_a_line_that_was_being_written_is_left_out_and_a_damaged_one_named(tmp_path):
    assert read_json_lines(write(tmp_path, '{"a": 1}\n{"b')) == [{"a": 1}]
    with pytest.raises(InputError, match="line 2 is damaged"):
        read_json_lines(write(tmp_path, '{"a": 1}\n{"b\n'))


def test_a_yaml_bomb_is_refused_at_once(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in pairwise("abcdefghi"):
        lines.append(f"{name}: &{name} [{', '.join(['*' + before] * 10)}]")
    with pytest.raises(InputError, match="holds more than 100,000 values"):
        read_yaml(write(tmp_path, "\n".join(lines)))
    with pytest.raises(InputError, match="more than"):
        read_yaml(write(tmp_path, "a: &a [*a]"))


def test_yaml_aliases_that_are_meant_are_taken(tmp_path):
    assert read_yaml(write(tmp_path, "a: &a {x: 1}\nb: *a\n")) == {"a": {"x": 1}, "b": {"x": 1}}


def test_a_key_that_is_given_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="'seed' is given twice .line 3"):
        read_yaml(write(tmp_path, "training:\n  seed: 1\n  seed: 2\n"))


@pytest.mark.parametrize("content", ["a: 2026-99-99", "- a", "", "a: b: c", "? [a]\n: 1", "a: !!python/object:os.system {}"])
def test_other_yaml_is_told_in_a_line(tmp_path, content):
    with pytest.raises(InputError, match="^[^\n]+$"):
        read_yaml(write(tmp_path, content))


def test_a_row_is_checked_field_by_field():
    given = {"name": "a", "frames": 3, "seconds": 1, "stamp": [1, 2], "sizes": [4, 5]}
    assert to_dataclass(Row, given, "row") == Row("a", 3, 1.0, (1, 2), None, [4, 5])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"frames": "3"}, "frames is '3'"),
        ({"frames": True}, "frames is True"),
        ({"frames": 3.0}, "frames is 3.0"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"stamp": [1]}, "stamp is"),
        ({"stamp": [1, "2"]}, "stamp is"),
        ({"digest": 5}, "digest is 5"),
        ({"sizes": [1, None]}, "sizes is"),
        ({"name": "x" * 10_000, "frames": None}, "frames is None"),
        ({"colour": 1}, "unknown field 'colour'"),
    ],
)
def test_a_field_of_another_type_is_named(change, told):
    with pytest.raises(InputError, match=told) as raised:
        to_dataclass(Row, {"name": "a", "frames": 3, **change}, "rows.jsonl, line 5")
    assert str(raised.value).startswith("rows.jsonl, line 5 is damaged")


def test_a_missing_field_is_named():
    with pytest.raises(InputError, match="the field 'frames' is missing"):
        to_dataclass(Row, {"name": "a"}, "row")
