"""A folder is claimed by a note of what it is filled from."""

import json

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder


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
