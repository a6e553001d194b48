"""Names in tables and on disks that differ by how an accented letter is written."""

import pytest

from mert_hf.common.errors import InputError
from mert_hf.data.names import FilesBelow, Names, one_spelling

ONE, TWO = "caf\u00e9.wav", "cafe\u0301.wav"


@pytest.mark.parametrize(("there", "asked"), [(ONE, TWO), (TWO, ONE), (ONE, ONE), (TWO, TWO)])
def test_either_spelling_finds_the_one_that_is_there(tmp_path, there, asked):
    assert Names([there, "cafe.wav"]).find(asked) == there
    (tmp_path / "bar").mkdir()
    (tmp_path / "bar" / there).touch()
    assert FilesBelow(tmp_path).path(f"bar/{asked}") == tmp_path / "bar" / there
    assert Names([there]).find("cafe.wav") is None
    assert FilesBelow(tmp_path).path(f"pub/{asked}") == tmp_path / "pub" / asked


def test_folders_may_be_spelled_otherwise_too(tmp_path):
    (tmp_path / "Bjo\u0308rk").mkdir()
    (tmp_path / "Bjo\u0308rk" / ONE).touch()
    assert FilesBelow(tmp_path).path(f"Bj\u00f6rk/{TWO}").is_file()


def test_of_two_files_with_the_same_letters_the_table_must_say_which():
    names = Names([ONE, TWO])
    assert [names.find(ONE), names.find(TWO)] == [ONE, TWO]
    both = Names(["e\u0323\u0302", "\u1eb9\u0302"])  # two spellings beside the composed one
    with pytest.raises(InputError, match="may mean any of 2 files") as refused:
        both.find("\u1ec7")
    assert "\n" not in str(refused.value)
    assert one_spelling(ONE) == one_spelling(TWO) == ONE
