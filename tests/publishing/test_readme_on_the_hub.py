"""The README's first examples, word for word, against repositories named like those they name."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch
from loopback_hub.client import ROOT
from support.sounds import make_tones
from transformers import pipeline

from mert_hf import MERTFeatureExtractor, MERTForSequenceClassification
from mert_hf.finetuning.settings import FinetuneSettings

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
USE, MODEL = (block for block in BLOCKS if '"m-a-p/MERT-v1-95M"' in block and "transformers" in block)
TRAINING = (ROOT / "training" / "README.md").read_text()
(CLASSIFY,) = [block for block in re.findall(r"```python\n(.*?)```", TRAINING, flags=re.S) if "audio-classification" in block]


@pytest.fixture
def with_published_models(hub, tmp_path, monkeypatch):
    """MERT-v1-95M at a tiny size: the official configuration, a .bin with the old names, the official preprocessor."""
    source = ROOT / "tests" / "equivalence" / "golden" / "hf_1_post_ln_24k"
    folder = tmp_path / "MERT-v1-95M"
    folder.mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copy(source / name, folder)
    preprocessor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 24000, "return_attention_mask": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    hub.add_repository("m-a-p/MERT-v1-95M", folder)
    monkeypatch.chdir(tmp_path)
    soundfile.write("song.mp3", make_tones(2.0, 44100), 44100)
    return json.loads((folder / "config.json").read_text())


def test_six_lines_give_features(with_published_models):
    assert len([line for line in USE.splitlines() if line.strip()]) <= 6
    names = {}
    exec(USE, names)
    frames, hidden = names["features"].shape[1:]
    assert hidden == with_published_models["hidden_size"]
    assert 145 <= frames <= 150  # two seconds at 75 a second


@torch.no_grad()
def test_the_model_itself_gives_all_layers(with_published_models):
    names = {"song": make_tones(1.0, 24000), "other": np.asarray(make_tones(0.5, 24000))}
    exec(MODEL, names)
    assert len(names["states"]) == with_published_models["num_hidden_layers"] + 1
    assert names["states"][0].shape == (2, 74, with_published_models["hidden_size"])


def test_a_file_is_classified_without_the_program_ffmpeg(tiny_config, tmp_path, monkeypatch):
    tiny_config.num_labels = 3
    model = tmp_path / "runs" / "genres" / "model"
    MERTForSequenceClassification(tiny_config).save_pretrained(model)
    MERTFeatureExtractor().save_pretrained(model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    soundfile.write("song.mp3", make_tones(2.0, 44100), 44100)
    names = {"pipeline": pipeline}
    exec(CLASSIFY, names)
    assert sum(found["score"] for found in names["classes"]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="ffmpeg was not found"):
        names["classify"]("song.mp3")
    assert f"clips of `--data.clip_s`, {FinetuneSettings().data.clip_s:g} s" in TRAINING
