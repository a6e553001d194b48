"""What a model's name means, and models that are found by theirs without a network."""

import json
import os
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.small_runs import MODEL
from support.sounds import make_tones
from transformers import AutoModel

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForPreTraining, MusicEncoder, cli, find_model
from mert_hf.architectures.initial_weights import InitSettings, build_model, read_config
from mert_hf.common.errors import InputError
from mert_hf.common.places import CARDS
from mert_hf.data.free_music_folder import Credits
from mert_hf.encoding import released
from mert_hf.encoding.licences import weights_licence
from mert_hf.finetuning.run import read_sampling_rate
from mert_hf.probing.features.encoders import load_encoder
from mert_hf.publishing import staging


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run, and a folder of cards with the model that was released of it, and a card alone."""
    folder = tmp_path_factory.mktemp("begun")
    torch.manual_seed(0)
    MERTForPreTraining(MERTConfig(**MODEL)).save_pretrained(folder / "run" / "model")
    MERTFeatureExtractor().save_pretrained(folder / "run" / "model")
    (folder / "run" / "results.json").write_text(json.dumps({"steps": 77}))
    (folder / "model_cards" / "described").mkdir(parents=True)
    (folder / "model_cards" / "described" / "facts.yaml").write_text("license: mit\n")
    publish(folder / "run", folder / "model_cards" / "mert-trial")  # with the check in a fresh process, which takes seconds
    return folder


@pytest.fixture
def cards(begun, tmp_path, monkeypatch):
    """The folder of cards, in a process that stands elsewhere."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(released, "CARDS", tmp_path / "model_cards")
    monkeypatch.setattr(staging, "_check_without_package", lambda *_: None)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "model_cards"


def publish(run, folder, *options):
    cli.main(["publish", str(run), "--to-folder", str(folder), "--license", "cc-by-sa-4.0", "--half", *options])


def test_the_folder_of_a_released_model_holds_weights_in_half_and_no_code(cards, tmp_path):
    folder = cards / "mert-trial"
    names = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", "results.json"}
    assert {file.name for file in folder.iterdir()} == names
    whole, half = (load_file(place / "model.safetensors") for place in (tmp_path / "run" / "model", folder))
    assert whole.keys() == half.keys() and all(torch.equal(half[name], whole[name].half()) for name in whole)
    assert not any("auto_map" in (folder / name).read_text() for name in ("config.json", "preprocessor_config.json"))
    card = (folder / "README.md").read_text()
    assert 'MusicEncoder("mert-trial")' in card and "trust_remote_code" not in card and "| 77 |" in card
    assert "license: cc-by-sa-4.0" in card


