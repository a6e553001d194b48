"""Small files that tell a later run what was done: a damaged one is named in a line."""

import json

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_json
from mert_hf.comparison.cells import Music
from mert_hf.synthetic.benchmark import _claim
from mert_hf.synthetic.corpus import claim_corpus
from mert_hf.synthetic.piece import generate_piece
from mert_hf.synthetic.score.labels import PieceLabels

DAMAGED = (b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"1" * 5000, b"[" * 100_000, b'{"version": NaN}', b"{}")


def read_labels(file):
    return PieceLabels.from_dict(read_json(file), str(file))


def claim_music(folder):
    (folder / "music").mkdir(exist_ok=True)
    Music(folder / "music").claim(folder)


NOTES = {
    "benchmark.json": lambda folder: _claim(folder, "1"),
    "corpus.json": lambda folder: claim_corpus(folder, {"seed": 1}),
    "music.json": claim_music,
    "piece_00000.json": lambda folder: read_labels(folder / "piece_00000.json"),
}


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("number", range(len(DAMAGED)))
def test_damaged_notes_are_named(tmp_path, name, number):
    (tmp_path / name).write_bytes(DAMAGED[number])
    with pytest.raises(InputError) as refused:
        NOTES[name](tmp_path)
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


CHANGES = ({"notes": [{"pitch": 1}]}, {"notes": [None]}, {"chords": {}}, {"tonic": "C"}, {"tempo_bpm": None}, {"drum_hits": 1})


@pytest.mark.parametrize("change", CHANGES)
def test_labels_of_a_piece_are_checked_field_by_field(tmp_path, change):
    labels = generate_piece([0, 0], 2.0, 24000).labels
    file = tmp_path / "piece.json"
    file.write_text(json.dumps(labels.to_dict()))
    assert read_labels(file) == labels
    file.write_text(json.dumps({**labels.to_dict(), **change}))
    with pytest.raises(InputError, match=r"piece.json.* is damaged"):
        read_labels(file)
