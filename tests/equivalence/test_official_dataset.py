"""Manifest, text labels and dictionary as the official loader reads them, through the import into a label store."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mert_hf.conversion.fairseq_labels import import_labels
from mert_hf.data.label_store import LabelStore, label_span

GOLDEN = Path(__file__).parent / "golden" / "fairseq_dataset"
META = json.loads((GOLDEN / "meta.json").read_text())
TENSORS = load_file(GOLDEN / "golden.safetensors")
FILES = [GOLDEN / f"train.encodec_{book}" for book in range(8)]
SPECIALS = 4  # symbols in front of fairseq's dictionary


@pytest.fixture(params=["dictionary", "plain", "npy"])
def store(request, tmp_path):
    files, dictionary = FILES, None
    if request.param == "dictionary":
        dictionary = GOLDEN / "dict.encodec.txt"
    if request.param == "npy":
        files = []
        for file in FILES:
            rows = [np.array(line.split(), dtype=np.int16) for line in file.read_text().splitlines()]
            matrix = np.full((len(rows), max(map(len, rows))), -1, np.int16)
            for row, codes in zip(matrix, rows, strict=True):
                row[: len(codes)] = codes
            files.append(tmp_path / f"{file.name}.npy")
            np.save(files[-1], matrix)
    import_labels(GOLDEN / "train.tsv", files, tmp_path / "labels", dictionary=dictionary)
    return LabelStore(tmp_path / "labels")


def test_whole_tracks(store):
    assert {name: row.frames for name, row in store.rows.items()} == {
        f"clip_{number}.wav": length for number, length in enumerate(META["label_lengths"])
    }
    first_line = [int(code) for code in FILES[3].read_text().split("\n")[5].split()]
    assert store.read("clip_5.wav")[3].tolist() == first_line
    assert (store.codebook_sizes, store.header.dtype) == ([1024] * 8, np.dtype("<u2"))


@pytest.mark.parametrize("name", ["random_crop", "first_crop", "short_batch"])
def test_labels_of_crops_are_the_official_targets(store, name):
    """The official loader's crops, and its batch cut to the shortest labels; its classes lie 4 above the codes."""
    case = META["cases"][name]
    samples = case["source_shape"][1]
    spans = [label_span(start, samples, META["sample_rate"], META["label_rate"]) for start in case["audio_starts"]]
    labels = [store.read(file, *span) for file, span in zip(case["files"], spans, strict=True)]
    shortest = min(label.shape[1] for label in labels)
    assert torch.full((8, len(labels)), shortest).equal(TENSORS[f"{name}.target_lengths"])
    ours = torch.stack([label[:, :shortest] for label in labels], dim=1)
    assert torch.equal(ours + SPECIALS, TENSORS[f"{name}.targets"].long())


def test_a_dictionary_in_another_order_gives_the_classes_of_the_official_encoder(tmp_path):
    """class = 4 + line of the symbol; what is not there is an error, where the official code makes it unk (3)."""
    recorded = META["label_encoder"]
    assert recorded["text '0 5 1023 1024 x' with dict of 1024"] == [4, 9, 1027, 3, 3]
    assert recorded["numpy path [0,5,1023,-1,-1]"] == [0, 5, 1023]
    (tmp_path / "train.tsv").write_text("/music\na.wav\t1280\n")
    (tmp_path / "dict.txt").write_text("".join(f"{1023 - code} 1\n" for code in range(1024)))
    (tmp_path / "labels").write_text("0 5 1023 7\n")
    import_labels(tmp_path / "train.tsv", [tmp_path / "labels"], tmp_path / "out", dictionary=tmp_path / "dict.txt")
    assert LabelStore(tmp_path / "out").read("a.wav").tolist() == [[1023, 1018, 0, 1016]]
