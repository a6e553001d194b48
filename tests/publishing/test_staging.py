import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mert_hf import MERTFeatureExtractor, MERTForPreTraining, MERTModel, models
from mert_hf.common.errors import InputError
from mert_hf.publishing import staging
from mert_hf.publishing.model_card import CardFacts
from mert_hf.publishing.staging import stage

TEMPLATE = Path(__file__).parents[2] / "model_cards" / "template.md"
CODE = {file.name for file in Path(models.__file__).parent.glob("*_mert.py")}


@pytest.fixture
def run(tiny_config, tmp_path):
    """A run's folder: a model, results, a picture, and what must never be published."""
    folder = tmp_path / "run"
    torch.manual_seed(0)
    MERTForPreTraining(tiny_config).save_pretrained(folder / "model")
    MERTFeatureExtractor().save_pretrained(folder / "model")
    (folder / "results.json").write_text(json.dumps({"steps": 77}))
    (folder / "training_curves.png").write_bytes(b"a picture")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "optimizer.bin").write_bytes(b"moments")
    (folder / "model" / "optimizer.pt").write_bytes(b"moments")
    (folder / "model" / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "staged"
    folder.mkdir()
    return folder


@pytest.fixture
def alone(monkeypatch):
    """Leaves out the check in a fresh process, which takes seconds."""
    monkeypatch.setattr(staging, "_check_without_package", lambda *_: None)


def spoil(run, change):
    """Change the stored tensors."""
    file = run / "model" / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def publish(source, out, facts=None):
    return stage(source, out, "user/name", facts or CardFacts(license="mit"), TEMPLATE)


def test_what_is_published_is_what_is_named_and_nothing_else(run, out):
    staged = publish(run, out)
    names = {name for name, _ in staged.files}
    expected = {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "README.md",
        "results.json",
        "training_curves.png",
    }
    assert names == CODE | expected
    assert "| 77 |" in (out / "README.md").read_text()
    before, after = load_file(run / "model" / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(staged.checks) == 4


def test_the_folder_of_a_model_will_do(run, out, alone):
    publish(run / "model", out)
    assert "| 77 |" in (out / "README.md").read_text()  # the results of the run it belongs to


def test_a_model_without_heads_is_published_as_one(tiny_config, tmp_path, out, alone):
    MERTModel(tiny_config).save_pretrained(tmp_path / "bare")
    MERTFeatureExtractor().save_pretrained(tmp_path / "bare")
    publish(tmp_path / "bare", out)
    assert json.loads((out / "config.json").read_text())["architectures"] == ["MERTModel"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(run, out, alone, value):
    spoil(run, lambda tensors: tensors["cqt_head.bias"].fill_(value))
    with pytest.raises(InputError, match=r"1 tensors hold NaN or infinity, such as cqt_head\.bias"):
        publish(run, out)
    assert not list(out.iterdir())


def test_missing_weights_are_refused_not_drawn(run, out, alone):
    spoil(run, lambda tensors: tensors.pop("mert.encoder.layer_norm.weight"))
    with pytest.raises(InputError, match=r"lacks weights of MERTForPreTraining: mert\.encoder\.layer_norm\.weight would be"):
        publish(run, out)


def test_a_folder_that_does_not_work_without_the_package_is_refused(run, out, monkeypatch):
    save = MERTForPreTraining.save_pretrained

    def save_without_spectra(self, folder, **kwargs):
        save(self, folder, **kwargs)
        (Path(folder) / "spectra_mert.py").unlink()

    monkeypatch.setattr(MERTForPreTraining, "save_pretrained", save_without_spectra)
    with pytest.raises(InputError, match=r"the folder does not load without mert_hf: .*spectra_mert"):
        publish(run, out)


def test_other_features_without_the_package_are_refused(run, out, monkeypatch):
    save = MERTForPreTraining.save_pretrained

    def save_other_code(self, folder, **kwargs):
        save(self, folder, **kwargs)
        file = Path(folder) / "modeling_mert.py"
        file.write_text(
            file.read_text() + "\nMERTFeatureEncoder.forward = lambda self, values, *_: values.new_zeros(1, 16, 149)\n"
        )

    monkeypatch.setattr(MERTForPreTraining, "save_pretrained", save_other_code)
    with pytest.raises(InputError, match="other features without mert_hf, by AutoModel .*; it is not published"):
        publish(run, out)


@pytest.mark.parametrize(
    ("spoiler", "message"),
    [
        (lambda run: (run / "model" / "preprocessor_config.json").unlink(), "cannot be loaded: .*preprocessor_config.json"),
        (lambda run: (run / "model" / "config.json").unlink(), "holds no model: neither config.json nor model/config.json"),
        (lambda run: (run / "model" / "config.json").write_text("{"), "cannot be loaded"),
        (lambda run: (run / "model" / "model.safetensors").write_bytes(b"short"), "cannot be loaded"),
        (lambda run: (run / "results.json").write_text("{"), "results.json is no JSON"),
    ],
)
def test_a_broken_folder_is_refused(run, out, alone, spoiler, message):
    (run / "model" / "pytorch_model.bin").unlink()
    spoiler(run)
    with pytest.raises(InputError, match=message):
        publish(run, out)


def test_no_such_folder(tmp_path, out):
    with pytest.raises(InputError, match="there is no folder .*; give the folder of a run, or of a model"):
        publish(tmp_path / "none", out)


def test_a_place_that_cannot_be_written(run, tmp_path, alone):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        publish(run, tmp_path / "file" / "staged")


def test_no_place_of_this_machine_is_published(run, out, tmp_path, alone):
    base = str(tmp_path / "elsewhere" / "base" / "model")
    teacher = f"hidden states of {tmp_path}/teacher, 8 codes"
    (run / "results.json").write_text(json.dumps({"steps": 1, "base": base, "base_licence": None, "teacher": teacher}))
    dataset = {"id": str(tmp_path / "gtzan"), "name": str(tmp_path / "gtzan"), "split": "test", "revision": "0" * 12}
    row = {
        "task": "key",
        "title": "Key",
        "dataset": dataset,
        "metric": "accuracy",
        "value": 41.0,
        "notes": [str(Path.home() / "x")],
    }
    (run / "evaluation.json").write_text(json.dumps({"model": str(run), "title": "mine", "results": [row]}))
    (run / "training_curves.png").write_bytes(picture(("tEXt", str(tmp_path).encode()), ("iTXt", b"me"), ("IDAT", b"pixels")))
    publish(run, out)
    for file in out.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
        assert file.suffix == ".py" or str(Path.home() / "x").encode() not in file.read_bytes(), file.name
    results = json.loads((out / "results.json").read_text())
    assert (results["base"], results["teacher"]) == ("base", "hidden states of teacher, 8 codes")
    judged = json.loads((out / "evaluation.json").read_text())
    assert (judged["model"], judged["results"][0]["dataset"]["id"]) == ("run", "gtzan")
    assert "name: gtzan" in (out / "README.md").read_text() and "base_model" not in (out / "README.md").read_text()
    assert (out / "training_curves.png").read_bytes() == picture(("IDAT", b"pixels"))


def picture(*chunks):
    """A PNG, but for what is in it."""
    parts = [len(content).to_bytes(4, "big") + name.encode() + content + bytes(4) for name, content in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_what_a_person_states_must_not_tell_a_token_or_a_home(run, out, alone, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    with pytest.raises(InputError, match="README.md holds what looks like a token"):
        publish(run, out, CardFacts(license="mit", summary="made with hf_canary"))
    with pytest.raises(InputError, match="README.md tells where files lie on this machine"):
        publish(run, out, CardFacts(license="mit", training_data=f"the folder {Path.home()}/music"))
