"""The model that comes with the package is taken wherever none is named, without a network; another one where it is named."""

import importlib.util
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones
from transformers import AutoModel

import mert_hf
from mert_hf import MusicEncoder, cli, find_model
from mert_hf.catalogue import Embedder, embed
from mert_hf.commands import COMMANDS
from mert_hf.common import packages
from mert_hf.common.errors import InputError
from mert_hf.common.places import CARDS
from mert_hf.encoding import released
from mert_hf.encoding.released import DEFAULT_MODEL
from mert_hf.finetuning.run import build_model, read_sampling_rate
from mert_hf.finetuning.settings import FinetuneSettings
from mert_hf.integrations.lazy_encoder import LazyEncoder
from mert_hf.integrations.scikit_learn import MusicFeatures

FOLDER = CARDS / DEFAULT_MODEL
TAKING = {
    "embed": ["music", "-o", "out"],
    "inspect": ["song.wav"],
    "demo": [],
    "retrieval": ["-o", "out"],
    "probe": ["--suite", "synthetic"],
}


def module_of_sentence_transformers(*model):
    pytest.importorskip("sentence_transformers", reason='pip install "mert_hf[sentence-transformers]"')
    from mert_hf.integrations.sentence_transformer import MERTModule

    return MERTModule(*model)._encoder()


def encoder_of_mteb(*model):
    pytest.importorskip("mteb", reason='pip install "mert_hf[mteb]"')
    from mert_hf.integrations.mteb_encoder import MtebMusicEncoder

    return MtebMusicEncoder(*model, device="cpu").model


ENTRIES = {
    "MusicEncoder": lambda *model: MusicEncoder(*model, device="cpu"),
    "Embedder": lambda *model: Embedder(*model, device="cpu").encoder,
    "LazyEncoder": lambda *model: LazyEncoder(*model, device="cpu").load(),
    "MusicFeatures": lambda *model: MusicFeatures(*model, device="cpu")._prepare().load(),
    "MERTModule": module_of_sentence_transformers,
    "MtebMusicEncoder": encoder_of_mteb,
}
every_entry = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


@pytest.fixture
def song(tmp_path, monkeypatch):
    """In a folder where the process stands."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("song.wav", make_tones(2.0, 44100), 44100)
    return str(tmp_path / "song.wav")


@pytest.fixture
def nothing_released(tmp_path, monkeypatch):
    """A copy of the package without the models that come with it."""
    monkeypatch.setattr(released, "CARDS", tmp_path / "model_cards")
    monkeypatch.chdir(tmp_path)


def fails(*words) -> str:
    """The line with which a command ends."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code.startswith("error: ") and "\n" not in ended.value.code
    return ended.value.code


@every_entry
def test_it_is_taken_where_none_is_named_and_no_other(entry, model_folder):
    default = MusicEncoder(FOLDER, device="cpu")
    assert entry().fingerprint() == default.fingerprint()
    assert entry(model_folder).fingerprint() == MusicEncoder(model_folder, device="cpu").fingerprint() != default.fingerprint()


def test_classes_of_transformers_find_it():
    assert AutoModel.from_pretrained(find_model()).config.hidden_size == MusicEncoder(FOLDER).hidden_size
    assert find_model("user/name") == "user/name"


def test_it_is_fine_tuned_where_no_base_is_named(model_folder):
    settings = FinetuneSettings()
    assert settings.model.base == DEFAULT_MODEL and read_sampling_rate(settings.model.base) == 24000
    built, _ = build_model(settings, ["calm", "wild"])
    found = built.base_model.state_dict()
    expected = AutoModel.from_pretrained(FOLDER).state_dict()
    assert all((found[name] == weights).all() for name, weights in expected.items())
    settings.model.base = model_folder
    assert build_model(settings, ["calm", "wild"])[0].config.hidden_size == 32


@pytest.mark.parametrize("name", TAKING)
def test_commands_take_it_and_their_help_says_so(name, capsys, monkeypatch):
    monkeypatch.delenv("MODEL", raising=False)
    (command,) = (command for group in COMMANDS.values() for command in group if command.name == name)
    parse = cli._parser(command).parse_args
    assert parse([name, *TAKING[name]]).model == DEFAULT_MODEL
    assert parse([name, *TAKING[name], "--model", "user/name"]).model == "user/name"
    with pytest.raises(SystemExit):
        parse([name, "--help"])
    assert DEFAULT_MODEL in capsys.readouterr().out


