"""MusicEncoder against the models called by hand."""

import logging
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr
import torch
import transformers
from support.encoders import MODELS, SIZES
from support.sounds import encode_by_ffmpeg, make_tones
from transformers import BertConfig, BertModel, Wav2Vec2FeatureExtractor

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel
from mert_hf.audio import read_audio
from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.licences import note_licence, weights_licence
from mert_hf.encoding.window_report import window_differences


def save_model(kind: str, folder) -> str:
    torch.manual_seed(0)
    config_class, model_class, changes = MODELS[kind]
    model_class(config_class(**{**SIZES, **changes})).save_pretrained(folder)
    extractor = MERTFeatureExtractor() if kind.startswith("mert") else Wav2Vec2FeatureExtractor(sampling_rate=16000)
    extractor.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def mert(tmp_path):
    return MusicEncoder(save_model("mert", tmp_path / "model"), device="cpu")


def states_alone(encoder: MusicEncoder, waveform: np.ndarray) -> list[np.ndarray]:
    """Every layer of one clip, by the whole model called by hand."""
    inputs = encoder.feature_extractor(waveform, sampling_rate=encoder.sampling_rate, return_tensors="pt")["input_values"]
    with torch.no_grad():
        return [states[0].numpy() for states in encoder.model(inputs, output_hidden_states=True).hidden_states]


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_of_model_gives_what_it_gives_by_hand_in_the_order_of_the_inputs(kind, tmp_path):
    encoder = MusicEncoder(save_model(kind, tmp_path), device="cpu")
    clips = [make_tones(seconds, encoder.sampling_rate, seed) for seed, seconds in enumerate((0.6, 1.5, 0.9, 0.9, 0.2))]
    found = encoder.encode(clips, layers="all", batch_size=4, normalize=False, sampling_rate=encoder.sampling_rate)
    assert found.shape == (5, 4, 32)
    assert found.dtype == np.float32
    for clip, layers in zip(clips, found, strict=True):
        expected = np.stack([states.mean(0) for states in states_alone(encoder, clip)])
        np.testing.assert_allclose(layers, expected, atol=2e-5)
    for layer in range(4):  # the layers behind it are left out
        one = encoder.encode(clips, layers=layer, normalize=False, sampling_rate=encoder.sampling_rate)
        np.testing.assert_allclose(one, found[:, layer], atol=2e-5)
    assert len(encoder.model.encoder.layers) == 3


def test_pooling(mert):
    clip = {"array": make_tones(3.3, 24000), "sampling_rate": 24000}
    states = states_alone(mert, clip["array"])
    frames = states[2]

    def encode(pool, **options):
        return mert.encode(clip, **{"layers": 2, "pool": pool, "normalize": False, **options})

    np.testing.assert_allclose(encode("mean"), frames.mean(0), atol=1e-5)
    np.testing.assert_allclose(encode("mean_std"), np.concatenate([frames.mean(0), frames.std(0)]), atol=1e-5)
    np.testing.assert_allclose(encode(None), frames, atol=1e-5)
    seconds = np.stack([frames[75 * second : 75 * (second + 1)].mean(0) for second in range(4)])
    np.testing.assert_allclose(encode("second"), seconds, atol=1e-5)
    assert encode("second", layers=[0, 2]).shape == (2, 4, 32)
    weighted = encode(None, layers={1: 0.25, 3: 0.5})
    np.testing.assert_allclose(weighted, 0.25 * states[1] + 0.5 * states[3], atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "second", None])
def test_normalized_vectors_have_length_one(mert, pool):
    found = mert.encode(make_tones(2.0, 24000), layers=[1, 3], pool=pool, sampling_rate=24000)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, atol=1e-5)


def test_files_bytes_and_arrays_of_mixed_rates(mert, music_folder):
    files = sorted(music_folder.glob("*.*"))
    found = mert.encode(files, layers=2)
    assert found.shape == (4, 32)
    for file, vector in zip(files, found, strict=True):
        np.testing.assert_allclose(mert.encode(file.read_bytes(), layers=2), vector, atol=1e-4)
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        np.testing.assert_allclose(mert.encode({"array": samples.T, "sampling_rate": rate}, layers=2), vector, atol=1e-3)
        np.testing.assert_allclose(mert.encode(samples.mean(1), layers=2, sampling_rate=rate), vector, atol=1e-3)


