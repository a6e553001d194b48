"""Embedder in `map` of datasets: the vectors, what cannot be read, and the cache, also of another process."""

import os
import subprocess
import sys

import numpy as np
import pytest
from datasets import Audio, Dataset, load_from_disk
from datasets.fingerprint import Hasher

from mert_hf import MusicEncoder
from mert_hf.catalogue import Embedder
from mert_hf.common.errors import InputError

HASH = """
import sys
from datasets.fingerprint import Hasher
from mert_hf.catalogue import Embedder
print(Hasher.hash(Embedder(sys.argv[1], layers={0: 0.5, 1: 0.5}, device="cpu")))
"""


def make_dataset(songs, **audio) -> Dataset:
    return Dataset.from_dict({"audio": songs, "number": list(range(len(songs)))}).cast_column("audio", Audio(**audio))


@pytest.mark.parametrize(
    ("options", "columns"), [({}, ["vector"]), ({"pool": "mean_std", "layers": [0, 2]}, ["layer_00", "layer_02"])]
)
def test_columns_of_vectors_beside_the_others(model_folder, songs, options, columns):
    dataset = make_dataset(songs, decode=False)
    found = dataset.map(Embedder(model_folder, device="cpu", **options), batched=True, batch_size=4)
    assert found["number"] == list(range(6)) and set(columns) < set(found.column_names)
    expected = MusicEncoder(model_folder, device="cpu").encode(songs, normalize=False, progress=False, **options)
    expected = expected[None] if len(columns) == 1 else expected.swapaxes(0, 1)
    for column, vectors in zip(columns, expected, strict=True):
        made = found.with_format("numpy", columns=[column])[column][:]
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, vectors, atol=2e-5)


@pytest.mark.parametrize("batch_size", [1, 4])  # of 1: batches of which nothing can be used, the first among them
@pytest.mark.parametrize("column", ["path", "audio"])
def test_rows_that_cannot_be_read_are_told_by_their_reason(model_folder, songs, tmp_path, batch_size, column):
    (tmp_path / "text.mp3").write_text("no audio")
    given = [str(tmp_path / "text.mp3"), *songs[:2], str(tmp_path / "missing.wav"), songs[2]]
    embed = Embedder(model_folder, device="cpu")
    found = Dataset.from_dict({column: given}).map(embed, batched=True, batch_size=batch_size)
    assert [bool(failure) for failure in found["failure"]] == [True, False, False, True, False]
    assert [bool(np.isnan(vector).all()) for vector in found["vector"]] == [True, False, False, True, False]
    kept = found.filter(lambda row: not row["failure"])
    assert kept[column] == songs[:3]
    expected = MusicEncoder(model_folder, device="cpu").encode(songs[:3], normalize=False, progress=False)
    np.testing.assert_allclose(kept["vector"], expected, atol=2e-5)
    # a mistake of the caller is none of the rows
    with pytest.raises(InputError, match="layer 9 does not exist"):
        Dataset.from_dict({column: given}).map(Embedder(model_folder, layers=9, device="cpu"), batched=True)


def test_what_was_embedded_once_is_found_again(model_folder, songs, tmp_path, monkeypatch):
    make_dataset(songs[:2], decode=False).save_to_disk(tmp_path / "data")  # datasets in memory have no cache
    dataset = load_from_disk(tmp_path / "data")
    options = {"layers": {0: 0.5, 1: 0.5}, "device": "cpu"}
    first = dataset.map(Embedder(model_folder, **options), batched=True)
    used = Embedder(model_folder, **options)
    used({"audio": songs[:1]})  # loaded, and of the same settings
    monkeypatch.setattr(MusicEncoder, "encode", lambda *_, **__: pytest.fail("it was computed again"))
    again = dataset.map(used, batched=True)
    assert again._fingerprint == first._fingerprint
    assert again["vector"] == first["vector"]
    command = [sys.executable, "-c", HASH, model_folder]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert told.stdout.strip() == Hasher.hash(used)
    assert Hasher.hash(Embedder(model_folder, layers=1, device="cpu")) != Hasher.hash(used)


def test_two_processes(model_folder, songs):
    dataset = make_dataset(songs, decode=False)
    found = dataset.map(Embedder(model_folder, device="cpu"), batched=True, batch_size=2, num_proc=2)
    expected = MusicEncoder(model_folder, device="cpu").encode(songs, normalize=False, progress=False)
    np.testing.assert_allclose(found["vector"], expected, atol=2e-5)


def test_bad_input_is_one_message(model_folder, songs):
    with pytest.raises(InputError, match='needs the column "path" or "audio"; this one has: song'):
        Dataset.from_dict({"song": songs}).map(Embedder(model_folder, device="cpu"), batched=True)
    with pytest.raises(InputError, match=r"'audio' holds one str; give several rows: dataset.map\(..., batched=True\)"):
        Dataset.from_dict({"audio": songs}).map(Embedder(model_folder, device="cpu"))
