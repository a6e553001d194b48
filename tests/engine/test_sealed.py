"""Folders that say of themselves whether they are as they were written."""

import hashlib
import json

import pytest

from mert_hf.engine.sealed import find_damage, is_sealed, seal


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "optimizer.bin").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "shards" / "0.distcp").write_bytes(b"weights")
    seal(tmp_path)
    return tmp_path


def test_the_digests_are_those_of_the_files(folder):
    digests = json.loads((folder / "digests.json").read_text())["sha256"]
    assert digests == {
        "optimizer.bin": hashlib.sha256(bytes(range(256)) * 40).hexdigest(),
        "shards/0.distcp": hashlib.sha256(b"weights").hexdigest(),
    }
    assert is_sealed(folder)
    assert find_damage(folder) is None
    (folder / ".DS_Store").write_bytes(b"put there by a file manager")
    assert find_damage(folder) is None
    seal(folder)  # it never holds a digest of itself
    assert find_damage(folder) is None


def test_one_bit_anywhere_is_noticed_and_the_file_is_named(folder):
    for name in ("optimizer.bin", "shards/0.distcp", "digests.json"):
        whole = (folder / name).read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 50)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            (folder / name).write_bytes(damaged)
            damage = find_damage(folder)
            # a bit of a digest looks like one of the file it is of; a bit of white space is none
            assert damage is not None or json.loads(damaged) == json.loads(whole)
            assert damage is None or name == "digests.json" or damage.startswith(f"{name} is damaged")
        (folder / name).write_bytes(whole[:-1] if name != "digests.json" else whole[:-3])
        assert find_damage(folder).startswith(name)
        (folder / name).unlink()
        assert "is missing" in find_damage(folder)
        assert name in find_damage(folder)
        (folder / name).write_bytes(whole)
    assert find_damage(folder) is None


@pytest.mark.parametrize("said", ["[]", "{}", '{"sha256": []}', '{"sha256": {}}', "\0", "", '{"sha256": {"../x": "0"}}'])
def test_a_seal_that_says_nothing_is_no_seal(folder, said):
    (folder / "digests.json").write_text(said)
    damage = find_damage(folder)
    assert damage
    assert "\n" not in damage
