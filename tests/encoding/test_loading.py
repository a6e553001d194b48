"""Models whose files are damaged, by everything that loads one: a line that says what, whoever reads it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from mert_hf import MERTFeatureExtractor, MERTForPreTraining, MERTModel
from mert_hf.architectures.initial_weights import InitSettings
from mert_hf.cli import main
from mert_hf.common.errors import InputError
from mert_hf.conversion.onnx import load_for_export
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.loading import loading
from mert_hf.finetuning import run as finetuning
from mert_hf.finetuning.settings import FinetuneSettings, ModelSettings
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.probing.features.encoders import load_encoder
from mert_hf.teachers.codec import CodecTeacher
from mert_hf.teachers.features import HiddenStatesFeature


def initial_weights(folder):
    settings = PretrainSettings(init=InitSettings(folder, new_heads=True))
    return Setup(settings).build_model()


LOADERS = {
    "encode": MusicEncoder,
    "probe": load_encoder,
    "probe_untrained": lambda folder: load_encoder(folder, random_seed=0),
    "finetune_config": finetuning.read_sampling_rate,
    "finetune": lambda folder: finetuning.build_model(FinetuneSettings(model=ModelSettings(base=folder)), ["a", "b"]),
    "export": load_for_export,
    "codec": CodecTeacher.from_pretrained,
    "hidden_states": lambda folder: HiddenStatesFeature(24000, 320, folder, 1),
    "init": initial_weights,
}
READ_NO_WEIGHTS = ("probe_untrained", "finetune_config")


@pytest.fixture
def folder(tiny_config, tmp_path):
    MERTForPreTraining(tiny_config).save_pretrained(tmp_path)
    MERTFeatureExtractor().save_pretrained(tmp_path)
    return tmp_path


def cut_short(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def empty_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")


def no_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"hello world" * 100)


def other_sizes(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))


def no_config(folder):
    (folder / "config.json").write_text("{")


DAMAGED_WEIGHTS = (cut_short, empty_pickle, no_pickle, other_sizes)


@pytest.mark.parametrize(
    ("loader", "damage"),
    [(loader, damage) for loader in LOADERS if loader not in READ_NO_WEIGHTS for damage in DAMAGED_WEIGHTS]
    + [(loader, no_config) for loader in LOADERS],
)
def test_what_cannot_be_loaded_is_told_in_a_line(loader, damage, folder):
    damage(folder)
    with pytest.raises(InputError) as told:
        LOADERS[loader](str(folder))
    said = str(told.value)
    assert str(folder) in said and "\n" not in said
    if damage is other_sizes:
        expected = "would be random" if loader == "init" else "weights have other shapes than its configuration describes"
    else:
        expected = "cannot be loaded: "
    assert expected in said and not said.endswith(": ")


def drop(folder, ending: str) -> str:
    """Take one tensor out of a checkpoint; the name it had."""
    weights = load_file(folder / "model.safetensors")
    (name,) = [name for name in weights if name.endswith(ending)]
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("loader", [loader for loader in LOADERS if loader not in READ_NO_WEIGHTS])
def test_weights_that_are_missing_are_named_never_drawn(loader, folder):
    name = drop(folder, "encoder.layers.1.attention.q_proj.weight").removeprefix("mert.")
    with pytest.raises(
        InputError, match=f"{folder}.* (lacks weights of MERT|does not hold the encoder).*{name} would be random"
    ):
        LOADERS[loader](str(folder))


@pytest.mark.parametrize("loader", ["encode", "probe", "export", "hidden_states", "finetune", "init"])
def test_what_hides_frames_may_be_missing_where_none_are_hidden(loader, folder):
    drop(folder, "masked_spec_embed")
    if loader in ("finetune", "init"):
        with pytest.raises(InputError, match="masked_spec_embed would be random"):
            LOADERS[loader](str(folder))
    else:
        LOADERS[loader](str(folder))


def test_weights_of_other_shapes_are_named(folder):
    other_sizes(folder)
    with pytest.raises(InputError, match=r"describes: encoder\.layer_norm\.bias, .* and \d+ more would be random\.$"):
        MusicEncoder(str(folder))


def test_a_model_without_heads_has_no_offset_of_codes(tiny_config, folder):
    MERTModel(tiny_config).save_pretrained(folder)
    with pytest.raises(
        SystemExit, match=r"lacks weights of MERTForPreTraining: code_head.* Give a folder that mert-hf convert"
    ):
        main(["code-offset", str(folder), str(folder)])


def test_the_command_line_tells_it_too(folder):
    cut_short(folder)
    with pytest.raises(SystemExit, match="cannot be loaded: .*incomplete metadata, file not fully covered"):
        main(["code-offset", str(folder), str(folder)])


def test_mistakes_of_the_program_are_no_mistakes_of_the_user():
    with pytest.raises(TypeError), loading("x", "user/x"):
        len(1)
    with pytest.raises(InputError, match="^as it is$"), loading("x", "user/x"):
        raise InputError("as it is")


def test_a_model_of_spectra_cannot_be_judged(tmp_path):
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_mel_bins=16)
    ASTModel(ASTConfig(**sizes, max_length=32)).save_pretrained(tmp_path)
    ASTFeatureExtractor(num_mel_bins=16, max_length=32).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not take a second of raw audio, so it cannot be judged here"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_no_model_is_told_before_it_is_tried(loader, folder, tmp_path):
    run = tmp_path / "runs" / "quickstart"
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "empty").mkdir()
    named = tmp_path / "listed"
    named.mkdir()
    (named / "config.json").write_text("[1, 2]")
    cases = [
        (str(tmp_path / "empty"), "the folder holds no model: there is no config.json in it"),
        (str(folder / "model.safetensors"), "it is a file; give the folder of a model"),
        (str(named), "config.json is damaged: it holds list, not dict"),
        ("x" * 4000, "cannot be loaded"),
    ]
    if not loader.startswith("probe"):  # which takes a run for its model
        cases.append((str(run), f"did you mean {run / 'model'}?"))
    for given, message in cases:
        with pytest.raises(InputError) as told:
            LOADERS[loader](given)
        assert message in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 2000


@pytest.mark.parametrize("given", [None, "", 3, ["a"], b"x"])
def test_what_is_no_name_at_all(given):
    with pytest.raises(InputError, match=r"cannot be loaded: .* is no model; give a folder, or a repository such as"):
        MusicEncoder(given)


@pytest.mark.parametrize("load", [MusicEncoder, load_encoder])
def test_a_folder_has_no_revision(load, folder):
    """Of the default model too: --revision alone once meant a repository's."""
    for name in (folder, "mert-small"):
        with pytest.raises(InputError, match="revision='v2' is of a repository on the Hub, and .* is a folder or comes with"):
            load(name, revision="v2")
