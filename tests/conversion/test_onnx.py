"""ONNX files in onnxruntime against the model in torch."""

import sys

import numpy as np
import onnxruntime
import pytest
import torch
from support.sounds import make_tones
from transformers import Wav2Vec2FeatureExtractor, pipeline

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForPreTraining, MERTForSequenceClassification, MERTModel
from mert_hf.cli import main
from mert_hf.common.errors import InputError
from mert_hf.conversion.onnx import export_onnx


def differences(model, extractor, file, names):
    """Largest difference of each output from what model and feature extractor make of quiet audio with an offset, over batches
    and lengths the exporter has not seen."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == names
    worst = dict.fromkeys(names, 0.0)
    for batch, num_samples in ((1, 24000), (3, 16000), (2, 400), (1, 719), (1, 720), (4, 50_001)):
        clips = np.stack([0.02 * make_tones(num_samples / 24000, 24000, seed) + np.float32(0.01) for seed in range(batch)])
        with torch.no_grad():
            heard = extractor(clips, sampling_rate=24000, return_tensors="pt")["input_values"]
            outputs = model(heard, output_hidden_states=True)
        for name, found in zip(names, session.run(names, {"input_values": clips}), strict=True):
            expected = getattr(outputs, name)
            expected = torch.stack(expected, dim=1) if name == "hidden_states" else expected
            assert found.shape == tuple(expected.shape)
            worst[name] = max(worst[name], float(np.abs(found - expected.numpy()).max()))
    return worst


@pytest.mark.parametrize("changes", [{}, {"do_stable_layer_norm": True}], ids=["post_norm", "pre_norm"])
def test_the_encoder_with_all_layers(tiny_config, tmp_path, changes):
    torch.manual_seed(0)
    model, extractor = MERTModel(MERTConfig(**{**tiny_config.to_dict(), **changes})).eval(), MERTFeatureExtractor()
    export_onnx(model, extractor, tmp_path / "model.onnx", all_layers=True)
    worst = differences(model, extractor, tmp_path / "model.onnx", ["last_hidden_state", "hidden_states"])
    assert max(worst.values()) < 1e-4


def test_raw_audio_gives_what_the_pipeline_gives_where_the_repository_says_do_normalize(tiny_config, tmp_path, capsys):
    """As the published ones at 24 kHz do."""
    torch.manual_seed(0)
    MERTModel(tiny_config).save_pretrained(tmp_path / "model")
    Wav2Vec2FeatureExtractor(sampling_rate=24000, do_normalize=True).save_pretrained(tmp_path / "model")
    file = tmp_path / "model.onnx"
    main(["export-onnx", str(tmp_path / "model"), str(file)])
    assert "at 24000 Hz; the file scales each clip to zero mean and unit variance" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    extract = pipeline("feature-extraction", model=str(tmp_path / "model"))
    quiet = [0.002 * make_tones(1.5, 24000, seed) + np.float32(0.001 * seed) for seed in range(2)]
    found = session.run(None, {"input_values": np.stack([*quiet, np.zeros(36000, np.float32)])})[0]
    for features, clip in zip(found, [*quiet, np.zeros(36000, np.float32)], strict=True):
        np.testing.assert_allclose(features, extract(clip, return_tensors=True)[0], atol=1e-4)


def test_the_command_exports_classifiers_with_their_head(tiny_config, tmp_path, capsys):
    torch.manual_seed(0)
    tiny_config.use_weighted_layer_sum = True
    model = MERTForSequenceClassification(tiny_config).eval()
    model.save_pretrained(tmp_path / "model")
    extractor = MERTFeatureExtractor()
    with pytest.raises(SystemExit, match=r"error: .*model cannot be loaded: .*preprocessor_config\.json"):
        main(["export-onnx", str(tmp_path / "model"), str(tmp_path / "out" / "model.onnx")])
    extractor.save_pretrained(tmp_path / "model")
    main(["export-onnx", str(tmp_path / "model"), str(tmp_path / "out" / "model.onnx")])
    assert capsys.readouterr().out.endswith("model.onnx: input_values (batch, samples) float32, mono, at 24000 Hz\n")
    assert differences(model, extractor, tmp_path / "out" / "model.onnx", ["logits"])["logits"] < 1e-4


def test_mistakes(tiny_config, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="error: nowhere/model cannot be loaded"):
        main(["export-onnx", "nowhere/model", str(tmp_path / "model.onnx")])
    model = MERTForPreTraining(tiny_config).mert
    with pytest.raises(InputError, match=r"model\.pt must end in \.onnx"):
        export_onnx(model, MERTFeatureExtractor(), tmp_path / "model.pt")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"pip install \"mert_hf\[onnx\]\""):
        export_onnx(model, MERTFeatureExtractor(), tmp_path / "model.onnx")
