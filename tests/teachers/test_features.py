import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.fft import dct
from scipy.signal import savgol_filter
from support.sounds import make_tones
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForPreTraining
from mert_hf.common.errors import InputError
from mert_hf.models.spectra_mert import LogMelSpectrum
from mert_hf.teachers import CQTTeacher, KMeansTeacher, ParallelKMeansTeacher, ResidualKMeansTeacher
from mert_hf.teachers.features import ConstantQFeature, HiddenStatesFeature, MFCCFeature


def clips(count=4, seconds=3.0):
    return torch.stack([torch.from_numpy(make_tones(seconds, 24000, seed)) for seed in range(count)])


@pytest.mark.parametrize(("coefficients", "dimensions"), [(13, 39), (20, 60)])
def test_mfcc_against_scipy(coefficients, dimensions):
    """Cosine transform of the log-mel spectrum; derivatives as slopes of straight lines through five frames."""
    feature = MFCCFeature(24000, 320, coefficients)
    assert feature.bins == dimensions
    mel = LogMelSpectrum(24000, 320, 40, 1024)(clips(2)).double().numpy()
    cepstrum = dct(mel, type=2, norm="ortho", axis=-1)[..., :coefficients]

    def slope(values):
        padded = np.pad(values, ((0, 0), (2, 2), (0, 0)), mode="edge")
        return savgol_filter(padded, 5, 1, deriv=1, axis=1)[:, 2:-2]

    expected = np.concatenate([cepstrum, slope(cepstrum), slope(slope(cepstrum))], axis=-1)
    found = feature(clips(2)).numpy()
    assert found.shape == (2, 226, dimensions)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(("pitch_class", "hz"), [(0, 65.41), (9, 110.0), (9, 880.0), (7, 392.0), (11, 1975.53)])
def test_a_folded_constant_q_finds_the_pitch_class_in_every_octave(pitch_class, hz):
    """Also of a tone 40 dB down, whose partials the logarithm keeps, and at any frame rate; silence stays 0."""
    feature = ConstantQFeature(24000, 960, fold=True)
    assert feature.bins == 12
    time = torch.arange(48000) / 24000
    for level in (1.0, 0.01):
        chroma = feature(level * torch.sin(2 * torch.pi * hz * time)[None])
        assert chroma.shape == (1, 51, 12)
        assert int(chroma[0, 25].argmax()) == pitch_class
        torch.testing.assert_close(chroma[0, 25].norm(), torch.tensor(1.0))
    assert float(feature(torch.zeros(1, 24000)).abs().max()) == 0


def test_constant_q_is_compressed_as_told_and_hears_half_its_longest_kernel():
    exact = ConstantQFeature(24000, 960, min_hz=65.4, bins=48, level=0.5)
    longest = 24000 / 65.4 / (2 ** (1 / 12) - 1)
    assert exact.context_samples % 960 == 0
    assert longest / 2 <= exact.context_samples < longest / 2 + 960
    assert (exact.frame_local, ConstantQFeature(24000, 960, tolerance=1e-3).frame_local) == (True, False)
    clip = clips(1)
    magnitudes = CQTTeacher(24000, 960, 65.4, 48, 12, backend="nnaudio")(clip)
    torch.testing.assert_close(exact(clip), (1 + magnitudes / 0.5).log(), atol=1e-4, rtol=1e-4)
    # what lies further away changes nothing
    frame, changed = 40, clip.clone()
    changed[:, : frame * 960 - exact.context_samples] = 0
    changed[:, frame * 960 + exact.context_samples :] = 0
    torch.testing.assert_close(exact(changed)[0, frame], exact(clip)[0, frame], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(exact(changed)[0, frame + 5], exact(clip)[0, frame + 5], atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": True, "bins": 40}, "bins=40 must be whole octaves of bins_per_octave=12"),
        ({"level": 0}, "level=0 must be positive"),
        ({"bins": 120}, "above 12000 Hz"),
        ({"bins": 12, "bins_per_octave": 100_000}, "give fewer bins_per_octave"),
    ],
)
def test_a_constant_q_that_cannot_be_computed_is_refused(options, message):
    with pytest.raises(InputError, match=f"feature_options.constant_q: .*{message}"):
        ParallelKMeansTeacher([8], ["constant_q"], {"constant_q": options})


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A trained MERT as a folder: small, with dropout, which a teacher must not use."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = MERTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.5,
        layerdrop=0.5,
    )
    MERTForPreTraining(config).save_pretrained(folder)
    MERTFeatureExtractor(sampling_rate=24000).save_pretrained(folder)
    return folder


def hidden_states_teacher(encoder, layer=2):
    options = {"hidden_states": {"folder": str(encoder), "layer": layer}}
    return ParallelKMeansTeacher([16], ["hidden_states"], options)


def test_hidden_states_are_those_of_the_layer(encoder):
    feature = HiddenStatesFeature(24000, 320, str(encoder), 2).train()
    assert (feature.bins, feature.model.training) == (32, False)
    model = MERTForPreTraining.from_pretrained(encoder).eval()
    expected = model.mert(clips(2), output_hidden_states=True).hidden_states[2]
    assert expected.shape == (2, 224, 32)
    torch.testing.assert_close(feature(clips(2)), expected)
    assert not any(parameter.requires_grad for parameter in feature.parameters())