def test_long_files_are_windowed_as_the_pipeline_does(mert, tmp_path):
    waveform = make_tones(7.7, 44100)
    soundfile.write(tmp_path / "long.wav", waveform, 44100, subtype="FLOAT")
    extract = transformers.pipeline(
        "feature-extraction", model=mert.model, feature_extractor=mert.feature_extractor, window_s=2.0, overlap_s=0.5
    )
    options = {"layers": "all", "normalize": False, "window_s": 2.0, "overlap_s": 0.5}
    expected = extract(soxr.resample(waveform, 44100, 24000), output_hidden_states=True, return_tensors=True)[0].numpy()
    for batch_size in (1, 3):
        found = mert.encode(tmp_path / "long.wav", pool=None, batch_size=batch_size, **options)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(mert.encode(tmp_path / "long.wav", **options), expected.mean(1), atol=1e-4)
    deviation = mert.encode(tmp_path / "long.wav", pool="mean_std", **options)[:, 32:]
    np.testing.assert_allclose(deviation, expected.std(1), atol=1e-4)


def test_all_frames_stream_into_a_file(mert, tmp_path):
    clips = [make_tones(5.0, 24000, seed=1), make_tones(1.0, 24000, seed=2)]
    options = {"layers": [0, 3], "pool": None, "sampling_rate": 24000, "window_s": 2.0, "overlap_s": 0.5}
    in_memory = mert.encode(clips, **options)
    mapped = mert.encode(clips, output_dir=tmp_path / "frames", **options)
    assert sorted(file.name for file in (tmp_path / "frames").iterdir()) == ["00000.npy", "00001.npy"]
    for before, after in zip(in_memory, mapped, strict=True):
        assert isinstance(after, np.memmap)
        np.testing.assert_array_equal(before, after)


def test_a_long_file_takes_the_memory_of_a_window(tmp_path):
    """A model at 2000 Hz, so that nine minutes are few samples and many windows; numpy's memory is traced."""
    torch.manual_seed(0)
    model = MERTModel(MERTConfig(**SIZES, sample_rate=2000))
    encoder = MusicEncoder(model, MERTFeatureExtractor(sampling_rate=2000), device="cpu")
    file, seconds = tmp_path / "long.wav", 540
    soundfile.write(file, make_tones(seconds, 1000), 1000)
    options = {"layers": 3, "window_s": 45.0, "overlap_s": 4.5, "progress": False}
    tracemalloc.start()
    try:
        vector = encoder.encode(file, **options)
        frames = encoder.encode(file, pool=None, output_dir=tmp_path / "frames", **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert frames.shape == ((seconds * 2000 - 400) // 320 + 1, 32)
    assert vector.shape == (32,)
    assert peak < 3.5e6, peak  # the waveform alone, at the model's rate, would be 4.3 MB


def test_half_precision(mert, tmp_path):
    clip = make_tones(1.0, 24000)
    half = MusicEncoder(save_model("mert", tmp_path / "again"), device="cpu", dtype="bfloat16")
    found, expected = (one.encode(clip, layers=3, sampling_rate=24000) for one in (half, mert))
    assert half.model.dtype == torch.bfloat16
    assert found.dtype == np.float32
    assert found @ expected > 0.999


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([], {}, "got an empty list"),
        (np.zeros(24000, np.float32), {"layers": 7}, "layer 7 does not exist; this model has layers 0 .* to 3"),
        (np.zeros(24000, np.float32), {"layers": -1}, "layer -1 does not exist"),
        (np.zeros(24000, np.float32), {"layers": "last"}, "layers='last' is unknown; give a number"),
        (np.zeros(24000, np.float32), {"layers": []}, "layers is empty"),
        (
            np.zeros(24000, np.float32),
            {"pool": "max"},
            "pool='max' is unknown; there are 'mean', 'mean_std', 'second' and None",
        ),
        (np.zeros(24000, np.float32), {"batch_size": 0}, "batch_size=0"),
        (np.zeros(24000, np.float32), {"window_s": 0}, "window_s=0 must be"),
        (np.zeros(24000, np.float32), {"output_dir": "x"}, "output_dir is for pool=None"),
        (np.zeros(24000, np.float32), {"sampling_rate": None}, r"inputs\[0\]: a waveform alone does not tell its rate"),
        (np.zeros((2, 24000), np.float32), {}, r"inputs\[0\]: a waveform has the shape .samples,.; got \(2, 24000\)"),
        (np.zeros(24000, np.int16), {}, r"inputs\[0\]: 'array' holds int16"),
        ([np.zeros(24000, np.float32), np.zeros(99, np.float32)], {}, r"inputs\[1\] is too short: 99 samples .* needs 400"),
        (np.full(24000, np.nan, np.float32), {}, r"inputs\[0\]: the audio holds NaN or infinity .first at sample 0"),
        (["nowhere.mp3"], {}, "nowhere.mp3 does not exist"),
        ([42], {}, r"inputs\[0\]: a path, bytes, a waveform or a dict is needed; got int"),
    ],
)
def test_bad_input_is_one_message(mert, inputs, options, message):
    with pytest.raises(InputError, match=message) as caught:
        mert.encode(inputs, **{"layers": 1, "sampling_rate": 24000, **options})
    assert len(str(caught.value).splitlines()) == 1


