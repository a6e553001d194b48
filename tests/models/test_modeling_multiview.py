"""The multi-view encoder against torchaudio's front end and torch's attention, and what users rely on."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchaudio
from support.multiview_runs import RESNET
from support.sounds import make_tones
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, pipeline

from mert_hf import MERTFeatureExtractor, MultiViewConfig, MultiViewModel
from mert_hf.models.spectra_mert import MelDecibelSpectrum


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = MultiViewModel(MultiViewConfig(**RESNET))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    model.bn1.running_mean.fill_(-40.0)
    return model.eval()


def make_clips(seconds: float, count: int = 2) -> torch.Tensor:
    return torch.stack([torch.from_numpy(make_tones(seconds, 16000, seed)) for seed in range(count)])


@torch.no_grad()
def embed(model, clips, **kwargs):
    return model(clips, **kwargs).pooler_output


def test_the_defaults_are_deezers_model():
    config = MultiViewConfig()
    model = MultiViewModel(config)
    count = {name: sum(value.numel() for value in part.parameters()) for name, part in model.named_children()}
    stem = sum(count[name] for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"))
    stages = [sum(value.numel() for value in stage.parameters()) for stage in model.stages]
    assert (stem, stages, count["pooling"]) == (1864, [14_016, 77_568, 447_488, 939_520], 1_319_936)
    assert sum(count.values()) == 2_800_392
    assert (config.pooled_positions, config.frame_rate) == (12, 0.25)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_the_spectrum_is_torchaudios():
    clips = torch.cat([make_clips(4.0), torch.zeros(1, 64000)])
    mel = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=1024, f_min=0, f_max=11025, n_mels=128, normalized=True, mel_scale="slaney"
    )
    to_decibels = torchaudio.transforms.AmplitudeToDB("power", top_db=100)
    expected = torch.cat([to_decibels(mel(clip[None, None]))[0] for clip in clips])
    found = MelDecibelSpectrum()(clips).mT
    assert found.shape == (3, 128, 126)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    # the 11 bands above 8 kHz are empty, and there
    floor = (found[0].max() - 100).clamp(min=-100)
    assert torch.equal(found[0, 117:], floor.expand(11, 126))
    assert (found[0, :117].amax(1) > floor).all()


def test_the_network_is_the_one_described(model):
    """Written out a second time from the description, with torch's own attention."""

    def norm(x, layer):
        return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)

    clips = make_clips(4.0)
    x = model.spectrum(clips).mT[:, None]
    x = F.relu(norm(F.conv2d(x, model.conv1.weight, stride=2, padding=1), model.bn1))
    x = F.relu(norm(F.conv2d(x, model.conv2.weight, padding=1), model.bn2))
    x = F.avg_pool2d(F.relu(norm(F.conv2d(x, model.conv3.weight, padding=1), model.bn3)), 2)
    for number, (block,) in enumerate(model.stages):
        inner = F.relu(norm(F.conv2d(x, block.conv1.weight), block.bn1))
        inner = F.relu(norm(F.conv2d(inner, block.conv2.weight, padding=1), block.bn2))
        skip = x
        if number:
            inner, skip = F.avg_pool2d(inner, 2), F.avg_pool2d(x, 2)
        x = F.relu(
            norm(F.conv2d(inner, block.conv3.weight), block.bn3) + norm(F.conv2d(skip, block.skip[1].weight), block.skip[2])
        )
    assert x.shape[1:] == (128, 4, 3)
    places = x.flatten(2).permute(2, 0, 1)
    pooling = model.pooling
    places = torch.cat([places.mean(0, keepdim=True), places]) + pooling.positional_embedding[:, None]
    projections = (pooling.q_proj, pooling.k_proj, pooling.v_proj)
    expected = F.multi_head_attention_forward(
        places,
        places,
        places,
        128,
        4,
        None,
        torch.cat([projection.bias for projection in projections]),
        None,
        None,
        False,
        0.0,
        pooling.c_proj.weight,
        pooling.c_proj.bias,
        training=False,
        need_weights=False,
        use_separate_proj_weight=True,
        **{f"{name}_proj_weight": projection.weight for name, projection in zip("qkv", projections, strict=True)},
    )[0][0]
    torch.testing.assert_close(embed(model, clips), expected.detach(), rtol=1e-4, atol=1e-4)


