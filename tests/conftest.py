"""What all tests share: no network, small models, a little music."""

import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same results on every machine
# what datasets and evaluate write while they are tested goes when the tests do
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()
os.environ["HF_EVALUATE_CACHE"] = os.environ["HF_DATASETS_CACHE"]
os.environ["HF_METRICS_CACHE"] = os.environ["HF_DATASETS_CACHE"]
os.environ["HF_MODULES_CACHE"] = os.environ["HF_DATASETS_CACHE"]

import shutil
import socket

import numpy as np
import pytest
import soundfile
import torch
from support.small_runs import MODEL
from support.sounds import make_tones

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel

torch.set_num_threads(2)


def pytest_sessionfinish():
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Only loopback can be reached."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"tests have no network; something tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def tiny_config() -> MERTConfig:
    return MERTConfig(**MODEL)


@pytest.fixture
def music_folder(tmp_path):
    """Six tracks of 4 to 9 s in four formats, two rates, mono and stereo."""
    folder = tmp_path / "music"
    (folder / "album").mkdir(parents=True)
    for number, (name, rate) in enumerate(
        [
            ("a.wav", 24000),
            ("b.flac", 44100),
            ("c.ogg", 44100),
            ("d.mp3", 44100),
            ("album/e.wav", 22050),
            ("album/f.flac", 48000),
        ]
    ):
        tones = make_tones(4 + number, rate, seed=number)
        soundfile.write(folder / name, np.stack([tones, 0.5 * tones], axis=1) if number % 2 else tones, rate)
    return folder


@pytest.fixture
def model_folder(tmp_path, tiny_config):
    torch.manual_seed(0)
    folder = tmp_path / "model"
    MERTModel(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def songs(tmp_path):
    """Six of 0.3 to 1.3 s, in four formats and at three rates."""
    (tmp_path / "songs").mkdir()
    paths = []
    kinds, rates = ["wav", "flac", "ogg", "mp3", "wav", "flac"], [24_000, 44_100, 48_000] * 2
    for number, (kind, rate) in enumerate(zip(kinds, rates, strict=True)):
        paths.append(str(tmp_path / "songs" / f"{number}.{kind}"))
        soundfile.write(paths[-1], make_tones(0.3 + 0.2 * number, rate, number), rate)
    return paths
