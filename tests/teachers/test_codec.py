import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.sounds import make_tones
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, HubertConfig, HubertModel

from mert_hf.common.errors import InputError
from mert_hf.teachers import CodecTeacher

SMALL_ENCODEC = {"num_filters": 2, "hidden_size": 16, "codebook_dim": 16, "num_lstm_layers": 1}


@pytest.fixture
def folder(tmp_path):
    """EnCodec's architecture, small and with random weights: what it codes means nothing, how it is called is the same."""
    torch.manual_seed(0)
    codec = EncodecModel(EncodecConfig(**SMALL_ENCODEC, target_bandwidths=[1.5, 6.0]))
    with torch.no_grad():  # the codebooks begin at 0: take what the encoder gives
        frames = codec.encoder(batch()[:, None]).mT.flatten(0, 1)
    for number, layer in enumerate(codec.quantizer.layers):
        spread = 0.7**number * frames.std(0) * torch.randn(1024, 16)
        layer.codebook.embed.copy_(spread + frames.mean(0) * (number == 0))
    codec.save_pretrained(tmp_path / "encodec")
    return tmp_path / "encodec"


@pytest.fixture
def dac(tmp_path):
    """DAC's architecture at 24 kHz and 75 Hz."""
    torch.manual_seed(0)
    config = DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=[2, 4, 5, 8], n_codebooks=5, sampling_rate=24000
    )
    DacModel(config).save_pretrained(tmp_path / "dac")
    return tmp_path / "dac"


def batch(count=2, seconds=2.0):
    return torch.stack([torch.from_numpy(make_tones(seconds, 24000, seed)) for seed in range(count)])


def test_codes_are_those_of_the_codec(folder):
    teacher = CodecTeacher.from_pretrained(folder)
    assert (teacher.sampling_rate, teacher.frame_rate, teacher.codebook_sizes) == (24000, 75.0, [1024] * 8)
    waveform = batch()
    codes = teacher(waveform)
    assert codes.shape == (2, 8, 150)
    assert codes.dtype == torch.int64
    assert len(codes.unique()) > 50
    assert torch.equal(codes, teacher.codec(waveform[:, None], bandwidth=6.0).audio_codes[0])
    assert all(not parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.train().codec.training


def test_fewer_codebooks_are_the_first_ones(folder):
    """Two are what EnCodec has at 1.5 kbit/s; three lie between its bit rates."""
    whole, waveform = CodecTeacher.from_pretrained(folder, 8)(batch(1)), batch(1)
    for books in (1, 2, 3):
        teacher = CodecTeacher.from_pretrained(folder, books)
        assert teacher.codebook_sizes == [1024] * books
        assert torch.equal(teacher(waveform), whole[:, :books])


def test_other_codecs_of_transformers(dac):
    teacher = CodecTeacher.from_pretrained(dac, 4)
    assert (teacher.sampling_rate, teacher.frame_rate, teacher.codebook_sizes) == (24000, 75.0, [1024] * 4)
    codes = teacher(batch())
    assert codes.shape == (2, 4, 150)
    assert torch.equal(codes, teacher.codec(batch()[:, None]).audio_codes[:, :4])
    assert "dac" in teacher.description
    with pytest.raises(InputError, match=r"has 5 codebooks; 8 are wanted \(teacher.codebook_sizes\)"):
        CodecTeacher.from_pretrained(dac, 8)


def test_long_tracks_are_coded_in_pieces_that_hear_what_lay_before(folder):
    teacher = CodecTeacher.from_pretrained(folder, 2)
    waveform = batch(1, 7.0)[0].numpy()
    lengths = []

    def read(start, count):
        lengths.append(count)
        return waveform[start : start + count]

    whole = teacher.encode_track(read, len(waveform))
    assert lengths == [168000]  # no longer than it can be: at once
    assert torch.equal(torch.from_numpy(whole), teacher(torch.from_numpy(waveform)[None])[0])
    lengths.clear()
    teacher.piece_s = 1.0
    pieces = teacher.encode_track(read, len(waveform))
    assert max(lengths) == 5 * 24000  # a second and two on either side
    assert pieces.shape == whole.shape
    assert (pieces == whole).mean() > 0.98
    teacher.context_samples = 0
    assert (teacher.encode_track(read, len(waveform)) == whole).mean() < 0.95


def test_a_codec_codes_what_is_shorter_than_fifteen_minutes_at_once_and_more_in_pieces_of_five(folder):
    """As the page on training says."""
    teacher, minute = CodecTeacher.from_pretrained(folder, 2), 60 * 24000
    assert teacher.pieces(15 * minute - 1) == [(0, 15 * minute - 1)]
    around = 2 * 24000
    for stop in (15 * minute, 20 * minute - 1):  # the last piece takes the rest
        assert teacher.pieces(stop) == [
            (0, 5 * minute + around),
            (5 * minute - around, 10 * minute + around),
            (10 * minute - around, stop),
        ]
    page = (Path(__file__).parents[2] / "training" / "README.md").read_text().replace("\n", " ")
    assert "files of fifteen minutes and more are coded in pieces of five" in page


def test_fingerprints_tell_codecs_and_weights_apart(folder, dac):
    teachers = [
        CodecTeacher.from_pretrained(folder, 4),
        CodecTeacher.from_pretrained(dac, 4),
        CodecTeacher.from_pretrained(folder, 3),
    ]
    assert len({teacher.fingerprint() for teacher in teachers}) == 3
    shutil.copytree(folder, folder.parent / "copy")
    assert CodecTeacher.from_pretrained(folder.parent / "copy", 4).fingerprint() == teachers[0].fingerprint()
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1e-3}, folder / "model.safetensors", metadata={"format": "pt"})
    assert CodecTeacher.from_pretrained(folder, 4).fingerprint() != teachers[0].fingerprint()


def test_a_folder_in_half_precision_is_used_in_float32(folder, tmp_path):
    half = EncodecModel.from_pretrained(folder).bfloat16()
    half.save_pretrained(tmp_path / "half")
    half.float().save_pretrained(tmp_path / "rounded")
    teachers = [CodecTeacher.from_pretrained(tmp_path / name, 4) for name in ("half", "rounded")]
    assert torch.equal(*(teacher(batch()) for teacher in teachers))
    assert teachers[0].fingerprint() == teachers[1].fingerprint()


def test_what_is_no_codec_is_refused(tmp_path):
    HubertModel(HubertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)).save_pretrained(
        tmp_path
    )
    with pytest.raises(InputError, match="is a hubert, not a codec with residual codebooks"):
        CodecTeacher.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="overlapping chunks of 1 s, whose frames follow no common clock"):
        CodecTeacher(EncodecModel(EncodecConfig(**SMALL_ENCODEC, chunk_length_s=1.0, overlap=0.01)))


def test_a_codec_without_weights_is_an_error_never_random_weights(folder):
    with pytest.raises(InputError, match="has 8 codebooks; 9 are wanted"):
        CodecTeacher.from_pretrained(folder, 9)
    weights = load_file(folder / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks weights"):
        CodecTeacher.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        CodecTeacher.from_pretrained(folder)
    with pytest.raises(InputError, match="cannot be loaded"):
        CodecTeacher.from_pretrained(folder / "nowhere")
