import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.probing_tasks import RATE, make_task, pitch_task, tone
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from mert_hf import MERTFeatureExtractor, MERTForPreTraining
from mert_hf.common.errors import InputError
from mert_hf.probing.features import extraction as features_module
from mert_hf.probing.features.cache import FeatureCache, FeatureWindow
from mert_hf.probing.features.encoders import FrozenModel, load_encoder
from mert_hf.probing.features.extraction import Extraction, cut_windows, extract_features
from mert_hf.probing.features.spectra import LogMel
from mert_hf.tasks.base import Windows
from mert_hf.tasks.examples import Example, Waveform

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, conv_dim=[16] * 7)
FAMILY = {
    "hubert": (HubertConfig, HubertModel, {}),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model, {}),
    "wavlm": (WavLMConfig, WavLMModel, {}),
    "data2vec": (Data2VecAudioConfig, Data2VecAudioModel, {"conv_pos_kernel_size": 5}),
}


def small_model(name="hubert", seed=0, **more):
    torch.manual_seed(seed)
    config, model, options = FAMILY[name]
    positions = {} if name == "data2vec" else {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    return model(config(**SMALL, **positions, **options, **more))


@pytest.fixture
def encoder():
    return FrozenModel(small_model(), Wav2Vec2FeatureExtractor(do_normalize=False), "small")


@pytest.mark.parametrize("name", FAMILY)
def test_any_encoder_gives_all_layers_of_every_clip(name, tmp_path):
    model = small_model(name).eval()
    encoder = FrozenModel(model, Wav2Vec2FeatureExtractor(do_normalize=True), name)
    data = pitch_task((5, 2, 2)).load()
    found = extract_features(encoder, data, "train", "windows", Extraction(tmp_path, "float32"))
    assert found.shards[0].shape == (5, 3, 32)
    for place, example in enumerate(data.splits["train"]):
        inputs = Wav2Vec2FeatureExtractor(do_normalize=True)(example.read(RATE), sampling_rate=RATE, return_tensors="pt")
        with torch.no_grad():
            states = model(inputs.input_values, output_hidden_states=True).hidden_states
        expected = torch.stack([state[0].mean(dim=0) for state in states]).numpy()
        np.testing.assert_allclose(found.take(np.array([place]))[0], expected, atol=2e-5)


def test_clips_of_any_length_give_what_they_give_alone(encoder, tmp_path):
    lengths = (0.5, 0.31, 0.5, 0.44, 0.31)
    examples = [Example(str(n), Waveform(tone(60, seconds, n), RATE), "0") for n, seconds in enumerate(lengths)]
    task = make_task(
        {"train": examples, "validation": examples[:1], "test": examples[:1]}, "multiclass", "0", ("accuracy",), ""
    )
    together = extract_features(encoder, task.load(), "train", "frames", Extraction(tmp_path, "float32"))
    row = 0
    for example, windows in zip(examples, together.windows, strict=True):
        alone = encoder(torch.from_numpy(example.read(RATE))[None])[0].transpose(0, 1).numpy()
        (window,) = windows
        assert window.rows == len(alone)
        np.testing.assert_allclose(together.take(np.arange(row, row + window.rows)), alone, atol=1e-5)
        row += window.rows


def test_frames_lie_where_their_sound_is():
    # without a norm over time, a sample is heard by the frames whose receptive field holds it, and by no other
    model = small_model(feat_extract_norm="layer")
    encoder = FrozenModel(model, Wav2Vec2FeatureExtractor(do_normalize=False), "small")
    assert (encoder.frame_rate, encoder.first_frame_s) == (50.0, 400 / 2 / RATE)
    waveform = 0.1 * torch.randn(2, RATE)
    waveform[1] = waveform[0]
    waveform[1, 8000:8040] += 1.0
    with torch.no_grad():
        quiet, loud = model.feature_extractor(waveform)
    heard = torch.nonzero((quiet - loud).abs().amax(dim=0) > 1e-6)[:, 0]
    assert float(heard.float().mean()) / encoder.frame_rate + encoder.first_frame_s == pytest.approx(8020 / RATE, abs=0.005)


def test_mert_is_loaded_from_a_folder_of_a_run_without_its_heads(tiny_config, tmp_path):
    model = MERTForPreTraining(tiny_config)
    model.save_pretrained(tmp_path / "run" / "model")
    MERTFeatureExtractor().save_pretrained(tmp_path / "run" / "model")
    encoder = load_encoder(str(tmp_path / "run"))
    assert (encoder.title, encoder.sampling_rate, encoder.layers) == ("run", 24000, ("0", "1", "2"))
    waveform = torch.randn(1, 24000)
    with torch.no_grad():
        states = model.eval().base_model(waveform, output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder(waveform), torch.stack(states, dim=1))
    untrained = load_encoder(str(tmp_path / "run"), random_seed=0)
    assert untrained.title == "random weights"
    assert untrained.fingerprint["weights"] != encoder.fingerprint["weights"]
    again = load_encoder(str(tmp_path / "run"), random_seed=0)
    assert again.fingerprint == untrained.fingerprint
    assert load_encoder(str(tmp_path / "run"), random_seed=1).fingerprint != untrained.fingerprint
    # weights stored in half precision are heard in float32, and the untrained ones are the same
    model.bfloat16().save_pretrained(tmp_path / "half")
    MERTFeatureExtractor().save_pretrained(tmp_path / "half")
    with torch.no_grad():
        states = model.float().base_model(waveform, output_hidden_states=True).hidden_states
    torch.testing.assert_close(load_encoder(str(tmp_path / "half"))(waveform), torch.stack(states, dim=1))
    drawn = load_encoder(str(tmp_path / "half"), random_seed=0)
    assert drawn.fingerprint["weights"] == untrained.fingerprint["weights"]


def test_models_that_cannot_be_judged_are_refused(tiny_config, tmp_path):
    with pytest.raises(InputError, match="nowhere cannot be loaded: "):
        load_encoder(str(tmp_path / "nowhere"))
    model = small_model()
    model.save_pretrained(tmp_path / "hubert")
    with pytest.raises(InputError, match="cannot be loaded"):  # no preprocessor_config.json
        load_encoder(str(tmp_path / "hubert"))
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "hubert")
    load_encoder(str(tmp_path / "hubert"))
    weights = {name: tensor for name, tensor in model.state_dict().items() if "layers.1.attention" not in name}
    model.save_pretrained(tmp_path / "hubert", state_dict=weights)
    with pytest.raises(
        InputError, match=r"lacks weights of HubertModel: encoder\.layers\.1\.attention.* and 2 more would be random"
    ):
        load_encoder(str(tmp_path / "hubert"))
    MERTForPreTraining(tiny_config).save_pretrained(tmp_path / "mert")
    MERTFeatureExtractor(sampling_rate=16000).save_pretrained(tmp_path / "mert")
    with pytest.raises(InputError, match="made for 24000 Hz, its feature extractor says 16000 Hz"):
        load_encoder(str(tmp_path / "mert"))


