"""EmbedColumn in `map` of datasets: the vectors, what cannot be read, and the cache, also of another process."""

import os
import subprocess
import sys

import numpy as np
import pytest
from datasets import Audio, Dataset, load_from_disk
from datasets.fingerprint import Hasher

from mert_hf import MusicEncoder
from mert_hf.common.errors import InputError
from mert_hf.integrations.embed_column import EmbedColumn

HASH = """
import sys
from datasets.fingerprint import Hasher
from mert_hf.integrations.embed_column import EmbedColumn
print(Hasher.hash(EmbedColumn(sys.argv[1], layers={0: 0.5, 1: 0.5}, device="cpu")))
"""


def make_dataset(songs, **audio) -> Dataset:
    return Dataset.from_dict({"audio": songs, "number": list(range(len(songs)))}).cast_column("audio", Audio(**audio))


@pytest.mark.parametrize("options", [{}, {"pool": "mean_std", "layers": [0, 2]}])
def test_a_column_of_vectors_beside_the_others(model_folder, songs, options):
    dataset = make_dataset(songs, decode=False)
    found = dataset.map(EmbedColumn(model_folder, device="cpu", **options), batched=True, batch_size=4)
    assert found.column_names == ["audio", "number", "vector"] and found["number"] == list(range(6))
    expected = MusicEncoder(model_folder, device="cpu").encode(songs, progress=False, **options)
    found = found.with_format("numpy", columns=["vector"])["vector"][:]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_paths_and_another_name(model_folder, songs):
    dataset = Dataset.from_dict({"file": songs})
    found = dataset.map(EmbedColumn(model_folder, "file", "mert", device="cpu"), batched=True)
    expected = MusicEncoder(model_folder, device="cpu").encode(songs, progress=False)
    np.testing.assert_allclose(found["mert"], expected, atol=2e-5)


@pytest.mark.parametrize("batch_size", [1, 4])  # of 1: batches of which nothing can be used, the first among them
def test_rows_that_cannot_be_read_are_left_out_where_that_is_agreed(model_folder, songs, tmp_path, batch_size):
    (tmp_path / "text.mp3").write_text("no audio")
    given = [str(tmp_path / "text.mp3"), *songs[:2], str(tmp_path / "missing.wav"), songs[2]]
    dataset = Dataset.from_dict({"audio": given})
    with pytest.raises(InputError, match=r"text\.mp3"):
        dataset.map(EmbedColumn(model_folder, device="cpu"), batched=True, batch_size=batch_size)
    embed = EmbedColumn(model_folder, on_error="skip", device="cpu")
    found = dataset.map(embed, batched=True, batch_size=batch_size)
    assert [bool(np.isnan(vector).all()) for vector in found["vector"]] == [True, False, False, True, False]
    kept = found.filter(lambda row: np.isfinite(row["vector"]).all())
    assert kept["audio"] == songs[:3]
    expected = MusicEncoder(model_folder, device="cpu").encode(songs[:3], progress=False)
    np.testing.assert_allclose(kept["vector"], expected, atol=2e-5)
    # a mistake of the caller is none of the rows
    with pytest.raises(InputError, match="layer 9 does not exist"):
        dataset.map(EmbedColumn(model_folder, layers=9, on_error="skip", device="cpu"), batched=True, batch_size=batch_size)


def test_what_was_embedded_once_is_found_again(model_folder, songs, tmp_path, monkeypatch):
    make_dataset(songs[:2], decode=False).save_to_disk(tmp_path / "data")  # datasets in memory have no cache
    dataset = load_from_disk(tmp_path / "data")
    options = {"layers": {0: 0.5, 1: 0.5}, "device": "cpu"}
    first = dataset.map(EmbedColumn(model_folder, **options), batched=True)
    used = EmbedColumn(model_folder, **options)
    used({"audio": songs[:1]})  # loaded, and of the same settings
    monkeypatch.setattr(MusicEncoder, "encode", lambda *_, **__: pytest.fail("it was computed again"))
    again = dataset.map(used, batched=True)
    assert again._fingerprint == first._fingerprint
    assert again["vector"] == first["vector"]
    command = [sys.executable, "-c", HASH, model_folder]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert told.stdout.strip() == Hasher.hash(used)
    assert Hasher.hash(EmbedColumn(model_folder, layers=1, device="cpu")) != Hasher.hash(used)


def test_two_processes(model_folder, songs):
    dataset = make_dataset(songs, decode=False)
    found = dataset.map(EmbedColumn(model_folder, device="cpu"), batched=True, batch_size=2, num_proc=2)
    expected = MusicEncoder(model_folder, device="cpu").encode(songs, progress=False)
    np.testing.assert_allclose(found["vector"], expected, atol=2e-5)


def test_bad_input_is_one_message(model_folder, songs):
    dataset = Dataset.from_dict({"audio": songs, "title": ["a"] * 6})
    with pytest.raises(InputError, match="there is no column 'sound' to embed; there are 'audio', 'title'"):
        dataset.map(EmbedColumn(model_folder, "sound", device="cpu"), batched=True)
    with pytest.raises(InputError, match=r"'audio' holds one str; give dataset.map\(..., batched=True\)"):
        dataset.map(EmbedColumn(model_folder, device="cpu"))
    with pytest.raises(InputError, match="EmbedColumn has no option 'layer'; there are layers, batch_size"):
        EmbedColumn(model_folder, layer=1)
    with pytest.raises(InputError, match="pool=None makes no vector of a clip"):
        EmbedColumn(model_folder, pool=None)
    with pytest.raises(InputError, match="must be a folder or a repository such as 'm-a-p/MERT-v1-95M'"):
        EmbedColumn(MusicEncoder(model_folder, device="cpu").model)
