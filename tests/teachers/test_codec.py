import pytest
import torch
from safetensors.torch import load_file, save_file
from sounds import make_tones
from transformers import EncodecConfig, EncodecModel

from mert_hf.errors import InputError
from mert_hf.teachers.encodec import EncodecTeacher


@pytest.fixture
def folder(tmp_path):
    """EnCodec's architecture, small and with random weights: what it codes means nothing, how it is called is the same."""
    torch.manual_seed(0)
    config = EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, num_lstm_layers=1, target_bandwidths=[1.5, 6.0])
    EncodecModel(config).save_pretrained(tmp_path)
    return tmp_path


def test_codes_are_those_of_the_codec(folder):
    teacher = EncodecTeacher.from_pretrained(folder)
    assert (teacher.sampling_rate, teacher.frame_rate, teacher.codebook_sizes) == (24000, 75.0, [1024] * 8)
    waveform = torch.stack([torch.from_numpy(make_tones(5.0, 24000, seed)) for seed in (0, 1)])
    codes = teacher(waveform)
    assert codes.shape == (2, 8, 375)
    assert codes.dtype == torch.int64
    alone = teacher.codec(waveform[1:, None], bandwidth=6.0).audio_codes
    assert torch.equal(codes[1:], alone[0])
    assert EncodecTeacher.from_pretrained(folder, 1.5).codebook_sizes == [1024] * 2
    assert all(not parameter.requires_grad for parameter in teacher.parameters())


def test_a_codec_without_weights_is_an_error_never_random_weights(folder):
    with pytest.raises(InputError, match=r"has no rate of 3.0 kbit/s; it has 1.5, 6.0"):
        EncodecTeacher.from_pretrained(folder, 3.0)
    weights = load_file(folder / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks weights"):
        EncodecTeacher.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        EncodecTeacher.from_pretrained(folder)
    with pytest.raises(InputError, match="cannot be loaded"):
        EncodecTeacher.from_pretrained(folder / "nowhere")