def test_every_way_to_load_a_model_knows_the_name(cards, tmp_path, tiny_config, capsys):
    song = {"array": make_tones(2.0, 24000), "sampling_rate": 24000}
    encoder = MusicEncoder("mert-trial", device="cpu")
    assert encoder.model.dtype == torch.float32
    found, expected = (
        one.encode(song, layers=2, pool=None) for one in (encoder, MusicEncoder(str(tmp_path / "run" / "model")))
    )
    # about their mean, as publishing measures it; see HALF_TOLERANCE
    difference = np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean(0))
    assert 0 < difference < staging.HALF_TOLERANCE
    np.testing.assert_array_equal(MusicEncoder(str(cards / "mert-trial"), device="cpu").encode(song), encoder.encode(song))

    assert AutoModel.from_pretrained(find_model("mert-trial")).dtype == torch.float32
    assert load_encoder("mert-trial").title == "mert-trial"
    assert load_encoder("mert-trial", random_seed=0).title == "random weights"
    assert read_sampling_rate("mert-trial") == 24000
    assert weights_licence("mert-trial") == "cc-by-sa-4.0" and weights_licence("described") is None

    init = InitSettings("mert-trial")
    assert read_config(type(tiny_config), init)["hidden_size"] == tiny_config.hidden_size
    begun = build_model(MERTForPreTraining, tiny_config, init, seed=0).state_dict()
    stored = load_file(cards / "mert-trial" / "model.safetensors")
    assert all(torch.equal(begun[name], tensor.float()) for name, tensor in stored.items())

    capsys.readouterr()
    cli.main(["list", "models"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mert-trial "))
    assert row.split()[:6] == ["mert-trial", "cc-by-sa-4.0", "24000", "75", "2", "32"]


def test_the_commands_take_the_name(cards, songs, tmp_path, capsys):
    options = ["--model", "mert-trial", "--device", "cpu", "--dtype", "float32"]
    cli.main(["embed", *songs, "-o", str(tmp_path / "catalogue"), *options])
    assert "6 tracks embedded" in capsys.readouterr().out
    assert '"mert-trial"' in (tmp_path / "catalogue" / "catalogue.json").read_text()


def test_a_type_that_is_asked_for_is_given(cards):
    assert AutoModel.from_pretrained(find_model("mert-trial"), dtype=torch.float16).dtype == torch.float16
    assert MusicEncoder("mert-trial", device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_a_folder_of_the_name_goes_first(cards, model_folder, tmp_path):
    os.symlink(model_folder, "mert-trial")
    assert find_model("mert-trial") == "mert-trial"
    assert weights_licence("mert-trial") is None
    stored = load_file(os.path.join(model_folder, "model.safetensors"))
    found = MusicEncoder("mert-trial", device="cpu").model.state_dict()
    assert torch.equal(found["encoder.layer_norm.weight"], stored["encoder.layer_norm.weight"])


def test_other_names_are_left_to_the_hub(cards):
    assert find_model("user/mert-trial") == "user/mert-trial"
    assert find_model("described") == "described"
    assert released.as_folder("x" * 5000) is None and released.as_folder(None) is None
    assert released.released_models() == {"mert-trial": cards / "mert-trial"}


def test_a_name_that_is_nearly_one_is_told(cards):
    with pytest.raises(InputError, match="no such model comes with mert_hf; did you mean mert-trial?"):
        MusicEncoder("mert-trail")


def test_what_is_written_again_replaces_the_model_and_leaves_what_else_lies_there(cards, tmp_path):
    folder = cards / "mert-trial"
    (folder / "facts.yaml").write_text("license: mit\n")
    before = (folder / "model.safetensors").read_bytes()
    publish(folder, folder)
    assert (folder / "facts.yaml").is_file() and (folder / "model.safetensors").read_bytes() == before
    publish(folder, tmp_path / "new", "--dry-run")
    assert not (tmp_path / "new").exists()


def test_the_page_names_the_music_and_goes_under_what_it_allows(cards, tmp_path):
    credits = Credits("cc-by-sa-4.0", "all of it allows that.", "Music:\n\n- A, by Ann", ["CC-BY-SA-3.0"], 1.0, 2, [])
    (tmp_path / "licences.json").write_text(json.dumps(asdict(credits)))
    (tmp_path / "facts.yaml").write_text("training_data: Synthetic music.\n")
    command = [
        "publish",
        str(tmp_path / "run"),
        "--to-folder",
        str(tmp_path / "new"),
        "--music",
        str(tmp_path / "licences.json"),
    ]
    cli.main([*command, "--card", str(tmp_path / "facts.yaml")])
    card = (tmp_path / "new" / "README.md").read_text()
    assert "Synthetic music.\n\nMusic:\n\n- A, by Ann\n" in card and "license: cc-by-sa-4.0" in card
    assert "The weights are under cc-by-sa-4.0: all of it allows that." in card
    cli.main([*command, "--license", "gpl-3.0"])  # another that the music allows
    assert weights_licence(tmp_path / "new") == "gpl-3.0"
    with pytest.raises(SystemExit, match="CC-BY-SA-3.0, which does not allow weights under mit; state cc-by-sa-4.0"):
        cli.main([*command, "--license", "mit"])
    (tmp_path / "licences.json").write_text("{}")
    with pytest.raises(SystemExit, match="licences.json is damaged"):
        cli.main(command)


def test_a_folder_of_other_things_is_refused(cards, tmp_path):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song.mp3").write_bytes(b"music")
    with pytest.raises(SystemExit, match="holds other things"):
        publish(tmp_path / "run", tmp_path / "music")
    with pytest.raises(SystemExit, match="is a file; give a folder"):
        publish(tmp_path / "run", tmp_path / "music" / "song.mp3")
    for wrong in (["user/name", "--to-folder", "x"], []):
        with pytest.raises(SystemExit, match="give either user/name"):
            cli.main(["publish", str(tmp_path / "run"), *wrong])
    with pytest.raises(SystemExit, match="--tag and --private are of the Hub"):
        publish(tmp_path / "run", tmp_path / "new", "--private")


def test_numbers_that_half_precision_cannot_hold_are_refused(cards, tmp_path, tiny_config):
    model = MERTForPreTraining(tiny_config)
    model.mert.encoder.layer_norm.bias.data[0] = 1e5
    model.save_pretrained(tmp_path / "run" / "model")
    with pytest.raises(SystemExit, match="layer_norm.bias holds numbers beyond 65504"):
        publish(tmp_path / "run", tmp_path / "new")


def test_models_that_are_released_are_small_and_say_their_licence():
    """Every installation brings them."""
    for file in CARDS.glob("*/model.safetensors"):
        assert (file.parent / "config.json").is_file() and (file.parent / "preprocessor_config.json").is_file()
        assert file.stat().st_size <= released.LARGEST_BYTES
        assert {tensor.dtype for tensor in load_file(file).values()} <= {torch.float16, torch.int64, torch.bool}
        assert weights_licence(file.parent)
    assert released.DEFAULT_MODEL in released.released_models()