def test_a_catalogue_is_of_it_and_says_so(song, model_folder, capsys, caplog):
    caplog.set_level(logging.INFO, "mert_hf")
    cli.main(["embed", song, "-o", "catalogue", "--device", "cpu", "--dtype", "float32"])
    assert f"Embedding with {DEFAULT_MODEL}, which comes with mert_hf" in caplog.text
    assert "1 tracks embedded" in capsys.readouterr().out
    how = dict(device="cpu", dtype="float32", progress=False)
    assert embed([song], "catalogue", **how).known == 1
    with open("catalogue/catalogue.json") as file:
        assert json.load(file)["model"] == DEFAULT_MODEL
    soundfile.write("query.wav", make_tones(3.0, 24000, seed=1), 24000)
    cli.main(["search", "catalogue", "query.wav", "--device", "cpu"])
    assert capsys.readouterr().out.endswith(f"{song}\n")

    caplog.clear()
    assert embed([song], "other", model_folder, **how).new == 1
    assert f"Embedding with {model_folder}\n" in caplog.text
    # goes on with its own model alone, which is named
    with pytest.raises(InputError, match=f"model '{model_folder}', now '{DEFAULT_MODEL}'; weights"):
        embed([song], "other", **how)


def test_commands_work_with_it(song, capsys):
    soundfile.write("longer.wav", make_tones(10.0, 24000), 24000)
    cli.main(["inspect", "longer.wav", "--device", "cpu", "-o", "sections.json"])
    assert f"of {DEFAULT_MODEL}\n" in capsys.readouterr().out
    cli.main(["retrieval", "-o", "out", "--pieces", "4", "--clip_s", "1", "--device", "cpu"])
    with open("out/retrieval.json") as file:
        assert json.load(file)["model"] == DEFAULT_MODEL


def test_the_page_is_of_it_unless_the_variable_says_otherwise(nothing_released, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: True if name == "gradio" else found(name))
    monkeypatch.delenv("MODEL", raising=False)
    assert f"{DEFAULT_MODEL} cannot be loaded: it comes with mert_hf" in fails("demo")
    monkeypatch.setenv("MODEL", "from/variable")
    assert "from/variable cannot be loaded" in fails("demo")


@every_entry
def test_a_copy_without_it_says_so(entry, nothing_released, tmp_path, monkeypatch):
    said = f"{DEFAULT_MODEL} cannot be loaded: it comes with mert_hf .* lacks config.json, preprocessor_config.json"
    with pytest.raises(InputError, match=said):
        entry()
    (tmp_path / "model_cards" / DEFAULT_MODEL).mkdir(parents=True)
    (tmp_path / "model_cards" / DEFAULT_MODEL / "config.json").write_text("{}")
    with pytest.raises(InputError, match=f"model_cards/{DEFAULT_MODEL} lacks preprocessor_config.json, model.safetensors here"):
        entry()


def test_its_name_is_not_given_to_the_hub(nothing_released):
    with pytest.raises(InputError, match="it comes with mert_hf"):
        find_model()
    assert find_model("mert-other") == "mert-other"


def test_commands_say_so_in_a_line(nothing_released, tmp_path):
    soundfile.write("song.wav", make_tones(2.0, 24000), 24000)
    said = f"{DEFAULT_MODEL} cannot be loaded: it comes with mert_hf"
    for words in (["embed", "song.wav", "-o", "out"], ["inspect", "song.wav"], ["retrieval", "-o", "found"]):
        assert said in fails(*words)
    assert "name another model, such as 'm-a-p/MERT-v1-95M'" in fails("probe", "--suite", "synthetic", "--output", "probed")
    assert f"model.base='{DEFAULT_MODEL}' cannot be loaded: it comes with" in fails("finetune", "--output_dir", "run")
    (tmp_path / DEFAULT_MODEL).mkdir()  # a folder of the name goes first, as everywhere
    assert "the folder holds no model" in fails("inspect", "song.wav")


def test_a_fresh_process_needs_neither_a_network_nor_a_cache(song, tmp_path):
    code = "import sys, mert_hf; print(mert_hf.MusicEncoder(device='cpu').encode([sys.argv[1]], progress=False).tolist())"
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    places = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hub"), "PYTHONPATH": os.path.dirname(mert_hf.__path__[0])}
    environment = {**kept, **places, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code, song]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    expected = MusicEncoder(FOLDER, device="cpu").encode([song], progress=False)
    np.testing.assert_allclose(json.loads(ran.stdout), expected, atol=1e-5)
