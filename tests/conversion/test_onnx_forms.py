"""ONNX files with a mask, in fewer bits, beside their weights; and what they tell of themselves."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from support.small_runs import MERT2_SHORT_MODEL, MODEL
from support.sounds import make_tones

from mert_hf import (
    MERT2Config,
    MERT2Model,
    MERTConfig,
    MERTFeatureExtractor,
    MERTForSequenceClassification,
    MERTModel,
    MusicEncoder,
    __version__,
)
from mert_hf.cli import main
from mert_hf.common.errors import InputError
from mert_hf.conversion import onnx as conversion
from mert_hf.conversion.onnx import export_onnx
from mert_hf.conversion.onnx_files import write_in_place
from mert_hf.conversion.onnx_loss import OnnxLoss, make_music, measure_loss
from mert_hf.encoding.layer_differences import LayerDifference

RATE = 24000
ROOT = Path(__file__).parents[2]


def make_model(kind: str):
    torch.manual_seed(0)
    if kind == "v2":
        return MERT2Model(MERT2Config(**MERT2_SHORT_MODEL, context_seconds=1.0)).eval(), MERTFeatureExtractor(min_samples=1025)
    if kind == "classifier":
        return MERTForSequenceClassification(MERTConfig(**MODEL)).eval(), MERTFeatureExtractor()
    return MERTModel(MERTConfig(**MODEL)).eval(), MERTFeatureExtractor(do_normalize=True)


def run(file: Path, **given) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


@torch.no_grad()
def alone(model, extractor, clip: np.ndarray):
    return model(extractor(clip, sampling_rate=RATE, return_tensors="pt")["input_values"], output_hidden_states=True)


def pad(lengths: list[int]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Clips, and a batch of them with its mask; NaN lies in the padding, which nobody may look at."""
    clips = [0.02 * make_tones(length / RATE, RATE, seed) + np.float32(0.01) for seed, length in enumerate(lengths)]
    batch = np.full((len(clips), max(lengths)), np.nan, np.float32)
    mask = np.zeros(batch.shape, np.int64)
    for row, clip in enumerate(clips):
        batch[row, : len(clip)], mask[row, : len(clip)] = clip, 1
    return clips, batch, mask