def test_longer_audio_is_the_mean_of_its_pieces(model, monkeypatch):
    clip = make_clips(10.0, 1)
    outputs = model(clip, output_hidden_states=True)
    pieces = [F.pad(piece, (0, 64000 - piece.shape[1])) for piece in clip.split(64000, dim=1)]
    expected = torch.stack([embed(model, piece) for piece in pieces], dim=1)
    torch.testing.assert_close(outputs.last_hidden_state.detach(), expected)
    torch.testing.assert_close(outputs.pooler_output.detach(), expected.mean(1))
    assert len(outputs.hidden_states) == 1
    monkeypatch.setattr(model.config, "output_hidden_states", True)
    assert len(model(clip).hidden_states) == 1
    assert model(clip, output_hidden_states=False).hidden_states is None


def test_a_padded_clip_has_the_embedding_it_has_alone(model):
    long, short = make_clips(9.0, 1)[0], make_clips(3.0, 2)[1]
    alone = torch.cat([embed(model, clip[None]) for clip in (long, short)])
    extractor = MERTFeatureExtractor(sampling_rate=16000, min_samples=1)
    inputs = extractor([long.numpy(), short.numpy()], sampling_rate=16000, return_tensors="pt")
    torch.testing.assert_close(embed(model, **{"clips": inputs.input_values, "attention_mask": inputs.attention_mask}), alone)
    assert not torch.allclose(embed(model, inputs.input_values)[1], alone[1])


def test_loudness_is_heard_unless_it_is_taken_out():
    torch.manual_seed(0)
    clips = make_clips(4.0)
    for normalised in (False, True):
        model = MultiViewModel(MultiViewConfig(**RESNET, peak_normalize=normalised)).eval()
        assert torch.allclose(embed(model, clips), embed(model, 0.1 * clips), rtol=1e-3, atol=1e-3) == normalised
    assert torch.isfinite(embed(model, torch.zeros(1, 64000))).all()


def test_loads_by_the_auto_classes_and_the_pipeline(model, tmp_path):
    model.save_pretrained(tmp_path)
    MERTFeatureExtractor(sampling_rate=16000, min_samples=1).save_pretrained(tmp_path)
    names = {file.name for file in tmp_path.glob("*.py")}
    assert {"configuration_multiview.py", "modeling_multiview.py", "spectra_mert.py", "feature_extraction_mert.py"} <= names
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, MultiViewModel)
    assert AutoConfig.from_pretrained(tmp_path).frame_rate == 0.25
    assert AutoFeatureExtractor.from_pretrained(tmp_path).sampling_rate == 16000
    clip = make_clips(5.0, 1)
    torch.testing.assert_close(embed(loaded, clip), embed(model, clip))
    features = pipeline("feature-extraction", model=str(tmp_path), device="cpu")(clip[0].numpy(), return_tensors=True)
    torch.testing.assert_close(features, model(clip).last_hidden_state.detach())


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (dict(width=3), "width=3; accepted: a positive even number"),
        (dict(blocks=[3, 4]), "blocks=\\[3, 4\\]; accepted: four counts"),
        (dict(num_attention_heads=7), "num_attention_heads=7; accepted: a divisor of the 512 channels"),
        (dict(clip_samples=1000), "clip_samples=1000; accepted: 15872 or more"),
        (dict(mel_bins=16), "mel_bins=16; accepted: 32 or more"),
    ],
)
def test_configurations_no_model_can_be_made_of_are_refused(field, message):
    with pytest.raises(Exception, match=message):
        MultiViewConfig(**field)


def test_arrays_of_another_shape_are_refused(model):
    with pytest.raises(ValueError, match=r"shape \(batch, samples\), mono; got torch.float32 of shape \(64000,\)"):
        model(torch.zeros(64000))
    assert np.isfinite(embed(model, torch.zeros(1, 1)).numpy()).all()
