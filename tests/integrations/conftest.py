"""A small model in a folder, which the integrations take by its name."""

import pytest
import soundfile
import torch
from loopback_hub.fixtures import hub
from support.sounds import make_tones

from mert_hf import MERTFeatureExtractor, MERTModel

__all__ = ["hub"]


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
