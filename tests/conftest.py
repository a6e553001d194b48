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

from mert_hf import MERTConfig

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