def test_an_encoder_in_half_precision_is_used_in_float32(encoder, tmp_path):
    model = MERTForPreTraining.from_pretrained(encoder).bfloat16()
    model.save_pretrained(tmp_path)
    MERTFeatureExtractor(sampling_rate=24000).save_pretrained(tmp_path)
    expected = model.float().eval().mert(clips(2), output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(HiddenStatesFeature(24000, 320, str(tmp_path), 2)(clips(2)), expected)


def test_a_second_iteration_codes_hidden_states(encoder, tmp_path):
    teacher = hidden_states_teacher(encoder).fit(clips())
    codes = teacher(clips(2))
    nearest = torch.cdist(teacher.spectra[0](clips(2)), teacher.centroids_0).argmin(-1)
    assert torch.equal(codes[:, 0], nearest)
    teacher.save_pretrained(tmp_path / "teacher")
    assert torch.equal(KMeansTeacher.from_pretrained(tmp_path / "teacher")(clips(2)), codes)
    assert (teacher.frame_local, hidden_states_teacher(encoder, 1).fingerprint() == teacher.fingerprint()) == (False, False)


def test_features_of_unequal_lengths_are_cut_to_the_shortest(encoder):
    options = {"hidden_states": {"folder": str(encoder), "layer": 0}}
    teacher = ParallelKMeansTeacher([8, 8], ["mfcc", "hidden_states"], options).fit(clips())
    assert teacher(clips(2)).shape == (2, 2, 224)


def test_a_changed_encoder_is_not_taken_for_the_one_the_codebooks_were_fitted_on(encoder, tmp_path):
    copy = tmp_path / "encoder"
    copy.mkdir()
    for file in encoder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    hidden_states_teacher(copy).fit(clips()).save_pretrained(tmp_path / "teacher")
    model = MERTForPreTraining.from_pretrained(copy)
    with torch.no_grad():
        model.mert.encoder.layer_norm.bias += 1e-3
    model.save_pretrained(copy)
    with pytest.raises(ValueError, match="or the model whose hidden states it codes was"):
        KMeansTeacher.from_pretrained(tmp_path / "teacher")


def test_other_encoders_and_their_scaling_of_the_input(tmp_path):
    """A HuBERT at 16 kHz and 50 Hz for a student of the same rates; its extractor scales clips to unit variance."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    layer_norm = {"feat_extract_norm": "layer", "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16}
    HubertModel(HubertConfig(**sizes, **layer_norm)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    feature = HiddenStatesFeature(16000, 320, str(tmp_path), 1)
    clip = 0.01 * clips(1)
    torch.testing.assert_close(feature(clip), feature(100 * clip), atol=1e-3, rtol=1e-3)
    with pytest.raises(InputError, match="works at 16000 Hz and 50 frames per second, the model at 24000 Hz and 75"):
        HiddenStatesFeature(24000, 320, str(tmp_path), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "hidden_states needs both"),
        ({"folder": "/nowhere", "layer": 1}, "/nowhere cannot be loaded"),
        ({"layer": 9}, "layer=9; .* has the layers 0 to 3"),
    ],
)
def test_what_is_no_layer_of_an_encoder_is_refused(encoder, options, message):
    if "layer" in options:
        options = {"folder": str(encoder), **options}
    with pytest.raises(InputError, match=message):
        ParallelKMeansTeacher([8], ["hidden_states"], {"hidden_states": options})


def test_an_encoder_without_weights_is_an_error(encoder, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((encoder / name).read_bytes())
    with pytest.raises(InputError, match="cannot be loaded"):
        HiddenStatesFeature(24000, 320, str(tmp_path), 1)
    weights = MERTForPreTraining.from_pretrained(encoder).state_dict()
    kept = {name: tensor.contiguous() for name, tensor in weights.items() if "layers.1.feed_forward" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks weights of MERTModel: encoder.layers.1.feed_forward"):
        HiddenStatesFeature(24000, 320, str(tmp_path), 1)


LOCAL = {
    "log_mel": {"features": ["log_mel"], "feature_options": {"log_mel": {"bins": 40}}},
    "chroma": {"features": ["chroma"], "feature_options": {"chroma": {"bins": 24}}},
    "mfcc": {"features": ["mfcc"]},
    "constant_q": {"features": ["constant_q"], "feature_options": {"constant_q": {"min_hz": 130.8, "bins": 36}}},
}


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("samples", [24000 * 7, 24000 * 7 + 319, 24000 * 6 + 1, 5000])
def test_frame_local_teachers_code_long_tracks_in_pieces_exactly(name, samples):
    teacher = ResidualKMeansTeacher([16, 8], **LOCAL[name]).fit(clips())
    assert teacher.frame_local
    teacher.piece_s = 1.5
    waveform = make_tones(7.1, 24000, 5)[:samples]
    lengths = []

    def read(start, count):
        lengths.append(count)
        return waveform[start : start + count]

    codes = teacher.encode_track(read, samples)
    assert len(lengths) == max(samples // 36160, 1)
    assert np.array_equal(codes, teacher(torch.from_numpy(waveform)[None])[0].numpy())


def test_hidden_states_of_long_tracks_are_coded_in_pieces(encoder):
    """The second piece is frames 375 to 750 of the window that begins 2.5 s before it and ends 2.5 s behind it."""
    teacher = hidden_states_teacher(encoder).fit(clips())
    waveform = make_tones(21.0, 24000, 5)
    lengths = []

    def read(start, count):
        lengths.append(count / 24000)
        return waveform[start : start + count]

    codes = teacher.encode_track(read, len(waveform))
    assert codes.shape == (1, 1574)
    assert lengths == pytest.approx([7.5, 10, 10, 8.5], abs=0.02)
    middle = teacher(torch.from_numpy(waveform[187 * 320 : 938 * 320])[None])[0, :, 188:563].numpy()
    assert np.array_equal(codes[:, 375:750], middle)