@pytest.mark.parametrize("kind", ["v1", "v2", "classifier"])
def test_padded_clips_give_what_they_give_alone(kind, tmp_path):
    model, extractor = make_model(kind)
    file = tmp_path / "model.onnx"
    facts = export_onnx(model, extractor, file, all_layers=True, mask=True)
    for lengths in ([16000, 24001, 3000], [24000], [2000, 2000], [40_000, 1025]):
        clips, batch, mask = pad(lengths)
        found = run(file, input_values=batch, attention_mask=mask)
        assert list(found)[1:] == ["hidden_states", "frame_mask"]
        for row, clip in enumerate(clips):
            right = alone(model, extractor, clip)
            layers = right.hidden_states
            if kind == "v2":
                layers = (right.extract_features, *layers)
            assert len(layers) == len(facts.layers) == found["hidden_states"].shape[1]
            frames = layers[0].shape[1]
            assert np.flatnonzero(found["frame_mask"][row]).tolist() == list(range(frames))
            np.testing.assert_allclose(found["hidden_states"][row, :, :frames], torch.cat(layers), atol=1e-4)
            if kind == "classifier":
                np.testing.assert_allclose(found["logits"][row], right.logits[0], atol=1e-4)
            else:
                np.testing.assert_allclose(found["last_hidden_state"][row, :frames], right.last_hidden_state[0], atol=1e-4)
    # in windows as long as the model's own, where it tells: the file says so too
    long = {"array": make_tones(2.5, RATE), "sampling_rate": RATE}
    options = {"layers": "all", "overlap_s": 0.2, "progress": False}
    one, other = (encoder.encode(long, **options) for encoder in (MusicEncoder(file), MusicEncoder(model, extractor)))
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert (kind == "v2") == (np.abs(MusicEncoder(file).encode(long, window_s=None, **options) - other).max() > 1e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A model in float32 of which the command wrote the weights beside the file."""
    folder = tmp_path_factory.mktemp("whole")
    model, extractor = make_model("v1")
    model.save_pretrained(folder / "my model")
    extractor.save_pretrained(folder / "my model")
    (folder / "my model" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "LARGEST_INLINE_BYTES", 1000)
        main(["export-onnx", str(folder / "my model"), str(folder / "model.onnx"), "--all_layers"])
    return folder / "model.onnx"


def test_a_file_tells_what_it_is_and_nothing_of_the_machine(whole):
    read = onnx.load(whole)
    onnx.checker.check_model(read, full_check=True)
    told = {one.key: one.value for one in read.metadata_props}
    assert json.loads(told.pop("layers")) == ["0", "1", "2"]
    assert told == {
        "format": "mert_hf",
        "format_version": "1",
        "package_version": __version__,
        "model": "my model",
        "license": "cc-by-nc-4.0",
        "sampling_rate": "24000",
        "hop_samples": "320",
        "receptive_samples": "400",
        "least_samples": "0",
        "first_frame_s": str(200 / 24000),
        "normalises_inside": "true",
        "dtype": "float32",
    }
    axes = {
        value.name: [(axis.denotation, axis.dim_value or axis.dim_param) for axis in value.type.tensor_type.shape.dim]
        for value in (*read.graph.input, *read.graph.output)
    }
    assert axes == {
        "input_values": [("batch", "batch"), ("samples", "samples")],
        "last_hidden_state": [("batch", "batch"), ("frames", "frames"), ("hidden", 32)],
        "hidden_states": [("batch", "batch"), ("layers", 3), ("frames", "frames"), ("hidden", 32)],
    }
    content = whole.read_bytes()
    for secret in (str(whole.parent), str(ROOT), 'File "'):
        assert secret.encode() not in content


def weights(file: Path) -> dict[str, int]:
    """Bytes of weights by their type."""
    sizes: dict[str, int] = {}
    for one in onnx.load(file).graph.initializer:
        kind = onnx.TensorProto.DataType.Name(one.data_type)
        sizes[kind] = sizes.get(kind, 0) + onnx.numpy_helper.to_array(one).nbytes
    return sizes


def test_a_large_file_has_its_weights_beside_it(whole, tmp_path):
    assert sorted(part.name for part in whole.parent.iterdir()) == ["model.onnx", "model.onnx.data", "my model"]
    model, extractor = make_model("v1")
    clip = make_tones(1.0, RATE)
    right = torch.cat(alone(model, extractor, clip).hidden_states)
    np.testing.assert_allclose(run(whole, input_values=clip[None])["hidden_states"][0], right, atol=1e-4)
    (tmp_path / "alone.onnx").write_bytes(whole.read_bytes())
    with pytest.raises(InputError, match=r"alone\.onnx cannot be loaded: its weights, model\.onnx\.data, must lie beside it"):
        MusicEncoder(tmp_path / "alone.onnx")


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_fewer_bits_and_what_they_cost(dtype, whole, tmp_path, monkeypatch, capsys):
    model, extractor = make_model("v1")
    model.save_pretrained(tmp_path / "model")
    extractor.save_pretrained(tmp_path / "model")
    file, song = tmp_path / "model.onnx", tmp_path / "song.wav"
    soundfile.write(song, make_tones(2.0, RATE), RATE, subtype="FLOAT")
    # what lies there: a large file, whose weights must not stay; and int8 is made from another
    file.write_bytes(b"old")
    (tmp_path / "model.onnx.data").write_bytes(b"old")
    monkeypatch.setattr(conversion, "LARGEST_INLINE_BYTES", 1000 if dtype == "int8" else 10**9)
    with caplog_of_root() as said:
        main(["export-onnx", str(tmp_path / "model"), str(file), "--all_layers", "--dtype", dtype, "--check", str(song)])
    assert not [record for record in said if "pre-processing" in record.getMessage()]
    assert sorted(part.name for part in tmp_path.iterdir()) == ["model", "model.onnx", "song.wav"]
    before, after = weights(whole), weights(file)
    if dtype == "float16":
        assert after["FLOAT16"] == pytest.approx(before["FLOAT"] / 2, rel=0.01)
        assert after.get("FLOAT", 0) < 100
    else:
        # two layers: four matrices of attention (32, 32), two of 32 times 64; and the projection of the convolutions
        assert after["INT8"] >= 2 * (4 * 32 * 32 + 2 * 32 * 64) + 16 * 32
    clip = soundfile.read(song, dtype="float32")[0]
    right = torch.cat(alone(model, extractor, clip).hidden_states).numpy()
    found = run(file, input_values=clip[None])["hidden_states"][0]
    printed = capsys.readouterr().out
    assert f"beside the model in torch, float32, on 2 s of {song}" in printed
    assert ("no faster" in printed) == (dtype == "float16")
    rows = [line.split() for line in printed.splitlines() if line.endswith(tuple("0123456789")) and "%" in line]
    assert len(rows) == 3
    for (layer, share, _, cosine), one, other in zip(rows, right, found, strict=True):
        expected = 100 * np.linalg.norm(other - one) / np.linalg.norm(one - one.mean(0))
        assert 0 < expected < 20, layer
        assert float(share) == pytest.approx(expected, abs=0.02)
        means = one.mean(0), other.mean(0)
        assert float(cosine) == pytest.approx(means[0] @ means[1] / np.prod([np.linalg.norm(m) for m in means]), abs=1e-5)


class caplog_of_root(logging.Handler):  # noqa: N801
    """All that is logged by the root logger, which a test's own caplog would configure."""

    def __enter__(self):
        self.records: list[logging.LogRecord] = []
        logging.getLogger().addHandler(self)
        return self.records

    def __exit__(self, *_):
        logging.getLogger().removeHandler(self)

    def emit(self, record):
        self.records.append(record)


def test_the_front_end_stays_in_float32(tmp_path):
    """The bank of the mel spectrum is a matrix too; in 8 bits, quiet bands would be others."""
    model, extractor = make_model("v2")
    export_onnx(model, extractor, tmp_path / "model.onnx", all_layers=True, dtype="int8")
    kept = [onnx.numpy_helper.to_array(one) for one in onnx.load(tmp_path / "model.onnx").graph.initializer]
    bank = model.feature_extractor.mel_scale.fb.numpy()
    assert any(one.shape == bank.shape and np.array_equal(one, bank) for one in kept)
    assert any(one.dtype == np.int8 and one.shape == (32, 48) for one in kept)
    loss = measure_loss(tmp_path / "model.onnx", model, extractor, make_music(RATE)[: 2 * RATE])
    assert max(row.frames for row in loss.layers) < 0.1, loss


def test_what_is_far_from_the_model_is_said_in_words(whole):
    model, extractor = make_model("v1")
    music = make_music(RATE)[: 2 * RATE]
    near = measure_loss(whole, model, extractor, music)
    assert [row.layer for row in near.layers] == [0, 1, 2]
    assert max(row.frames for row in near.layers) < 1e-4 and near.warning is None and near.logits is None
    torch.manual_seed(1)
    other = MERTModel(MERTConfig(**MODEL)).eval()
    far = measure_loss(whole, other, extractor, music)
    assert far.far == [0, 1, 2]
    assert "layers 0, 1, 2 of this file are not finite, or far from the model's" in far.warning
    assert OnnxLoss([LayerDifference(4, float("nan"), float("nan"))], None).far == [4]
    assert OnnxLoss([], (float("inf"), 1.0)).warning.startswith("logits")
    with pytest.raises(InputError, match="300 samples are too short to be compared; one frame needs 400"):
        measure_loss(whole, model, extractor, music[:300])


def test_whoever_is_stopped_leaves_no_pair_that_does_not_belong_together(tmp_path, monkeypatch):
    file, data = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    file.write_bytes(b"old graph")
    data.write_bytes(b"old weights")

    def write():
        with write_in_place(file) as written:
            written.write_bytes(b"new graph")
            written.with_name("model.onnx.data").write_bytes(b"new weights")
            if stopped_early:
                raise KeyboardInterrupt

    stopped_early = True
    with pytest.raises(KeyboardInterrupt):
        write()
    assert (file.read_bytes(), data.read_bytes()) == (b"old graph", b"old weights")
    stopped_early, replace = False, Path.replace

    def stop_at_the_graph(self, target):
        if target == file:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_the_graph)
    with pytest.raises(KeyboardInterrupt):
        write()
    assert not file.exists()
    monkeypatch.undo()
    write()
    assert (file.read_bytes(), data.read_bytes()) == (b"new graph", b"new weights")
    assert sorted(part.name for part in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_mistakes(tmp_path):
    model, extractor = make_model("v1")
    model.save_pretrained(tmp_path / "model")
    extractor.save_pretrained(tmp_path / "model")
    file = tmp_path / "model.onnx"
    with pytest.raises(SystemExit, match="error: .*nowhere.mp3 does not exist"):
        main(["export-onnx", str(tmp_path / "model"), str(file), "--check", "nowhere.mp3"])
    with pytest.raises(InputError, match="dtype='int4' is unknown; there are float32, float16, int8"):
        export_onnx(model, extractor, file, dtype="int4")
    with pytest.raises(InputError, match="made for 24000 Hz, its feature extractor says 16000 Hz; mend"):
        export_onnx(model, MERTFeatureExtractor(sampling_rate=16000), file)
    model.config.padding_invariant = False
    with pytest.raises(InputError, match="padding changes the features of this model"):
        export_onnx(model, extractor, file, mask=True)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match=r"folder\.onnx is a folder; give the name of a file"):
        export_onnx(model, extractor, tmp_path / "folder.onnx")
    assert not file.exists()
