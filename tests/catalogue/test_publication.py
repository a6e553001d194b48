"""A catalogue as a dataset of the Hub: what arrives, what it tells, and that it can be searched from there."""

from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, HfApi, snapshot_download
from loopback_hub.fixtures import TOKEN, hub
from support.catalogues import read_rows, save_model, write_songs

from mert_hf import cli
from mert_hf.catalogue import Catalogue, embed, push_to_hub
from mert_hf.common.errors import InputError

__all__ = ["hub"]
REPO = "ada/vectors"


@pytest.fixture
def folder(tmp_path):
    model = save_model(tmp_path / "my model")
    for album in ("one", "two"):
        write_songs(tmp_path / "private music" / album, 3, 0.3)
    embed([tmp_path / "private music" / "one"], tmp_path / "out", model, dtype="float32", progress=False)
    embed([tmp_path / "private music" / "two"], tmp_path / "out", model, dtype="float32", progress=False)
    return tmp_path / "out"


def test_it_arrives_and_is_searched_from_there(hub, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    Catalogue(folder).build_graph(progress=False)
    published = push_to_hub(folder, REPO, licence="cc-by-nc-4.0")
    info = HfApi().dataset_info(REPO)
    assert info.private and info.sha == published.commit and published.tag == "v1"
    card = DatasetCard.load(REPO)
    assert card.data.license == "cc-by-nc-4.0" and "6 pieces of music" in card.text and "my model" in card.text
    # as anybody reads it
    table = load_dataset(REPO, split="train")
    rows = read_rows(folder)
    assert sorted(map(tuple, np.float32(table["vector"][:]))) == sorted(
        tuple(np.float32(row["vector"])) for row in rows.values()
    )
    assert sorted(table["name"][:]) == sorted(row["name"] for row in rows.values()) and len(set(table["path"][:])) == 6
    # with this package; the graph went along
    here = snapshot_download(REPO, repo_type="dataset")
    one, other = Catalogue(here), Catalogue(folder)
    assert [hit.score for hit in one.search(2, 4, method="graph")] == pytest.approx([hit.score for hit in other.search(2, 4)])
    # nothing of the machine
    for file in (file for file in Path(here).rglob("*") if file.is_file()):
        content = file.read_bytes()
        assert str(tmp_path).encode() not in content and b"private music" not in content, file
    assert push_to_hub(folder, REPO).tag == "v2"


def test_the_command_embeds_and_publishes(hub, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    words = ["embed", str(tmp_path / "private music"), "-o", str(tmp_path / "new"), "--model", str(tmp_path / "my model")]
    cli.main([*words, "--dtype", "float32", "--push_to_hub", REPO, "--public", "--license", "cc-by-4.0"])
    assert "6 tracks embedded" in (told := capsys.readouterr().out) and "Published: " in told
    info = HfApi().dataset_info(REPO)
    assert not info.private and info.card_data.license == "cc-by-4.0"
    with pytest.raises(SystemExit, match="who cannot publish as eve"):  # before anything is embedded
        cli.main([*words[:3], str(tmp_path / "none"), *words[4:], "--push_to_hub", "eve/vectors"])
    assert not (tmp_path / "none").exists()


def test_refusals_come_before_the_work(hub, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(InputError, match="token"):
        push_to_hub(folder, REPO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(InputError, match="who cannot publish as eve"):
        push_to_hub(folder, "eve/vectors")
    with pytest.raises(InputError, match="is no catalogue"):
        push_to_hub(tmp_path, REPO)
    assert not HfApi().repo_exists(REPO, repo_type="dataset")
