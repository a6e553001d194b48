"""A base that names a stranger's code: nothing that is made of it does, whichever way it leaves."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    Wav2Vec2FeatureExtractor,
    pipeline,
)

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForPreTraining, MultiViewConfig, MultiViewModel, models
from mert_hf.architectures.initial_weights import InitSettings, make_config, read_config
from mert_hf.common.errors import InputError
from mert_hf.models.remote_code_mert import AUTO_MAP, CUSTOM_PIPELINES, MULTIVIEW_AUTO_MAP
from mert_hf.publishing.model_card import CardFacts
from mert_hf.publishing.staging import stage

STRANGER = "mallory/evil--evil"
TEMPLATE = Path(__file__).parents[2] / "model_cards" / "template.md"


def poison(folder):
    """Name a stranger's code wherever a file of the folder may name code."""
    names = ("AutoConfig", "AutoModel", "AutoModelForPreTraining", "AutoModelForCausalLM", "AutoProcessor", "AutoTokenizer")
    config, extractor = folder / "config.json", folder / "preprocessor_config.json"
    foreign = {name: f"{STRANGER}.Evil" for name in (*names, "AutoFeatureExtractor")}
    evil = {"impl": f"{STRANGER}.Pipe", "pt": ["AutoModel"], "type": "audio"}
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "auto_map": foreign, "custom_pipelines": {"feature-extraction": evil}}))
    content = json.loads(extractor.read_text())
    extractor.write_text(json.dumps({**content, "auto_map": foreign, "processor_class": "Evil", "evil": f"{STRANGER}.Evil"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": [f"{STRANGER}.Evil", None]}}))
    for file in folder.glob("*.py"):
        file.write_text("raise RuntimeError('a stranger')\n")
    (folder / "evil.py").write_text("raise RuntimeError('a stranger')\n")
    return folder


@pytest.fixture
def base(tiny_config, tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "base"
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return poison(folder)


def save_model(base, out):
    AutoModel.from_pretrained(base).save_pretrained(out)
    AutoFeatureExtractor.from_pretrained(base).save_pretrained(out)


def save_classifier(base, out):
    AutoModelForAudioClassification.from_pretrained(base).save_pretrained(out)
    MERTFeatureExtractor.from_dict(Wav2Vec2FeatureExtractor.from_pretrained(base).to_dict()).save_pretrained(out)


def save_configuration(base, out):
    AutoConfig.from_pretrained(base).save_pretrained(out)
    MERTFeatureExtractor.from_pretrained(base).save_pretrained(out)


def save_pipeline(base, out):
    pipeline("feature-extraction", model=str(base)).save_pretrained(out)


def save_made_from_its_configuration(base, out):
    given = json.loads((base / "config.json").read_text())
    MERTForPreTraining(MERTConfig(**{**given, "num_hidden_layers": 1})).save_pretrained(out)
    AutoFeatureExtractor.from_pretrained(base).save_pretrained(out)


def save_staged(base, out):
    out.mkdir()
    stage(base, out, "user/name", CardFacts(license="mit"), TEMPLATE)


WAYS = [save_model, save_classifier, save_configuration, save_pipeline, save_made_from_its_configuration, save_staged]


@pytest.mark.parametrize("save", WAYS)
def test_what_is_saved_names_this_code_alone(base, tmp_path, save):
    out = tmp_path / "out"
    save(base, out)
    for file in out.glob("*.json"):
        assert "evil" not in file.read_text().lower(), file.name
        assert not re.search(r'"[^"\s]+--[^"\s]+"', file.read_text()), file.name
    config = json.loads((out / "config.json").read_text())
    assert config["auto_map"] == AUTO_MAP and config["custom_pipelines"] == CUSTOM_PIPELINES
    extractor = json.loads((out / "preprocessor_config.json").read_text())
    assert extractor["auto_map"] == {"AutoFeatureExtractor": AUTO_MAP["AutoFeatureExtractor"]}
    for file in out.glob("*.py"):
        assert file.read_bytes() == (Path(models.__file__).parent / file.name).read_bytes()


def test_the_other_models_name_this_code_alone_too(tmp_path):
    config = MultiViewConfig(width=2, num_attention_heads=2, hidden_size=8, blocks=(1, 1, 1, 1))
    MultiViewModel(config).save_pretrained(tmp_path / "base")
    MERTFeatureExtractor(sampling_rate=16000, min_samples=1).save_pretrained(tmp_path / "base")
    save_model(poison(tmp_path / "base"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["auto_map"] == MULTIVIEW_AUTO_MAP and config["custom_pipelines"] == CUSTOM_PIPELINES


def test_models_of_transformers_are_staged_without_code(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    shape = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    base, out = tmp_path / "base", tmp_path / "out"
    Data2VecAudioModel(Data2VecAudioConfig(**sizes, **shape)).save_pretrained(base)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(base)
    shutil.copytree(base, tmp_path / "poisoned")
    given = read_config(Data2VecAudioConfig, InitSettings(str(poison(tmp_path / "poisoned"))))
    assert not hasattr(make_config(Data2VecAudioConfig, {}, given), "auto_map")
    file = tmp_path / "poisoned" / "preprocessor_config.json"
    with pytest.raises(InputError, match="preprocessor_config.json names code of another repository"):
        save_staged(tmp_path / "poisoned", tmp_path / "refused")  # in a field that nobody knows
    file.write_text(json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != "evil"}))
    save_staged(tmp_path / "poisoned", out)
    assert all("evil" not in file.read_text().lower() for file in out.glob("*.json"))
    assert not list(out.glob("*.py"))


@pytest.mark.parametrize("name", ["AUTO_MAP", "MULTIVIEW_AUTO_MAP"])
def test_the_names_are_those_of_classes(name):
    import importlib

    for reference in [*globals()[name].values(), *(entry["impl"] for entry in CUSTOM_PIPELINES.values())]:
        module, _, cls = reference.rpartition(".")
        assert isinstance(getattr(importlib.import_module(f"mert_hf.models.{module}"), cls), type)


@pytest.mark.parametrize("content", [{"notes": [{"x": f"{STRANGER}.Evil"}]}, {f"{STRANGER}.Evil": 1}, {"a": "evil--b.C"}])
def test_results_that_name_other_code_are_not_published(base, tmp_path, content, monkeypatch):
    monkeypatch.setattr("mert_hf.publishing.staging._check_without_package", lambda *_: None)
    (base / "results.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"results.json names code of another repository, '.*evil--.*'"):
        save_staged(base, tmp_path / "out")


def test_a_kind_of_model_that_only_its_own_code_knows_is_not_run(base, tmp_path):
    content = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**content, "model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))
    with pytest.raises(InputError, match="cannot be loaded"):
        save_staged(base, tmp_path / "out")


def test_other_code_in_what_is_staged_is_refused(base, tmp_path, monkeypatch):
    monkeypatch.setattr("mert_hf.publishing.staging._check_without_package", lambda *_: None)
    save = MERTForPreTraining.save_pretrained

    def save_with_more(self, folder, **kwargs):
        save(self, folder, **kwargs)
        (Path(folder) / "spectra_mert.py").write_text("print('a stranger')\n")

    monkeypatch.setattr(MERTForPreTraining, "save_pretrained", save_with_more)
    with pytest.raises(InputError, match=r"spectra_mert.py is not the file of mert_hf that is installed"):
        save_staged(base, tmp_path / "out")
