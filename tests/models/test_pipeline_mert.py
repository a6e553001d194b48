import base64
import functools
import http.server
import threading
import traceback

import numpy as np
import pytest
import soundfile
import torch
from support.sounds import encode_by_ffmpeg, make_tones, remove_mp3_length, write_variable_mp3
from transformers import AutoModel, BertConfig, BertModel, BertTokenizer, FeatureExtractionPipeline, pipeline

from mert_hf import MERTFeatureExtractionPipeline, MERTFeatureExtractor, MERTForPreTraining
from mert_hf.audio import read_audio
from mert_hf.encoding.encoder import MusicEncoder


@pytest.fixture
def folder(tiny_config, tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "model"
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return folder


def test_returns_what_the_text_pipeline_returns(folder):
    extract = pipeline("feature-extraction", model=str(folder))
    assert type(extract) is MERTFeatureExtractionPipeline
    waveform = make_tones(1.0, 24000)
    nested = extract(waveform)
    tensor = extract(waveform, return_tensors=True)
    assert tensor.shape == (1, 74, 32)
    assert isinstance(nested, list) and np.shape(nested) == (1, 74, 32)
    expected = AutoModel.from_pretrained(folder).eval()(torch.from_numpy(waveform)[None]).last_hidden_state
    torch.testing.assert_close(tensor, expected)
    np.testing.assert_allclose(np.array(nested), expected.detach().numpy(), atol=1e-6)


def test_path_bytes_array_and_dict_give_the_same_features(folder, tmp_path):
    stereo = np.stack([make_tones(1.5, 44100, seed) for seed in (1, 2)], axis=1)
    file = tmp_path / "song.flac"
    soundfile.write(file, stereo, 44100)
    extract = pipeline("feature-extraction", model=str(folder))
    from_path = extract(str(file), return_tensors=True)
    decoded = soundfile.read(file, dtype="float32")[0]
    others = {
        "path object": extract(file, return_tensors=True),
        "bytes": extract(file.read_bytes(), return_tensors=True),
        "array": extract(read_audio(file, 24000), return_tensors=True),
        "dict": extract({"array": decoded.mean(1), "sampling_rate": 44100}, return_tensors=True),
        "channels first": extract({"raw": decoded.T, "sampling_rate": 44100}, return_tensors=True),
    }
    assert from_path.shape == (1, 112, 32)
    for name, features in others.items():
        torch.testing.assert_close(features, from_path, atol=1e-4, rtol=1e-4, msg=name)


def test_a_list_gives_a_list_with_the_frames_of_each_clip(folder):
    extract = pipeline("feature-extraction", model=str(folder))
    clips = [make_tones(seconds, 24000) for seconds in (0.5, 1.0, 0.7)]
    singles = [extract(clip, return_tensors=True) for clip in clips]
    assert [tuple(features.shape) for features in extract(clips, return_tensors=True)] == [
        (1, 37, 32),
        (1, 74, 32),
        (1, 52, 32),
    ]
    batched = extract(clips, return_tensors=True, batch_size=3)
    assert [features.shape for features in batched] == [features.shape for features in singles]
    states = extract(clips[1], return_tensors=True, output_hidden_states=True)
    assert states.shape == (1, 3, 74, 32)
    torch.testing.assert_close(states[:, -1], singles[1])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"array": [0.0] * 1000}, ValueError, "sampling_rate"),
        (b"this is no audio", ValueError, "cannot read the bytes as audio"),
        (b"", ValueError, "the bytes are empty"),
        ("missing.mp3", ValueError, "cannot read missing.mp3 as audio: there is no such file"),
        ({"array": np.zeros((2, 1000), np.int16), "sampling_rate": 24000}, ValueError, "holds int16 samples"),
        (np.zeros((2, 1000), np.float32), ValueError, r"got \(2, 1000\). Average the channels"),
        (np.zeros(100, np.float32), ValueError, "100 samples"),
        (np.full(1000, np.nan), ValueError, "NaN"),
    ],
)
def test_a_single_bad_input_is_an_error(folder, given, error, message):
    with pytest.raises(error, match=message):
        pipeline("feature-extraction", model=str(folder))(given)


