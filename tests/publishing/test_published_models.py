"""MERT and other models through the loopback Hub: pushed, loaded by name, public and private, as README examples do it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback_hub.client import run_with_hub
from safetensors.torch import load_file
from support.sounds import make_tones
from transformers import AutoFeatureExtractor, AutoModel, HubertConfig, HubertModel, pipeline

from mert_hf import MERTFeatureExtractor, MERTForPreTraining, MERTModel

REPO = "ada/tiny-mert"


@pytest.fixture
def model(tiny_config) -> MERTForPreTraining:
    torch.manual_seed(0)
    return MERTForPreTraining(tiny_config).eval()


def push(model, **options) -> None:
    model.push_to_hub(REPO, token="hf_writer", **options)
    MERTFeatureExtractor().push_to_hub(REPO, token="hf_writer")


@torch.no_grad()
def test_push_and_load_by_name(hub, model):
    push(model)
    names = set(hub.files(REPO))
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= names
    assert [commit.title for commit in hub.commits(REPO)] == [
        "Upload feature extractor",
        "Upload MERTForPreTraining",
        "initial commit",
    ]
    waveform = torch.from_numpy(make_tones(1.0, 24000))[None]
    expected = model.base_model(waveform).last_hidden_state
    hub.requests.clear()
    loaded = AutoModel.from_pretrained(REPO)
    assert type(loaded) is MERTModel
    torch.testing.assert_close(loaded(waveform).last_hidden_state, expected)
    assert AutoFeatureExtractor.from_pretrained(REPO).sampling_rate == 24000
    features = pipeline("feature-extraction", model=REPO)(waveform[0].numpy(), return_tensors=True)
    assert features.shape == expected.shape
    assert not any("authorization" in request.headers for request in hub.requests)


@torch.no_grad()
def test_a_pinned_revision_keeps_its_weights(hub, model):
    push(model)
    first = hub.commits(REPO)[0].oid
    old = next(model.parameters()).clone()
    next(model.parameters()).add_(1)
    model.push_to_hub(REPO, token="hf_writer")
    name = next(name for name, _ in model.named_parameters())
    pinned, newest = (MERTForPreTraining.from_pretrained(REPO, revision=revision) for revision in (first, "main"))
    assert torch.equal(pinned.get_parameter(name), old)
    assert torch.equal(newest.get_parameter(name), old + 1)


def test_a_private_model_wants_the_right_token(hub, model, monkeypatch):
    push(model, private=True)
    assert hub.is_private(REPO)
    with pytest.raises(OSError, match="not a valid model identifier"):
        AutoModel.from_pretrained(REPO)
    with pytest.raises(OSError, match="Invalid credentials in Authorization header"):
        AutoModel.from_pretrained(REPO, token="hf_wrong")
    assert type(AutoModel.from_pretrained(REPO, token="hf_reader")) is MERTModel
    extract = pipeline("feature-extraction", model=REPO, token="hf_reader")
    assert np.shape(extract(make_tones(0.5, 24000)))[0] == 1
    monkeypatch.setenv("HF_TOKEN", "hf_reader")  # logged in
    assert type(AutoModel.from_pretrained(REPO)) is MERTModel


@torch.no_grad()
def test_a_repository_named_and_shaped_like_the_published_one(hub, tmp_path):
    """Its weights are a .bin, and nobody is asked to convert them."""
    source = Path(__file__).parents[1] / "equivalence" / "golden" / "hf_1_post_ln_24k"
    folder = tmp_path / "MERT-v1-95M"
    folder.mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copy(source / name, folder)
    hub.add_repository("m-a-p/MERT-v1-95M", folder)
    golden = load_file(source / "golden.safetensors")
    states = AutoModel.from_pretrained("m-a-p/MERT-v1-95M").eval()(golden["input_values"]).last_hidden_state
    torch.testing.assert_close(states, golden["last_hidden_state"], atol=2e-5, rtol=0)
    assert {request.endpoint for request in hub.requests} <= {"resolve", "download", "info"}


FROM_A_FRESH_PROCESS = """
import sys
import mert_hf
from transformers import AutoModel, pipeline
model = AutoModel.from_pretrained(sys.argv[1])
extract = pipeline("feature-extraction", model=sys.argv[1])
print(type(model).__name__, type(extract).__name__)
"""


def test_a_fresh_process_loads_a_private_model(hub, model, tmp_path):
    push(model, private=True)
    ran = run_with_hub(FROM_A_FRESH_PROCESS, hub, tmp_path / "cache", token="hf_reader", arguments=(REPO,))
    assert ran.stdout.split() == ["MERTModel", "MERTFeatureExtractionPipeline"], ran.stderr
    assert "hf_reader" not in ran.stdout + ran.stderr


WITHOUT_THE_PACKAGE = """
import sys
try:
    import mert_hf
except ImportError as error:
    print("absent")
from transformers import AutoModel
print(type(AutoModel.from_pretrained("ada/hubert")).__name__, "mert_hf" in sys.modules)
"""


def test_a_fresh_process_without_the_package(hub, tmp_path):
    config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7)
    HubertModel(config).save_pretrained(tmp_path / "hubert")
    hub.add_repository("ada/hubert", tmp_path / "hubert")
    ran = run_with_hub(WITHOUT_THE_PACKAGE, hub, tmp_path / "cache", without_package=True)
    assert ran.stdout.split() == ["absent", "HubertModel", "False"], ran.stderr
