"""A folder is claimed by a note of what it is filled from, and removed wholly or not at all."""

import json
import shutil

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder, fill_folder, remove_folder


def test_a_folder_is_claimed_once_and_tells_what_differs(tmp_path):
    note = tmp_path / "new" / "folder" / "note.json"
    facts = {"seed": 1, "duration_s": 30.0, "task": None}
    assert claim_folder(note, facts) == {}
    assert json.loads(note.read_text()) == facts
    assert claim_folder(note, facts) == {}
    assert claim_folder(note, {"seed": 2, "duration_s": 30.0, "rate": 8000}) == {"seed": (1, 2), "rate": (None, 8000)}
    assert json.loads(note.read_text()) == facts  # looked at, not changed
    assert claim_folder(note, {"seed": 1}) == {"duration_s": (30.0, None)}
    assert [file.name for file in note.parent.iterdir()] == ["note.json"]
    note.write_text("{")
    with pytest.raises(InputError, match=r"note\.json is damaged"):
        claim_folder(note, facts)


@pytest.mark.parametrize("way", ["removed", "filled anew"])
def test_a_folder_whose_removal_is_cut_short_is_not_there_by_half(tmp_path, monkeypatch, way):
    place = tmp_path / "checkpoint-2"
    place.mkdir()
    for name in ("digests.json", "model.safetensors"):
        (place / name).write_text(name)

    def killed(folder, *_, **__):
        if folder.is_dir() and any(folder.iterdir()):
            next(folder.iterdir()).unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        if way == "removed":
            remove_folder(place)
        else:
            with fill_folder(place):
                pass
    monkeypatch.undo()
    assert not place.exists()
    assert all(left.name.endswith(".partial") for left in tmp_path.iterdir())
    with fill_folder(place) as folder:
        (folder / "new").write_text("1")
    assert [left.name for left in tmp_path.iterdir()] == ["checkpoint-2"]
    remove_folder(place)
    remove_folder(place)
    assert not list(tmp_path.iterdir())
