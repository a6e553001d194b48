"""MERT-v2 beside second implementations in numpy, and what holds for clips of any length."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from support.small_runs import MERT2_MODEL, MERT2_SHORT_MODEL
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, AutoModelForPreTraining

from mert_hf import MERT2Config, MERT2ForAudioFrameClassification, MERT2ForPreTraining, MERT2Model, MERTConfig, MERTModel
from mert_hf.models.conformer_mert2 import rotary_table, rotate
from mert_hf.models.mel_spectrum_mert2 import MERT2MelSpectrum
from mert_hf.models.subsampling_mert2 import MERT2GlobalResponseNorm


@pytest.fixture
def model() -> MERT2Model:
    """With norms, biases and response norms that do something."""
    torch.manual_seed(0)
    made = MERT2Model(MERT2Config(**MERT2_MODEL)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def music(samples: int, seed: int = 0) -> torch.Tensor:
    draws = np.random.default_rng(seed)
    tones = sum(np.sin(2 * np.pi * hz * np.arange(samples) / 24000) for hz in draws.uniform(80, 4000, 4))
    return torch.from_numpy(0.1 * tones + 0.01 * draws.standard_normal(samples)).float()


def spectrum_by_hand(waveform: np.ndarray, bands: int, n_fft: int = 2048) -> np.ndarray:
    """In float64, frame by frame and band by band, from the formulas: reflection, Hann, power, HTK triangles, decibels."""
    half = n_fft // 2
    continued = np.concatenate([waveform[half:0:-1], waveform, waveform[-2 : -half - 2 : -1]]).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    edges = 700 * (10 ** (np.linspace(0, 2595 * math.log10(1 + 12000 / 700), bands + 2) / 2595) - 1)
    hz = np.arange(half + 1) * 24000 / n_fft
    frames = []
    for frame in range(len(waveform) // 240):
        power = np.abs(np.fft.rfft(continued[240 * frame : 240 * frame + n_fft] * window)) ** 2
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            triangle = np.clip(np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)), 0, None)
            row.append(10 * math.log10(max(float(power @ triangle), 1e-10)))
        frames.append(row)
    return np.array(frames)


@torch.no_grad()
def test_the_front_end_is_that_of_its_formulas():
    front = MERT2MelSpectrum(MERT2Config(num_mel_bins=40, subsampling_channels=(40, 512, 1024)))
    front.reset()
    clips = [music(5000, 1), music(3001, 2), music(1025, 3)]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=0.7)
    together = front(padded, torch.tensor([len(clip) for clip in clips]))
    for clip, found in zip(clips, together, strict=True):
        expected = spectrum_by_hand(clip.numpy(), 40)
        np.testing.assert_allclose(front(clip[None])[0].numpy(), expected, atol=2e-3)
        np.testing.assert_allclose(found[: len(expected)].numpy(), expected, atol=2e-3)


@torch.no_grad()
def test_a_short_transform_stands_beside_the_long_one(tmp_path):
    torch.manual_seed(0)
    model = MERT2Model(MERT2Config(**MERT2_SHORT_MODEL)).eval()
    given = []
    model.subsampling_module.register_forward_pre_hook(lambda module, arguments: given.append(arguments[0]))
    clips = [music(6000, 1), music(3001, 2)]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = (torch.arange(6000) < torch.tensor([[6000], [3001]])).long()
    together = model(padded, attention_mask=mask).last_hidden_state
    for clip, bands, found in zip(clips, given[0], together, strict=True):
        alone = model(clip[None]).last_hidden_state[0]
        torch.testing.assert_close(found[: len(alone)], alone, atol=1e-5, rtol=1e-4)
        # of the same sound a window a quarter as long gives 12 dB less, and bands twice as wide 3 dB more
        for first, count, n_fft, mean in ((0, 16, 2048, -20.0), (16, 8, 512, -20.0 - 12.04 + 3.01)):
            expected = (spectrum_by_hand(clip.numpy(), count, n_fft) - mean) / 20
            np.testing.assert_allclose(bands[: len(expected), first : first + count].numpy(), expected, atol=2e-3)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(again(padded, attention_mask=mask).last_hidden_state, together)


@torch.no_grad()
def test_the_response_norm_is_that_of_its_formula_with_and_without_padding():
    norm = MERT2GlobalResponseNorm(5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    states = torch.randn(2, 7, 5)
    frames = (7, 4)
    valid = (torch.arange(7) < torch.tensor(frames)[:, None]).float().unsqueeze(-1)
    for found, whole in ((norm(states, valid), False), (norm(states), True)):
        for clip, count in enumerate(frames):
            x = states[clip].double().numpy()[: 7 if whole else count]
            lengths = np.sqrt((x**2).sum(0))
            ratio = lengths / (lengths.mean() + 1e-6)
            expected = norm.weight.numpy()[0] * (x * ratio) + norm.bias.numpy()[0] + x
            np.testing.assert_allclose(found[clip, : len(x)].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(("batch", "samples"), [(1, 128 * 240 - 1), (1, 128 * 240), (3, 60001), (200, 3000)])
def test_frames_that_are_transformed_a_few_at_once_are_those_of_the_whole(short, batch, samples):
    front = MERT2MelSpectrum(MERT2Config.small(), short)
    front.reset()
    waveform = torch.from_numpy(np.random.default_rng(3).normal(size=(batch, samples)).astype(np.float32))
    margin = front.n_fft // 2
    continued = torch.nn.functional.pad(waveform.unsqueeze(1), (margin, margin), mode="reflect").squeeze(1)
    whole = front.power(continued) @ front.mel_scale.fb
    assert whole.shape[1] == samples // 240 + 1
    torch.testing.assert_close(front.mel_power(waveform), whole, rtol=1e-5, atol=1e-6 * float(whole.max()))


def test_rotary_positions_are_complex_turns():
    heads = torch.randn(1, 2, 11, 8)
    turned = rotate(heads, *rotary_table(11, 8, 500, "cpu", torch.float32))
    pairs = torch.complex(heads[..., :4].double(), heads[..., 4:].double())
    angles = torch.arange(11).double()[:, None] * 500.0 ** (-2 * torch.arange(4).double() / 8)
    expected = pairs * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(turned.double(), torch.cat([expected.real, expected.imag], -1), atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_padding_changes_nothing_for_clips_of_random_lengths(model, seed):
    draws = np.random.default_rng(seed)
    lengths = [1025, *draws.integers(1025, 60_000, 4).tolist()]
    clips = [music(length, number) for number, length in enumerate(lengths)]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    padded = torch.nn.functional.pad(padded, (0, int(draws.integers(0, 3000))), value=0.3)
    mask = torch.arange(padded.shape[1]) < torch.tensor(lengths)[:, None]
    for dtype in (torch.bool, torch.int32, torch.float32):
        outputs = model(padded, attention_mask=mask.to(dtype), output_hidden_states=True)
        for number, clip in enumerate(clips):
            alone, frames = model(clip[None], output_hidden_states=True), lengths[number] // 960
            for together, single in zip(outputs.hidden_states, alone.hidden_states, strict=True):
                torch.testing.assert_close(together[number, :frames], single[0], atol=2e-5, rtol=0)
                assert not together[number, frames:].any()
            assert outputs.feature_attention_mask[number].sum() == frames
            assert model.count_frames(lengths[number]) == frames


@torch.no_grad()
def test_the_tuple_is_the_official_one_unless_the_configuration_says_otherwise(model):
    waveform = music(24_000)[None]
    outputs = model(waveform, output_hidden_states=True)
    assert len(outputs.hidden_states) == 3
    assert outputs.hidden_states[-1] is outputs.last_hidden_state
    model.config.hidden_states_include_input = True
    more = model(waveform, output_hidden_states=True)
    assert len(more.hidden_states) == 4
    assert torch.equal(more.hidden_states[0], model.subsampling_module(model.feature_extractor(waveform)))
    assert all(torch.equal(one, other) for one, other in zip(more.hidden_states[1:], outputs.hidden_states, strict=True))
    plain = model(waveform, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[0], outputs.last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_it_compiles_without_a_graph_break(model, masked):
    waveform = music(30_000).expand(2, -1)
    mask = {"attention_mask": (torch.arange(30_000) < torch.tensor([[30_000], [20_000]])).long()} if masked else {}
    expected = model(waveform, **mask).last_hidden_state
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(waveform, **mask).last_hidden_state, expected, atol=2e-5, rtol=0)


def test_flash_attention_can_be_configured():
    """It runs on GPUs only; here it is declared, not run."""
    assert MERT2Model._supports_flash_attn
    assert MERT2Model._supports_flex_attn
    assert MERT2Model._supports_sdpa


def test_train_and_eval_give_the_same_and_waveforms_get_no_gradient(model):
    waveform = music(5000)[None].requires_grad_()
    there = model.train()(waveform).last_hidden_state
    there.sum().backward()
    assert waveform.grad is None
    assert torch.equal(there, model.eval()(waveform).last_hidden_state)


def test_presets():
    with torch.device("meta"):
        parameters = [
            sum(parameter.numel() for parameter in MERT2Model(make()).parameters())
            for make in (MERT2Config.mert2_30s, MERT2Config.mert2_full_song, MERT2Config.small)
        ]
    assert parameters == [632_295_808, 632_295_808, 5_337_504]
    assert MERT2Config().frame_rate == MERT2Config.small().frame_rate == 25.0
    assert (MERT2Config.mert2_30s().context_seconds, MERT2Config.mert2_full_song().context_seconds) == (30.0, 360.0)
    changed = MERT2Config(inputs_to_logits_ratio=1, frame_rate=7.0, minimum_input_samples=3)
    assert (changed.hop_samples, changed.frame_rate, changed.minimum_input_samples) == (960, 25.0, 1025)
    assert MERT2Config(sample_rate=24_000).sampling_rate == MERT2Config().sample_rate == 24_000


def test_fresh_weights_are_drawn_as_the_official_code_does():
    torch.manual_seed(0)
    made = MERT2Model(MERT2Config(**{**MERT2_MODEL, "hidden_size": 192, "subsampling_channels": (16, 96, 192)}))
    for name, parameter in made.named_parameters():
        if parameter.ndim > 1 and "pointwise_block.3" not in name:
            assert float(parameter.std().detach()) == pytest.approx(0.02, rel=0.35), name
        elif "norm" in name and name.endswith("weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias") or "pointwise_block.3" in name:
            assert (parameter == 0).all(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "60s"}, "variant='60s'; accepted: '30s' or 'fs'"),
        ({"num_attention_heads": 3}, "num_attention_heads=3; accepted: a divisor of hidden_size=32"),
        ({"num_attention_heads": 32}, "leaves each head an even size"),
        ({"subsampling_channels": (16, 24)}, "three widths, from num_mel_bins=16 to hidden_size=32"),
        ({"subsampling_channels": (20, 24, 32)}, "three widths, from num_mel_bins=16"),
        ({"subsampling_depths": (1, 0, 1)}, "three numbers of layers"),
        ({"conv_depthwise_kernel_size": 8}, "an odd number"),
        ({"short_mel_bins": 8}, r"three widths, from num_mel_bins=16 \+ short_mel_bins=8 to hidden_size=32"),
        ({"short_mel_bins": -1}, "short_mel_bins=-1; accepted: a whole number from 0 to 1024"),
        ({"short_mel_bins": 8, "subsampling_channels": (24, 24, 32), "short_win_length": 511}, "an even number from 2 to 2048"),
        (
            {"short_mel_bins": 8, "subsampling_channels": (24, 24, 32), "short_win_length": 4096},
            "an even number from 2 to 2048",
        ),
        ({"n_fft": 1024}, "n_fft=1024; accepted: an even number, 2048"),
        ({"n_fft": 2049, "win_length": 1024}, "an even number"),
        ({"hop_length": 300}, "hop_length=300; accepted: at most 256"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"hidden_size": 10**6}, "hidden_size=1000000"),
        ({"sampling_rate": 10}, "sampling_rate"),
        ({"rotary_embedding_base": math.inf}, "rotary_embedding_base"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps"),
        ({"mel_std_db": 0.0}, "mel_std_db"),
        ({"context_seconds": -1}, "context_seconds"),
        ({"codebook_sizes": (1,)}, "codebook_sizes"),
        ({"code_offset": 12}, "code_offset"),
        (
            {"hidden_size": 8192, "intermediate_size": 65_536, "num_hidden_layers": 256, "subsampling_channels": None},
            "a model of",
        ),
    ],
)
def test_configurations_that_no_model_can_be_built_from(changes, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        MERT2Config(**{**MERT2_MODEL, **changes})
    with pytest.raises(ValueError, match=message) as refused:
        MERT2Config.from_dict({**MERT2_MODEL, **changes})
    assert "\n" not in str(refused.value)


def test_the_families_are_told_apart(tmp_path, model, tiny_config):
    model.save_pretrained(tmp_path / "v2")
    MERTModel(tiny_config).save_pretrained(tmp_path / "v1")
    assert type(AutoModel.from_pretrained(tmp_path / "v1")) is MERTModel
    assert type(AutoModel.from_pretrained(tmp_path / "v2")) is MERT2Model
    with pytest.raises(ValueError, match="'mert2' is not MERT; .* It is MERT-v2: MERT2Config and MERT2Model read it"):
        MERTModel.from_pretrained(tmp_path / "v2")
    with pytest.raises(ValueError, match="'mert_model' is not MERT-v2; .* It is a MERT v0 or v1: MERTConfig and MERTModel"):
        MERT2Model.from_pretrained(tmp_path / "v1")
    assert type(AutoConfig.from_pretrained(tmp_path / "v1")) is MERTConfig
    assert type(AutoConfig.from_pretrained(tmp_path / "v2")) is MERT2Config


def test_pre_training_hides_frames_and_its_loss_is_that_of_its_parts():
    torch.manual_seed(0)
    made = MERT2ForPreTraining(MERT2Config(**MERT2_MODEL)).eval()
    waveform, frames = torch.stack([music(24_000, 1), music(24_000, 2)]), 25
    mask = torch.rand(2, frames) < 0.5
    batch = {
        "mask_time_indices": mask,
        "labels": torch.randint(0, 12, (2, 2, frames + 1)),
        "cqt_labels": torch.rand(2, frames + 1, 24),
    }
    outputs = made(waveform, **batch)
    hidden = made.mert2(waveform, mask_time_indices=mask, mask_embedding=made.mask_embedding).last_hidden_state[mask]
    labels = batch["labels"].mT[:, :frames][mask]
    scores = made.code_head(hidden)
    code_loss = sum(torch.nn.functional.cross_entropy(book, labels[:, number]) for number, book in enumerate(scores))
    cqt_loss = torch.nn.functional.mse_loss(made.cqt_head(hidden), batch["cqt_labels"][:, :frames][mask])
    torch.testing.assert_close(outputs.loss, code_loss + cqt_loss)
    # what is hidden is heard nowhere: other music below the mask leaves the input of the first block as it is
    entered = []
    made.mert2.layers[0].register_forward_pre_hook(lambda _module, given: entered.append(given[0].detach()))
    made(waveform, **batch)
    assert (entered[0][mask] == made.mask_embedding).all()
    outputs.loss.backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
    with pytest.raises(ValueError, match=r"\(batch, frames\) = \(2, 25\)"):
        made(waveform, mask_time_indices=mask[:, :-1])
    with pytest.raises(ValueError, match="needs mask_embedding"):
        made.mert2(waveform, mask_time_indices=mask)


@torch.no_grad()
def test_hidden_frames_of_padded_clips_are_those_of_the_clips_alone():
    torch.manual_seed(0)
    made = MERT2ForPreTraining(MERT2Config(**{**MERT2_MODEL, "hidden_states_include_input": True})).eval()
    clips, hidden = [music(40_000, 1), music(24_000, 2)], torch.rand(2, 41) < 0.5
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = torch.arange(40_000) < torch.tensor([[40_000], [24_000]])
    options = {"mask_embedding": made.mask_embedding, "output_hidden_states": True}
    together = made.mert2(padded, mask, hidden, **options).hidden_states
    for number, (clip, frames) in enumerate(zip(clips, (41, 25), strict=True)):
        alone = made.mert2(clip[None], None, hidden[number : number + 1, :frames], **options).hidden_states
        for state, single in zip(together, alone, strict=True):
            torch.testing.assert_close(state[number, :frames], single[0], atol=2e-5, rtol=0)
            assert not state[number, frames:].any()


@torch.no_grad()
def test_heads_find_the_encoder_of_a_published_checkpoint_and_padding_has_no_part(model, tmp_path):
    model.save_pretrained(tmp_path)
    classifier = AutoModelForAudioClassification.from_pretrained(tmp_path, num_labels=3, use_weighted_layer_sum=True).eval()
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in classifier.mert2.state_dict().items())
    assert len(classifier.layer_sum.weights) == 4
    clips = [music(40_000, 1), music(24_000, 2)]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = torch.arange(40_000) < torch.tensor([[40_000], [24_000]])
    together = classifier(padded, attention_mask=mask).logits
    for clip, logits in zip(clips, together, strict=True):
        torch.testing.assert_close(classifier(clip[None]).logits[0], logits, atol=2e-5, rtol=0)
    frames = MERT2ForAudioFrameClassification(MERT2Config(**MERT2_MODEL, num_labels=4)).eval()
    labels = torch.randint(0, 4, (2, 41))
    assert frames(padded, attention_mask=mask, labels=labels).logits.shape == (2, 41, 4)
    classifier.save_pretrained(tmp_path / "head")
    again = AutoModel.from_pretrained(tmp_path / "head").eval()
    assert type(again) is MERT2Model
    assert torch.equal(again(padded).last_hidden_state, model(padded).last_hidden_state)
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path)) is MERT2ForPreTraining
