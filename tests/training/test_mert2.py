"""MERT-v2 through every door of the package, small: trained, judged, fine-tuned, exported, published."""

import itertools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from support.small_runs import MERT2_MODEL
from support.sounds import make_tones
from transformers import AutoModel, pipeline

from mert_hf import (
    MERT2Config,
    MERT2ForPreTraining,
    MERT2ForSequenceClassification,
    MERTFeatureExtractor,
    MERTModel,
    MusicEncoder,
)
from mert_hf.common.errors import InputError
from mert_hf.conversion.onnx import export_onnx, load_for_export
from mert_hf.finetuning.run import adapt, build_model
from mert_hf.finetuning.settings import FinetuneSettings, ModelSettings
from mert_hf.probing.features.encoders import load_encoder
from mert_hf.publishing.model_card import CardFacts
from mert_hf.publishing.staging import stage
from mert_hf.teachers import KMeansTeacher, ResidualKMeansTeacher
from mert_hf.teachers.features import HiddenStatesFeature, JoinedHiddenStatesFeature


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with heads, and its feature extractor."""
    folder = tmp_path_factory.mktemp("mert2") / "model"
    torch.manual_seed(0)
    model = MERT2ForPreTraining(MERT2Config(**{**MERT2_MODEL, "initializer_range": 0.2}))
    model.save_pretrained(folder)
    MERTFeatureExtractor(min_samples=1025).save_pretrained(folder)
    return folder


def clips(count: int, seconds: float = 1.0) -> torch.Tensor:
    return torch.stack([torch.from_numpy(make_tones(seconds, 24_000, seed)) for seed in range(count)])


def by_hand(model, clip: np.ndarray) -> np.ndarray:
    """(layers + 1, frames, hidden), with what enters the first block."""
    outputs = model(torch.from_numpy(clip)[None], output_hidden_states=True)
    return torch.cat([outputs.extract_features, *outputs.hidden_states]).numpy()


@torch.no_grad()
def test_the_encoder_the_pipeline_and_probing_hear_the_same_layers(folder, tmp_path):
    model = AutoModel.from_pretrained(folder).eval()
    songs = [make_tones(seconds, 24_000, seed) for seed, seconds in enumerate((2.0, 0.0428, 1.3, 2.0))]
    encoder = MusicEncoder(folder)
    options = dict(pool=None, normalize=False, sampling_rate=24_000, progress=False)
    together = encoder.encode(songs, "all", batch_size=4, **options)
    extract = pipeline("feature-extraction", model=str(folder))
    judged = load_encoder(str(folder))
    assert encoder.num_layers == 3
    assert judged.layers == ("0", "1", "2", "3")
    assert judged.frame_rate == 25.0
    assert judged.first_frame_s == 360 / 24_000
    for song, found in zip(songs, together, strict=True):
        expected = by_hand(model, song)
        assert found.shape == (4, len(song) // 960, 32)
        np.testing.assert_allclose(found, expected, atol=5e-5)
        states = extract(song, return_tensors=True, output_hidden_states=True)[0]
        np.testing.assert_allclose(states, expected, atol=5e-5)
        np.testing.assert_allclose(judged(torch.from_numpy(song)[None])[0], expected, atol=5e-5)
    for layer in range(4):  # the blocks behind it are left out
        for song, found in zip(songs, encoder.encode(songs, layer, **options), strict=True):
            np.testing.assert_allclose(found, by_hand(model, song)[layer], atol=5e-5)
    assert len(encoder.model.layers) == 3
    soundfile.write(tmp_path / "song.wav", songs[0], 24_000, subtype="FLOAT")
    from_file = encoder.encode(str(tmp_path / "song.wav"), 2, **options)
    np.testing.assert_allclose(from_file, together[0][2], atol=5e-5)
    with pytest.raises(InputError, match="inputs\\[0\\] is too short: 1024 samples at 24000 Hz, one frame needs 1025"):
        encoder.encode(songs[0][:1024], 2, sampling_rate=24_000)
    half = MusicEncoder(folder, dtype="bfloat16").encode(songs[0], 0, **options)
    assert np.abs(half - together[0][0]).max() < 0.2  # heard in float32, whatever the weights are in


def test_a_shared_model_answers_in_every_order_and_from_every_thread_and_stays_as_it_was(folder):
    model = AutoModel.from_pretrained(folder).to(torch.bfloat16).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encoder, song = MusicEncoder(model, MERTFeatureExtractor(min_samples=1025)), make_tones(1.2, 24_000, 1)

    def encode(layers):
        return encoder.encode(song, layers, normalize=False, sampling_rate=24_000, progress=False)

    alone = [encode(layer) for layer in range(4)]
    assert np.array_equal(encode("all"), np.stack(alone))
    for first, second in itertools.permutations(range(4), 2):
        assert np.array_equal(encode(first), alone[first])
        assert np.array_equal(encode(second), alone[second])
    with ThreadPoolExecutor(4) as threads:
        asked = list(range(4)) * 4
        for layer, found in zip(asked, threads.map(encode, asked), strict=True):
            assert np.array_equal(found, alone[layer])
    assert (model.training, model.dtype, len(model.layers)) == (True, torch.bfloat16, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_that_are_missing_and_another_rate_are_one_line(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    tensors = load_file(broken / "model.safetensors")
    for name in ("mert2.feature_extractor.mel_mean", "mert2.layers.1.attn.key_proj.weight"):
        del tensors[name]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match="lacks weights of MERT2Model: .*mel_mean, layers.1.attn.key_proj.weight would be random"
    ):
        MusicEncoder(broken)
    shutil.copytree(folder, tmp_path / "slow")
    MERTFeatureExtractor(sampling_rate=16_000).save_pretrained(tmp_path / "slow")
    with pytest.raises(InputError, match="the model was made for 24000 Hz, its feature extractor says 16000 Hz"):
        MusicEncoder(tmp_path / "slow")
    with pytest.raises(ValueError, match="The model takes audio at 24000 Hz; this audio is at 44100 Hz"):
        MERTFeatureExtractor.from_pretrained(folder)(np.zeros(50_000, np.float32), sampling_rate=44_100)


def test_windows_are_as_long_as_what_the_model_was_trained_on_and_keep_frames_in_place(folder):
    model = AutoModel.from_pretrained(folder, variant="fs", context_seconds=4.0)
    encoder = MusicEncoder(model, MERTFeatureExtractor(min_samples=1025))
    lengths = []
    model.feature_extractor.register_forward_hook(lambda _module, given, _output: lengths.append(given[0].shape))
    song = make_tones(9.3, 24_000, 1)
    options = dict(pool=None, normalize=False, sampling_rate=24_000, progress=False)
    frames = encoder.encode(song, 1, overlap_s=1.0, **options)
    assert frames.shape == (len(song) // 960, 32)
    assert all(length <= 4.0 * 24_000 for _, length in lengths)
    assert len(lengths) == 3
    longer = encoder.encode(song, 1, window_s=6.0, overlap_s=1.0, **options)
    assert longer.shape == frames.shape
    whole = encoder.encode(song, 1, window_s=None, **options)
    # attention and response norms hear a window alone, so frames are close, not equal; shifted by one, they are not close
    near = np.linalg.norm(frames - whole)
    assert near < 0.5 * np.linalg.norm(frames[1:] - whole[:-1])
    extract = pipeline("feature-extraction", model=model, feature_extractor=MERTFeatureExtractor(min_samples=1025))
    np.testing.assert_allclose(extract(song, overlap_s=1.0, return_tensors=True).shape, (1, *frames.shape))


@torch.no_grad()
def test_onnx_holds_the_front_end(folder, tmp_path):
    model, extractor = load_for_export(folder)
    export_onnx(model, extractor, tmp_path / "model.onnx", all_layers=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count, seconds in ((1, 1.0), (3, 2.1), (2, 1025 / 24_000)):
        heard = clips(count, seconds)
        last, layers = session.run(None, {"input_values": heard.numpy()})
        for clip, found in zip(heard, layers, strict=True):
            np.testing.assert_allclose(found, by_hand(model, clip.numpy()), atol=1e-4)
        np.testing.assert_allclose(last, layers[:, -1], atol=1e-6)


@pytest.mark.parametrize("method", ["full", "lora", "frozen"])
def test_fine_tuning_adapts_what_it_names(folder, method):
    settings = FinetuneSettings(model=ModelSettings(base=str(folder), method=method, lora_rank=4))
    built, extractor = build_model(settings, ["calm", "wild"])
    assert type(built) is MERT2ForSequenceClassification
    assert extractor.min_samples == 1025
    encoder = AutoModel.from_pretrained(folder)
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in built.mert2.state_dict().items())
    model = adapt(built, settings)
    model(input_values=clips(2), labels=torch.tensor([0, 1])).loss.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in trained if "lora_" in name}
    assert adapted == ({"query_proj", "key_proj", "value_proj", "out_proj"} if method == "lora" else set())
    assert any("classifier" in name for name in trained)
    assert any("ffn1" in name for name in trained) == (method == "full")


def test_what_is_published_loads_without_this_package(folder, tmp_path):
    (tmp_path / "staged").mkdir()
    template = Path(__file__).parents[2] / "model_cards" / "template.md"
    staged = stage(folder, tmp_path / "staged", "user/small", CardFacts(license="mit"), template)
    assert "loaded without mert_hf, from the files of the folder alone: equal features" in staged.checks
    config = json.loads((staged.folder / "config.json").read_text())
    assert config["auto_map"]["AutoModelForPreTraining"] == "modeling_mert2.MERT2ForPreTraining"
    assert "25 vectors a second" in (staged.folder / "README.md").read_text()
    assert (staged.folder / "conformer_mert2.py").is_file()
    assert not (staged.folder / "modeling_mert.py").exists()


@torch.no_grad()
def test_teachers_of_two_encoders_at_the_frame_rate_of_a_student(folder, tiny_config, tmp_path):
    """A MERT at 75 frames a second, three of which are averaged, and a MERT-v2 at 25."""
    torch.manual_seed(1)
    MERTModel(tiny_config).save_pretrained(tmp_path / "mert")
    MERTFeatureExtractor().save_pretrained(tmp_path / "mert")
    mert = AutoModel.from_pretrained(tmp_path / "mert").eval()
    heard = clips(2, 2.0)
    slow = HiddenStatesFeature(24_000, 960, str(tmp_path / "mert"), 2)
    states = mert(heard, output_hidden_states=True).hidden_states[2]
    assert slow(heard).shape == (2, 50, 32)
    torch.testing.assert_close(slow(heard)[:, :49], states[:, :147].unflatten(1, (49, 3)).mean(2))
    torch.testing.assert_close(slow(heard)[:, 49], states[:, 147:].mean(1))
    options = {"folder": str(tmp_path / "mert"), "layer": 2, "other_folder": str(folder), "other_layer": 1}
    joined = JoinedHiddenStatesFeature(24_000, 960, **options)(heard)
    assert joined.shape == (2, 50, 64)
    for part in joined.split(32, dim=-1):
        torch.testing.assert_close(part.mean(-1), torch.zeros(2, 50), atol=1e-5, rtol=0)
        torch.testing.assert_close(part.var(-1, correction=0), torch.ones(2, 50), atol=1e-3, rtol=0)
    named = {"joined_hidden_states": options}
    teacher = ResidualKMeansTeacher([8, 8], ["joined_hidden_states"], named, hop_samples=960).fit(clips(4, 2.0))
    assert teacher(heard).shape == (2, 2, 50)
    assert teacher.description == "residual k-means codes of hidden states"
    teacher.save_pretrained(tmp_path / "teacher")
    assert torch.equal(KMeansTeacher.from_pretrained(tmp_path / "teacher")(heard), teacher(heard))
    with pytest.raises(InputError, match="works at 24000 Hz and 25 frames per second, the model at 24000 Hz and 75"):
        HiddenStatesFeature(24_000, 320, str(folder), 1)
