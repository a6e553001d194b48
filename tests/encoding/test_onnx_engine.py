"""MusicEncoder with an ONNX file against MusicEncoder with the model that the file was written from."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import soundfile
import torch
from support.encoders import SIZES
from support.sounds import make_tones
from transformers import Wav2Vec2FeatureExtractor

from mert_hf import MERTConfig, MERTModel, MusicEncoder
from mert_hf.common.errors import InputError
from mert_hf.conversion.onnx import export_onnx, load_for_export

RATE = 24000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose feature extractor scales clips, of a licence without commercial use; and it as ONNX, twice."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    MERTModel(MERTConfig(**SIZES)).save_pretrained(folder / "model")
    Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True).save_pretrained(folder / "model")
    (folder / "model" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    loaded = load_for_export(folder / "model")
    export_onnx(*loaded, folder / "plain.onnx", all_layers=True)
    export_onnx(*loaded, folder / "masked.onnx", all_layers=True, mask=True)
    return folder


@pytest.fixture(scope="module")
def encoders(folder):
    return {name: MusicEncoder(folder / name, device="cpu") for name in ("model", "plain.onnx", "masked.onnx")}


def test_what_it_tells_of_itself(encoders):
    model = encoders["model"]
    for name in ("plain.onnx", "masked.onnx"):
        encoder = encoders[name]
        assert (encoder.sampling_rate, encoder.num_layers, encoder.grid) == (RATE, 3, model.grid)
        assert (encoder.device.type, encoder.dtype, encoder.commit) == ("cpu", torch.float32, None)
    assert len({encoder.fingerprint() for encoder in encoders.values()}) == 3


@pytest.mark.parametrize("name", ["plain.onnx", "masked.onnx"])
def test_everything_is_as_with_the_model(encoders, name, tmp_path):
    lengths = (0.6, 1.5, 0.9, 0.9, 3.3)
    clips = [0.02 * make_tones(seconds, RATE, seed) + np.float32(0.01) for seed, seconds in enumerate(lengths)]
    soundfile.write(tmp_path / "long.flac", make_tones(3.0, 44100), 44100)
    inputs = [*({"array": clip, "sampling_rate": RATE} for clip in clips), tmp_path / "long.flac"]
    for pool, layers in (("mean", "all"), ("mean_std", 2), ("second", {0: 0.5, 3: 2.0}), (None, None)):
        options = {"layers": layers, "pool": pool, "window_s": 2.0, "overlap_s": 0.5, "batch_size": 4, "progress": False}
        found, right = (encoders[one].encode(inputs, **options) for one in (name, "model"))
        for one, other in zip(found, right, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=2e-5)


def test_clips_of_several_lengths_share_a_batch_where_the_file_takes_a_mask(encoders, monkeypatch):
    clips = [make_tones(seconds, RATE) for seconds in (0.3, 0.5, 0.7)]
    for name, expected in (("plain.onnx", [1, 1, 1]), ("masked.onnx", [3])):
        engine, sizes = encoders[name]._engine, []

        def run(values, mask=None, run=engine.run, sizes=sizes):
            sizes.append(len(values))
            return run(values, mask)

        monkeypatch.setattr(engine, "run", run)
        encoders[name].encode(clips, sampling_rate=RATE, progress=False)
        assert sizes == expected


def test_what_cannot_be_used_is_left_out(encoders, tmp_path):
    (tmp_path / "text.mp3").write_text("no audio")
    inputs = [{"array": make_tones(0.5, RATE), "sampling_rate": RATE}, tmp_path / "text.mp3"]
    found = encoders["masked.onnx"].encode(inputs, on_error="skip", progress=False)
    assert np.isnan(found).all(1).tolist() == [False, True]
    with pytest.raises(InputError, match=r"text\.mp3"):
        encoders["masked.onnx"].encode(inputs, progress=False)


def test_four_threads_on_one_encoder(encoders):
    clips = [make_tones(0.5 + 0.1 * number, RATE, number) for number in range(8)]
    encoder, options = encoders["masked.onnx"], {"sampling_rate": RATE, "progress": False}
    right = encoder.encode(clips, layers="all", **options)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: encoder.encode(clips[number], layers=number % 4, **options), range(8)))
    for number, vector in enumerate(found):
        np.testing.assert_allclose(vector, right[number, number % 4], atol=1e-5)


def test_the_licence_in_the_file_is_said_once(folder, caplog):
    from mert_hf.encoding import licences

    licences._said.clear()
    with caplog.at_level(logging.WARNING, "mert_hf"):
        MusicEncoder(folder / "plain.onnx")
        MusicEncoder(folder / "masked.onnx")
    (said,) = [message for message in caplog.messages if "licensed" in message]
    assert said.startswith("Weights of model are licensed cc-by-nc-4.0: no commercial use")


def with_metadata(file, target, **changes):
    model = onnx.load(file)
    told = {one.key: one.value for one in model.metadata_props} | changes
    onnx.helper.set_model_props(model, {name: value for name, value in told.items() if value is not None})
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "does not tell how it is used: another program wrote it, .* mert-hf export-onnx MODEL"),
        ({"format_version": "2"}, r"was written by a later mert_hf \(format 2\)"),
        ({"hop_samples": None}, r"its metadata are damaged \(KeyError: 'hop_samples'\); export it again"),
        ({"sampling_rate": "fast"}, "its metadata are damaged"),
        ({"hop_samples": "0"}, "its metadata are damaged"),
        ({"layers": '["0", "1"]'}, "its metadata do not fit its graph"),
        ({"layers": "3"}, "its metadata are damaged"),
        ({"dtype": "int3"}, "its metadata do not fit its graph"),
    ],
)
def test_metadata_that_cannot_be_are_refused(folder, tmp_path, changes, message):
    file = with_metadata(folder / "plain.onnx", tmp_path / "changed.onnx", **changes)
    with pytest.raises(InputError, match=message) as told:
        MusicEncoder(file)
    assert "changed.onnx" in str(told.value) and "\n" not in str(told.value)


def test_files_that_are_none_of_ours_are_refused_in_a_line(folder, tmp_path, monkeypatch):
    given, found = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["x"], ["y"])], "graph", [given], [found])
    version = {"ir_version": 8, "opset_imports": [onnx.helper.make_opsetid("", 17)]}
    onnx.save(onnx.helper.make_model(graph, **version), tmp_path / "x.onnx")
    one_layer = onnx.load(folder / "plain.onnx")
    del one_layer.graph.output[1]
    onnx.save(one_layer, tmp_path / "one_layer.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    cut = (folder / "plain.onnx").read_bytes()[:50_000]
    (tmp_path / "cut.onnx").write_bytes(cut)
    for name, message in (
        (tmp_path / "x.onnx", "does not tell how it is used"),
        (tmp_path / "text.onnx", r"text\.onnx cannot be loaded: "),
        (tmp_path / "cut.onnx", r"cut\.onnx cannot be loaded: "),
        (tmp_path / "nowhere.onnx", r"nowhere\.onnx does not exist; mert-hf export-onnx"),
        (tmp_path / "one_layer.onnx", "holds the output last_hidden_state alone; .* export it again with --all_layers"),
    ):
        with pytest.raises(InputError, match=message) as told:
            MusicEncoder(name)
        assert "\n" not in str(told.value)
    file = folder / "plain.onnx"
    with pytest.raises(InputError, match="computes as it was exported; leave dtype out"):
        MusicEncoder(file, dtype="bfloat16")
    with pytest.raises(InputError, match="device='cuda': the installed onnxruntime computes on cpu alone"):
        MusicEncoder(file, device="cuda")
    with pytest.raises(InputError, match="leave feature_extractor and revision out"):
        MusicEncoder(file, revision="main")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install \"mert_hf\[onnx\]\""):
        MusicEncoder(file)