def test_audio_of_another_rate_is_brought_to_the_models(encoder, tmp_path):
    low = Example("a", Waveform(tone(60), RATE), "0")
    high = Example("b", Waveform(np.repeat(tone(60), 2).astype(np.float32), 2 * RATE), "0")
    task = make_task({split: [low, high] for split in ("train", "validation", "test")}, "multiclass", "0", ("accuracy",), "")
    found = extract_features(encoder, task.load(), "train", "frames", Extraction(tmp_path))
    assert [windows[0].rows for windows in found.windows] == [24, 24]


def test_nothing_is_made_twice_and_a_killed_run_goes_on(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(features_module.EXAMPLES_PER_SHARD, "windows", 4)
    data = pitch_task((10, 2, 2)).load()
    extraction = Extraction(tmp_path)
    heard = []
    original = FrozenModel.__call__

    def counted(self, waveforms):
        if len(heard) == 2:
            heard.append(0)
            raise KeyboardInterrupt
        heard.append(len(waveforms))
        return original(self, waveforms)

    monkeypatch.setattr(FrozenModel, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        extract_features(encoder, data, "train", "windows", extraction)
    assert heard == [4, 4, 0]
    found = extract_features(encoder, data, "train", "windows", extraction)
    assert heard == [4, 4, 0, 2]
    extract_features(encoder, data, "train", "windows", extraction)
    assert len(heard) == 4
    monkeypatch.setattr(FrozenModel, "__call__", original)
    fresh = extract_features(encoder, data, "train", "windows", Extraction(tmp_path / "other"))
    np.testing.assert_array_equal(found.take(np.arange(10)), fresh.take(np.arange(10)))


def test_processes_take_turns_at_shards(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(features_module.EXAMPLES_PER_SHARD, "windows", 3)
    data = pitch_task((10, 2, 2)).load()
    whole = extract_features(encoder, data, "train", "windows", Extraction(tmp_path / "one"))
    with pytest.raises(InputError, match="shard 0 of .* is missing"):  # the other has not come yet
        extract_features(encoder, data, "train", "windows", Extraction(tmp_path / "two", rank=1, world_size=2))
    assert len(list((tmp_path / "two").rglob("shard_*.npy"))) == 2
    waited = []
    shared = Extraction(tmp_path / "two", rank=0, world_size=2, barrier=lambda: waited.append(1))
    found = extract_features(encoder, data, "train", "windows", shared)
    assert waited == [1]
    np.testing.assert_array_equal(whole.take(np.arange(10)), found.take(np.arange(10)))


@pytest.mark.parametrize("change", ["model", "dataset", "window", "dtype", "package", "level", "split"])
def test_features_of_something_else_are_never_read(change, encoder, tmp_path, monkeypatch):
    extraction, split, level = Extraction(tmp_path), "train", "windows"
    task = pitch_task((3, 3, 3))
    extract_features(encoder, task.load(), split, level, extraction)
    before = {*tmp_path.iterdir()}
    if change == "model":
        encoder = FrozenModel(small_model(seed=1), Wav2Vec2FeatureExtractor(do_normalize=False), "small")
    elif change == "dataset":
        task = pitch_task((3, 3, 3), version="2")
    elif change == "window":
        task = replace(task, windows=Windows(duration_s=0.25))
    elif change == "dtype":
        extraction = Extraction(tmp_path, "float32")
    elif change == "package":
        monkeypatch.setattr(features_module, "__version__", "0.0")
    elif change == "level":
        level = "frames"
    else:
        split = "test"
    extract_features(encoder, task.load(), split, level, extraction)
    assert len({*tmp_path.iterdir()} - before) == 1


def test_a_cache_that_was_tampered_with_is_refused(encoder, tmp_path):
    data = pitch_task((3, 3, 3)).load()
    extract_features(encoder, data, "train", "windows", Extraction(tmp_path))
    (folder,) = tmp_path.iterdir()
    description = folder / "shard_00000.json"
    kept = description.read_text()
    description.write_text(kept.replace("train 1", "train 7"))
    with pytest.raises(InputError, match="its checksum is not that of what it holds.*; delete"):
        extract_features(encoder, data, "train", "windows", Extraction(tmp_path))
    description.write_text(kept)
    (folder / "shard_00000.npy").write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot be read"):
        extract_features(encoder, data, "train", "windows", Extraction(tmp_path))
    key = json.loads((folder / "key.json").read_text())
    (folder / "key.json").write_text(json.dumps({**key, "dataset": "another revision"}))
    with pytest.raises(InputError, match="features of something else than its name says"):
        extract_features(encoder, data, "train", "windows", Extraction(tmp_path))


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_every_changed_byte_of_a_cache_is_noticed(tmp_path, suffix):
    cache = FeatureCache(tmp_path, {"a": 1})
    cache.write(0, ["x"], [[FeatureWindow(0.5, 3)]], np.arange(24, dtype=np.float16).reshape(3, 2, 4))
    file = cache.folder / f"shard_00000{suffix}"
    whole = file.read_bytes()
    assert [list(found) for found in cache.read([["x"]]).windows] == [[FeatureWindow(0.5, 3)]]
    for place in range(0, len(whole), 3):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1
        file.write_bytes(spoilt)
        with pytest.raises(InputError, match="shard_00000"):
            cache.read([["x"]])


def test_features_that_are_not_numbers_are_named(encoder, tmp_path, monkeypatch):
    data = pitch_task((3, 3, 3)).load()
    original = FrozenModel.__call__

    def broken(self, waveforms):
        found = original(self, waveforms)
        found[1, 2] = torch.nan
        return found

    monkeypatch.setattr(FrozenModel, "__call__", broken)
    with pytest.raises(InputError, match="small gives NaN or infinity for train 1 in layer 2"):
        extract_features(encoder, data, "train", "windows", Extraction(tmp_path))
    assert not list(tmp_path.rglob("*.npy"))
    monkeypatch.setattr(FrozenModel, "__call__", lambda self, waveforms: 1e6 * original(self, waveforms))
    with pytest.raises(InputError, match="more than float16 holds; use --dtype float32"):
        extract_features(encoder, data, "train", "windows", Extraction(tmp_path))
    extract_features(encoder, data, "train", "windows", Extraction(tmp_path, "float32"))


def test_a_clip_too_short_for_the_model_is_named(encoder, tmp_path):
    examples = [Example("blip", Waveform(tone(60, 0.01), RATE), "0")]
    task = make_task({split: examples for split in ("train", "validation", "test")}, "multiclass", "0", ("accuracy",), "")
    with pytest.raises(InputError, match=r"small fails on blip \(0.01 s\)"):
        extract_features(encoder, task.load(), "train", "windows", Extraction(tmp_path))


def test_windows_are_cut_as_the_task_says():
    loud, quiet = np.full(RATE, 0.5, np.float32), np.full(RATE, 0.001, np.float32)
    waveform = np.concatenate([loud, quiet, loud, 0.5 * loud])
    cut = cut_windows(waveform, Windows(duration_s=1.0), RATE)
    assert [(start, len(samples)) for start, samples in cut] == [(float(second), RATE) for second in range(4)]
    cut = cut_windows(waveform, Windows(duration_s=1.0, least_rms=0.1), RATE)
    assert [start for start, _ in cut] == [0.0, 2.0, 3.0]
    cut = cut_windows(waveform, Windows(duration_s=1.0, least_rms=0.1, most=2), RATE)
    assert [start for start, _ in cut] == [0.0, 2.0]
    # what comes after the seconds heard does not count: beside it, all of them would be quiet
    cut = cut_windows(np.concatenate([waveform, 9 * loud]), Windows(duration_s=1.0, least_rms=0.1, heard_s=4.0), RATE)
    assert [start for start, _ in cut] == [0.0, 2.0, 3.0]
    assert len(cut_windows(np.zeros(4 * RATE, np.float32), Windows(duration_s=1.0, least_rms=0.1), RATE)) == 4
    ((_, samples),) = cut_windows(np.arange(RATE, dtype=np.float32), Windows(standardise=True), RATE)
    assert samples.mean() == pytest.approx(0, abs=1e-3) and samples.std() == pytest.approx(1, abs=1e-3)


def test_memory_maps_give_the_same_rows_in_any_order(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(features_module.EXAMPLES_PER_SHARD, "windows", 3)
    monkeypatch.setattr("mert_hf.probing.features.cache.MEMORY_BYTES", 0)
    data = pitch_task((10, 2, 2)).load()
    mapped = extract_features(encoder, data, "train", "windows", Extraction(tmp_path))
    assert len(mapped.shards) == 4 and isinstance(mapped.shards[0], np.memmap)
    rows = np.array([9, 0, 4, 4, 2])
    expected = np.concatenate(mapped.shards)[rows].astype(np.float32)
    np.testing.assert_array_equal(mapped.take(rows), expected)


def test_log_mel_baseline_is_the_spectrums_mean_and_deviation():
    waveform = torch.from_numpy(tone(60, 1.0))[None]
    encoder = LogMel(RATE)
    frames = encoder(waveform)
    assert frames.shape == (1, 1, 51, 256) and encoder.hidden_size == 256
    pooled = encoder.pool(frames)
    spectrum = encoder.spectrum(waveform)[0]
    torch.testing.assert_close(pooled[0, 0, :128], spectrum.mean(dim=0), atol=0.1, rtol=0.05)


def test_a_full_disk_is_said_before_it_is_full(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(features_module.EXAMPLES_PER_SHARD, "frames", 2)
    data = pitch_task((20, 2, 2)).load()
    whole = 20 * 24 * 3 * 32 * 2  # examples, frames, layers, numbers, bytes
    for free in (whole - 1, whole):
        monkeypatch.setattr("shutil.disk_usage", lambda folder, free=free: type("usage", (), {"free": free})())
        if free < whole:
            with pytest.raises(InputError, match="train: features of small need about 0.0"):
                extract_features(encoder, data, "train", "frames", Extraction(tmp_path))
            assert not [*tmp_path.rglob("*.npy")]
        else:
            extract_features(encoder, data, "train", "frames", Extraction(tmp_path))
            sizes = [path.stat().st_size for path in tmp_path.rglob("*.npy")]
            assert len(sizes) == 10 and max(sizes) < whole / 10 + 200
    cache = FeatureCache(tmp_path, {"a": 1})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("usage", (), {"free": 10})())
    with pytest.raises(InputError, match="GB left, a shard of features needs"):
        cache.write(0, ["x"], [[]], np.zeros((100, 2, 2)))
    assert not cache.has(0)
