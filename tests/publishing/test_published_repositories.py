"""Folders shaped like m-a-p/MERT-v1-95M, -330M and MERT-v0 on the Hub: their files as they are, at tiny sizes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.sounds import make_tones
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, Wav2Vec2FeatureExtractor, pipeline

from mert_hf import MERTConfig, MERTFeatureExtractionPipeline, MERTFeatureExtractor, MERTModel

GOLDEN = Path(__file__).parents[1] / "equivalence" / "golden"
STRAY = {
    "mask_channel_length": 10,
    "mask_channel_min_space": 1,
    "mask_channel_other": 0.0,
    "mask_channel_prob": 0.0,
    "mask_channel_selection": "static",
    "mask_time_min_space": 1,
    "mask_time_other": 0.0,
    "mask_time_selection": "static",
}


def preprocessor(rate: int, normalize: bool) -> dict:
    return {
        "do_normalize": normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0,
        "return_attention_mask": True,
        "sampling_rate": rate,
    }


@pytest.fixture(params=["MERT-v1-95M", "MERT-v1-330M", "MERT-v0"])
def repository(request, tmp_path):
    """Configuration with auto_map and stray keys, a .bin with old names, Wav2Vec2FeatureExtractor; no safetensors."""
    source = GOLDEN / ("hf_2_pre_ln_relax32_24k" if "330M" in request.param else "hf_1_post_ln_24k")
    rate = 16000 if request.param == "MERT-v0" else 24000
    folder = tmp_path / request.param
    folder.mkdir()
    shutil.copy(source / "pytorch_model.bin", folder)
    config = json.loads((source / "config.json").read_text())
    assert "conv_pos_batch_norm" not in config
    assert "auto_map" in config
    config |= {"sample_rate": rate, "_name_or_path": "m-a-p/" + request.param, **(STRAY if "330M" in request.param else {})}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor(rate, normalize=request.param != "MERT-v0")))
    return folder, load_file(source / "golden.safetensors"), rate


@torch.no_grad()
def test_auto_classes_and_pipeline_work_without_remote_code(repository):
    folder, golden, rate = repository
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is MERTConfig
    assert (config.sample_rate, config.conv_pos_batch_norm) == (rate, False)
    model = AutoModel.from_pretrained(folder).eval()
    assert type(model) is MERTModel
    outputs = model(golden["input_values"], output_hidden_states=True)
    assert float((outputs.hidden_states[-1] - golden["last_hidden_state"]).abs().max()) < 2e-5
    assert len(outputs.hidden_states) == config.num_hidden_layers + 1
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert type(extractor) is Wav2Vec2FeatureExtractor
    assert extractor.sampling_rate == rate
    waveform = make_tones(1.0, rate)
    inputs = extractor(waveform, sampling_rate=rate, return_tensors="pt")
    expected = model(inputs["input_values"]).last_hidden_state
    extract = pipeline("feature-extraction", model=str(folder))
    assert type(extract) is MERTFeatureExtractionPipeline
    assert type(extract.feature_extractor) is MERTFeatureExtractor  # MERT's checks hold here too
    assert extract.feature_extractor.do_normalize == (rate == 24000)  # as the repository says
    torch.testing.assert_close(extract(waveform, return_tensors=True), expected)
    with pytest.raises(ValueError, match="NaN"):
        extract(np.full(rate, np.nan, np.float32))


def test_trusting_remote_code_changes_nothing_and_runs_none(repository):
    folder, _, _ = repository
    assert not list(folder.glob("*.py"))  # what auto_map names is not even there
    assert type(AutoModel.from_pretrained(folder, trust_remote_code=True)) is MERTModel
    assert type(pipeline("feature-extraction", model=str(folder), trust_remote_code=True)) is MERTFeatureExtractionPipeline


def test_saving_a_published_model_gives_a_folder_of_ours(repository, tmp_path):
    folder, golden, rate = repository
    model = AutoModel.from_pretrained(folder).eval()
    model.save_pretrained(tmp_path / "again")
    MERTFeatureExtractor.from_pretrained(folder).save_pretrained(tmp_path / "again")
    again = AutoModel.from_pretrained(tmp_path / "again").eval()
    states = again(golden["input_values"]).last_hidden_state
    torch.testing.assert_close(states, golden["last_hidden_state"], atol=2e-5, rtol=0)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "again")
    assert (type(extractor), extractor.sampling_rate) == (MERTFeatureExtractor, rate)


def test_v0_as_it_was_published_at_first(repository, tmp_path):
    """Its configuration said hubert and HubertModel."""
    folder, golden, _ = repository
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "hubert", "architectures": ["HubertModel"]}
    config.pop("auto_map")
    (folder / "config.json").write_text(json.dumps(config))
    states = MERTModel.from_pretrained(folder).eval()(golden["input_values"]).last_hidden_state
    torch.testing.assert_close(states, golden["last_hidden_state"], atol=2e-5, rtol=0)


def test_other_models_are_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mert2", "hidden_size": 1024}))
    with pytest.raises(ValueError, match="'mert2' is not MERT; .* It is MERT-v2: MERT2Config and MERT2Model read it"):
        MERTConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="model_type 'bert' is not MERT; MERTConfig reads 'mert_model' and 'hubert'"):
        MERTConfig.from_pretrained(tmp_path)


def test_a_folder_without_weights_is_an_error_never_random_weights(repository):
    folder, _, _ = repository
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(OSError, match="no file named"):
        AutoModel.from_pretrained(folder)
