"""A dataset of music on the loopback Hub, read by `datasets` by its name."""

import io

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, load_dataset
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import HfApi
from support.sounds import make_tones

REPO = "ada/music"


def flac(seconds: float, seed: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, make_tones(seconds, 24000, seed=seed), 24000, format="FLAC")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A parquet file of two tracks as `datasets` stores audio, and a card."""
    folder = tmp_path / "music"
    (folder / "data").mkdir(parents=True)
    tracks = [{"bytes": flac(0.5, seed), "path": f"{seed}.flac"} for seed in (1, 2)]
    columns = Dataset.from_dict({"audio": tracks, "key": ["C major", "A minor"]}).cast_column("audio", Audio(decode=False))
    columns.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\ntags: [music]\n---\n# Music\n")
    return folder


def test_dataset_info(hub, folder):
    last = hub.add_repository(REPO, folder, repo_type="dataset")
    info = HfApi().dataset_info(REPO)
    assert (info.sha, info.card_data.license, info.tags) == (last, "cc-by-4.0", ["music", "license:cc-by-4.0"])
    assert "data/train-00000-of-00001.parquet" in {sibling.rfilename for sibling in info.siblings}


def test_load_dataset_by_name_and_revision(hub, folder):
    first = hub.add_repository(REPO, folder, repo_type="dataset")
    hub.commit(REPO, {"data/train-00000-of-00001.parquet": None}, "Removed", repo_type="dataset")
    music = load_dataset(REPO, split="train", revision=first)
    assert music["key"][:] == ["C major", "A minor"]
    track = music.cast_column("audio", Audio(decode=False))[0]["audio"]
    samples, rate = soundfile.read(io.BytesIO(track["bytes"]))
    assert rate == 24000
    assert np.allclose(samples, make_tones(0.5, 24000, seed=1), atol=1e-4)


def test_streaming_reads_from_the_hub(hub, folder):
    hub.add_repository(REPO, folder, repo_type="dataset")
    rows = load_dataset(REPO, split="train", streaming=True).select_columns("key")
    assert [row["key"] for row in rows] == ["C major", "A minor"]


def test_a_private_dataset(hub, folder):
    hub.add_repository(REPO, folder, repo_type="dataset", private=True)
    with pytest.raises(DatasetNotFoundError, match="doesn't exist on the Hub or cannot be accessed"):
        load_dataset(REPO)
    assert load_dataset(REPO, split="train", token="hf_reader").num_rows == 2


def test_push_to_hub(hub):
    Dataset.from_dict({"x": [1, 2, 3]}).push_to_hub(REPO, token="hf_writer", private=True)
    assert hub.is_private(REPO, repo_type="dataset")
    assert load_dataset(REPO, split="train", token="hf_writer")["x"][:] == [1, 2, 3]