def test_windows_of_a_file_are_those_of_its_waveform(mert, tmp_path):
    """Also where nothing can be sought, and the decoder goes on from where it stands."""
    files = [tmp_path / "song.m4a", tmp_path / "song.webm"]
    for file, codec in zip(files, ("aac", "libopus"), strict=True):
        encode_by_ffmpeg(file, make_tones(6.0, 48000), 48000, codec)
    options = {"layers": 2, "pool": None, "window_s": 2.0, "overlap_s": 0.5, "sampling_rate": 24000}
    for found, file in zip(mert.encode(files, **options), files, strict=True):
        np.testing.assert_allclose(found, mert.encode(read_audio(file, 24000), **options), atol=2e-4)


def test_a_file_that_breaks_off_leaves_no_half_result(mert, tmp_path):
    file = tmp_path / "cut.flac"
    soundfile.write(file, make_tones(20.0, 24000), 24000)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut\.flac"):
        mert.encode(file, layers=1, pool=None, window_s=2.0, overlap_s=0.5, output_dir=tmp_path / "frames")
    assert not list((tmp_path / "frames").iterdir())


def test_models_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="nowhere/model cannot be loaded"):
        MusicEncoder("nowhere/model")
    text = BertModel(BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    text.save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="is a 'bert' model; MusicEncoder takes those that hear raw audio"):
        MusicEncoder(tmp_path / "bert")
    with pytest.raises(InputError, match="needs its feature extractor"):
        MusicEncoder(text)
    with pytest.raises(InputError, match="dtype='int8' is no floating-point type"):
        MusicEncoder(tmp_path / "bert", dtype="int8")


def test_missing_weights_are_an_error_never_random(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_model("mert", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.attention.q_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights of MERTModel: encoder\.layers\.1\.attention\.q_proj\.weight"):
        MusicEncoder(folder)


def test_a_non_commercial_licence_is_said_once(tmp_path, caplog):
    folder = save_model("mert", tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    with caplog.at_level(logging.WARNING, "mert_hf"):
        MusicEncoder(folder, device="cpu")
        MusicEncoder(folder, device="cpu")
    (said,) = [record.getMessage() for record in caplog.records if "licensed" in record.getMessage()]
    assert "cc-by-nc-4.0: no commercial use" in said
    assert weights_licence("m-a-p/MERT-v1-95M") == "cc-by-nc-4.0"
    assert note_licence("someone/else") is None


def test_the_difference_windows_make_is_reported_per_layer(mert):
    clip = {"array": make_tones(6.0, 24000), "sampling_rate": 24000}
    report = window_differences(mert, clip, window_s=2.0, overlap_s=1.0)
    assert [row.layer for row in report] == [0, 1, 2, 3]
    whole, windowed = (
        mert.encode(clip, layers=2, pool=None, normalize=False, window_s=window_s, overlap_s=1.0) for window_s in (None, 2.0)
    )
    expected = np.sqrt(((windowed - whole) ** 2).sum() / ((whole - whole.mean(0)) ** 2).sum())
    assert report[2].frames == pytest.approx(expected, rel=1e-4)
    assert 0.5 < report[2].mean_cosine <= 1
    assert all(row.frames == 0 for row in window_differences(mert, clip, window_s=30.0))