def test_a_file_that_is_no_audio_is_an_error(folder, tmp_path):
    file = tmp_path / "notes.wav"
    file.write_text("not audio")
    with pytest.raises(ValueError, match=r"cannot read .*notes\.wav as audio"):
        pipeline("feature-extraction", model=str(folder))(str(file))


@pytest.fixture
def address(tmp_path, monkeypatch):
    """Of this machine, where the files of the temporary folder can be fetched."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_heard_as_the_encoder_hears_it_however_it_is_given(folder, tmp_path, address):
    """An mp3 of which libsndfile would silently end after 7 of 12 seconds, and what only FFmpeg reads."""
    extract, encoder = pipeline("feature-extraction", model=str(folder)), MusicEncoder(folder, device="cpu")
    variable, late = tmp_path / "variable.mp3", tmp_path / "late.webm"
    write_variable_mp3(variable)
    remove_mp3_length(variable)
    encode_by_ffmpeg(late, make_tones(6.0, 48000), 48000, "libopus", start_s=2.0)
    for file, frames in [(variable, 900), (late, 450)]:
        content, url = file.read_bytes(), f"{address}/{file.name}"
        data = "data:audio/x;base64," + base64.b64encode(content).decode()
        found = [extract(way, return_tensors=True) for way in (str(file), file, content, url, data)]
        assert found[0].shape[1] == pytest.approx(frames, abs=8)
        assert all(torch.equal(features, found[0]) for features in found)
        expected = encoder.encode(file, layers=encoder.num_layers, pool=None, normalize=False, progress=False)
        np.testing.assert_allclose(found[0][0].numpy(), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"cannot read the bytes as audio: truncated"):
        extract(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"/missing\.mp3 cannot be fetched: 404\.$"):
        extract(f"{address}/missing.mp3?token=secret")


def test_what_cannot_be_fetched_is_told_without_what_its_url_holds(folder, address):
    extract = pipeline("feature-extraction", model=str(folder))
    host = address.removeprefix("http://")
    for url, reason in (
        (f"http://user:hf_canary@{host}/missing.mp3?token=hf_canary", "404"),
        ("http://user:hf_canary@127.0.0.1:9/song.mp3?sig=hf_canary#hf_canary", "ConnectError"),
        ("http://[hf_canary/song.mp3?token=hf_canary", "the URL names no host"),
    ):
        with pytest.raises(ValueError, match=reason) as refused:
            extract(url)
        assert "canary" not in "".join(traceback.format_exception(refused.value)) and "\n" not in str(refused.value)


def test_a_flac_behind_a_tag_of_mp3_is_no_mp3(folder, tmp_path):
    file = tmp_path / "song.flac"
    soundfile.write(file, make_tones(1.0, 24000), 24000)
    extract = pipeline("feature-extraction", model=str(folder))
    expected = extract(file, return_tensors=True)
    file.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x14" + bytes(20) + file.read_bytes())
    torch.testing.assert_close(extract(file, return_tensors=True), expected)


def test_an_unknown_option_names_those_there_are(folder):
    with pytest.raises(
        TypeError, match="unknown option layer; .* takes window_s, overlap_s, output_hidden_states, return_tensors"
    ):
        pipeline("feature-extraction", model=str(folder))(np.zeros(1000, np.float32), layer=7)


def test_model_and_extractor_can_be_given_as_objects(folder):
    model, extractor = AutoModel.from_pretrained(folder), MERTFeatureExtractor.from_pretrained(folder)
    extract = pipeline("feature-extraction", model=model, feature_extractor=extractor)
    assert extract(make_tones(1.0, 24000), return_tensors=True).shape == (1, 74, 32)


def test_a_folder_without_feature_extractor_is_an_error(folder):
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(OSError, match="preprocessor_config.json"):
        pipeline("feature-extraction", model=str(folder))


def test_text_models_behave_as_before(tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "music", "is", "good"]))
    tokenizer = BertTokenizer(str(vocabulary))
    bert = BertModel(BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    extract = pipeline("feature-extraction", model=str(tmp_path / "bert"))
    assert type(extract) is FeatureExtractionPipeline
    assert extract("music is good", return_tensors=True).shape == (1, 5, 16)
