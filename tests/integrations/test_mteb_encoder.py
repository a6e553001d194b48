"""MtebMusicEncoder in the installed mteb: its interface, tasks from end to end, and what its cache tells apart."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

pytest.importorskip("mteb", reason='270 MB that tests alone do not need: pip install "mert_hf[mteb]"')

import mteb
from mteb.cache import ResultCache
from mteb.models.models_protocols import EncoderProtocol
from support.mteb_tasks import SameAtHalfVolume, TonesOrNoise, make_dataset, make_sound

from mert_hf import MusicEncoder
from mert_hf.common.errors import InputError
from mert_hf.integrations import mteb_encoder
from mert_hf.integrations.mteb_encoder import MtebMusicEncoder

TASK = {"task_metadata": SimpleNamespace(name="MyTask"), "hf_split": "test", "hf_subset": "default"}


def loader_of(dataset):
    return torch.utils.data.DataLoader(dataset, batch_size=2, collate_fn=list)


@pytest.mark.parametrize("options", [{}, {"layers": [0, 2], "pool": "mean_std"}, {"window_s": 0.3, "overlap_s": 0.1}])
def test_clips_become_what_music_encoder_makes_of_them(model_folder, monkeypatch, options):
    monkeypatch.setattr(mteb_encoder, "CLIPS_AT_A_TIME", 2)
    encoder = MtebMusicEncoder(model_folder, device="cpu", **options)
    assert isinstance(encoder, EncoderProtocol)
    dataset = make_dataset(5, audio=make_sound, label=lambda number: number % 2)
    found = encoder.encode(loader_of(dataset), batch_size=3, **TASK)
    sounds = [make_sound(number)["bytes"] for number in range(5)]
    expected = MusicEncoder(model_folder, device="cpu").encode(sounds, progress=False, **options)
    np.testing.assert_allclose(found, expected.reshape(5, -1), atol=2e-5)
    assert encoder.mteb_model_meta.embed_dim == found.shape[1]


def test_a_classification_and_a_retrieval_from_end_to_end(model_folder, tmp_path):
    encoder = MtebMusicEncoder(model_folder, device="cpu", layers=1)
    cache = ResultCache(tmp_path / "cache")
    tasks = [TonesOrNoise(), SameAtHalfVolume()]
    results = mteb.evaluate(encoder, tasks, cache=cache, show_progress_bar=False)
    scores = {result.task_name: result.get_score() for result in results.task_results}
    assert scores["SameAtHalfVolume"] == 1.0
    assert scores["TonesOrNoise"] > 0.8
    (place,) = (tmp_path / "cache").rglob("SameAtHalfVolume.json")
    assert "local__model" in place.parts and "layers_1__" in place.parent.name


def test_what_is_told_of_the_model(model_folder, tmp_path):
    meta = MtebMusicEncoder(model_folder, device="cpu").mteb_model_meta
    assert (meta.name, meta.modalities, meta.license) == ("local/model", ["audio"], "not specified")
    assert meta.n_parameters == sum(weights.numel() for weights in MusicEncoder(model_folder).model.parameters())
    # another layer, and other weights under the same name, are another entry of the cache
    other = MtebMusicEncoder(model_folder, device="cpu", layers=2).mteb_model_meta
    assert other.revision == meta.revision and other.experiment_name != meta.experiment_name
    shutil.copytree(model_folder, tmp_path / "changed" / "model")
    weights = load_file(tmp_path / "changed" / "model" / "model.safetensors")
    weights = {name: tensor + 0.01 for name, tensor in weights.items()}
    save_file(weights, tmp_path / "changed" / "model" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "changed" / "model" / "README.md").write_text("---\nlicense: CC-BY-NC-4.0\n---\n# A model\n")
    changed = MtebMusicEncoder(tmp_path / "changed" / "model", device="cpu").mteb_model_meta
    assert changed.name == meta.name and changed.revision != meta.revision and changed.license == "cc-by-nc-4.0"


def test_a_revision_of_a_repository(hub, monkeypatch, model_folder):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    api = HfApi()
    api.create_repo("ada/music")
    first = api.upload_folder(repo_id="ada/music", folder_path=model_folder).oid
    api.delete_file("model.safetensors", repo_id="ada/music")
    encoder = MtebMusicEncoder("ada/music", first, device="cpu")
    assert (encoder.mteb_model_meta.name, encoder.mteb_model_meta.revision) == ("ada/music", first)
    sound = make_sound(0)["bytes"]
    expected = MusicEncoder(model_folder, device="cpu").encode(sound, progress=False)
    np.testing.assert_allclose(encoder.model.encode(sound, progress=False), expected, atol=1e-6)
    with pytest.raises(InputError, match="ada/music at nowhere cannot be loaded"):
        MtebMusicEncoder("ada/music", "nowhere")


def test_bad_input_is_one_message(model_folder):
    encoder = MtebMusicEncoder(model_folder, device="cpu")
    texts = make_dataset(2, audio=make_sound, text=str)
    with pytest.raises(InputError, match="local/model hears audio alone; MyTask has the columns audio, text"):
        encoder.encode(loader_of(texts), **TASK)
    with pytest.raises(InputError, match="pool='second' makes no vector of a clip"):
        MtebMusicEncoder(model_folder, pool="second")
    with pytest.raises(InputError, match="layer 9 does not exist"):
        MtebMusicEncoder(model_folder, layers=9, device="cpu")
