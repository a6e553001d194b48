"""What a user reads who asks the Hub for something it does not give: the name, the reason, and no token."""

import socket

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, pipeline

from mert_hf import MERTFeatureExtractor, MERTForPreTraining, MERTModel

REPO = "ada/tiny-mert"


@pytest.fixture
def folder(tiny_config, tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "model"
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return folder


def refused(load, *arguments, **options) -> str:
    with pytest.raises((OSError, ValueError)) as caught:
        load(*arguments, **options)
    message = str(caught.value)
    assert "hf_" not in message.replace("hf_hub", "").replace("mert_hf", "")  # no token
    return message


LOADERS = [
    MERTModel.from_pretrained,
    AutoModel.from_pretrained,
    lambda name, **o: pipeline("feature-extraction", model=name, **o),
]


@pytest.mark.parametrize("load", LOADERS)
def test_no_such_repository(hub, load):
    message = refused(load, "ada/nothing-here")
    assert "ada/nothing-here" in message and "not a valid model identifier" in message


@pytest.mark.parametrize("load", LOADERS)
def test_a_wrong_token(hub, folder, load):
    hub.add_repository(REPO, folder, private=True)
    assert "Invalid credentials" in refused(load, REPO, token="hf_wrong")


@pytest.mark.parametrize("load", LOADERS)
def test_a_gated_repository(hub, folder, load):
    hub.add_repository(REPO, folder, gated=True)
    message = refused(load, REPO, token="hf_other")
    assert REPO in message and "gated" in message


@pytest.mark.parametrize("load", LOADERS)
def test_no_network(hub, load, monkeypatch):
    def unreachable(*_):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    message = refused(load, "ada/not-in-the-cache")
    assert "couldn't connect" in message.lower() or "internet connection" in message.lower()


def test_a_revision_that_is_not_there(hub, folder):
    hub.add_repository(REPO, folder)
    assert "v9" in refused(AutoModel.from_pretrained, REPO, revision="v9")


def test_a_model_of_another_type(hub, tmp_path):
    config = BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(tmp_path / "bert")
    hub.add_repository("ada/bert", tmp_path / "bert")
    assert "model_type 'bert' is not MERT" in refused(MERTModel.from_pretrained, "ada/bert")


def test_a_repository_without_weights(hub, folder):
    (folder / "model.safetensors").unlink()
    hub.add_repository(REPO, folder)
    assert "model.safetensors" in refused(AutoModel.from_pretrained, REPO)


def test_a_cache_that_cannot_be_written(hub, folder, tmp_path):
    hub.add_repository(REPO, folder)
    (tmp_path / "file").write_text("")
    message = refused(AutoModel.from_pretrained, REPO, cache_dir=tmp_path / "file" / "cache")
    assert str(tmp_path / "file") in message
