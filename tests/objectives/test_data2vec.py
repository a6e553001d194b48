import copy
import logging

import pytest
import torch
import torch.nn.functional as F
from support.multiview_runs import DATA2VEC, NO_DROPOUT, make_data2vec
from support.sounds import make_tones
from transformers import AutoFeatureExtractor, AutoModel, Data2VecAudioConfig, Data2VecAudioModel, Wav2Vec2FeatureExtractor

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.objectives import Data2Vec
from mert_hf.objectives.data2vec import Data2VecSettings, make_targets, measure_deviation, regression_errors
from mert_hf.objectives.masking import MaskingSettings


def make_clips(count: int = 3) -> torch.Tensor:
    return torch.stack([torch.from_numpy(make_tones(1.5, 16000, seed)) for seed in range(count)])


def run(objective, clips=None):
    batch = objective.prepare(make_clips() if clips is None else clips, Draws(0))
    return objective(batch, objective.count(batch))


def encode_by_hand(encoder, features, heads):
    """data2vec's transformer written out: the feed-forward output of every layer, before the residual is added."""
    position = features.mT
    for layer in encoder.pos_conv_embed.layers:
        position = F.conv1d(position, layer.conv.weight, layer.conv.bias, padding=9, groups=layer.conv.groups)
        position = F.gelu(F.layer_norm(position.mT, position.shape[1:2])).mT
    states = F.layer_norm(features + position.mT, features.shape[-1:], encoder.layer_norm.weight, encoder.layer_norm.bias)
    outputs = []
    for layer in encoder.layers:
        attention = layer.attention
        query, key, value = (
            projection(states).unflatten(-1, (heads, -1)).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        states = layer.layer_norm(states + attention.out_proj((weights @ value).transpose(1, 2).flatten(2)))
        inner = F.gelu(layer.feed_forward.intermediate_dense(states))
        outputs.append(layer.feed_forward.output_dense(inner))
        states = layer.final_layer_norm(states + outputs[-1])
    return outputs


def test_targets_are_the_feed_forward_outputs_before_the_residual():
    objective = make_data2vec().train()  # the teacher stays in eval()
    clips = objective.prepare(make_clips(), Draws(0))["input_values"]
    model = objective.model
    with torch.no_grad():
        features = model.feature_projection(model.feature_extractor(clips).mT)[0]
        outputs = encode_by_hand(model.encoder, features, heads=4)
        expected = []
        for output in outputs[-2:]:
            mean, deviation = output.mean(1, keepdim=True), output.var(1, correction=0, keepdim=True)
            expected.append((output - mean) / (deviation + 1e-5).sqrt())
        targets = objective.compute_targets(features)
        torch.testing.assert_close(targets, sum(expected) / 2, rtol=1e-4, atol=1e-5)
        # hidden states, which other implementations predict, are something else
        states = model.encoder(features, output_hidden_states=True).last_hidden_state
    assert not torch.allclose(make_targets([states], 1), make_targets(outputs, 1), atol=0.1)


def test_the_loss_is_on_masked_frames_against_the_clean_clip():
    objective = make_data2vec(beta=0.0).train()
    batch = objective.prepare(make_clips(), Draws(0))
    loss, logs = objective(batch, objective.count(batch))
    model, mask = objective.model, batch["mask_time_indices"]
    features = model.feature_projection(model.feature_extractor(batch["input_values"]).mT)[0]
    targets = objective.compute_targets(features)
    predicted = objective.head(model(**batch).last_hidden_state)
    errors = [((predicted[place] - targets[place]) ** 2).sum() / 32**0.5 for place in zip(*mask.nonzero().T, strict=True)]
    torch.testing.assert_close(loss, torch.stack(errors).mean())
    assert 0.3 < mask.float().mean() < 0.7
    # half of the clips are worth half of the loss
    first = {name: value[:1] for name, value in batch.items()}
    rest = {name: value[1:] for name, value in batch.items()}
    shares = [objective(part, objective.count(batch)).loss for part in (first, rest)]
    torch.testing.assert_close(sum(shares), loss)
    assert set(logs) == {"loss", "target_std", "prediction_std", "ema_distance"}


def test_smooth_l1_is_the_formula():
    predicted, target = torch.tensor([[0.1, 2.0, -0.3, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    by_hand = (0.1**2 / (2 * 0.5) + (2.0 - 0.25) + 0.3**2 / (2 * 0.5)) / 2
    assert float(regression_errors(predicted, target, beta=0.5)) == pytest.approx(by_hand)
    assert float(regression_errors(predicted, target)) == pytest.approx((0.01 + 4 + 0.09) / 2)


def test_gradients_reach_the_student_and_not_the_teacher():
    objective = make_data2vec().train()
    run(objective).loss.backward()
    assert objective.model.feature_extractor.conv_layers[0].conv.weight.grad.abs().sum() > 0
    assert objective.model.masked_spec_embed.grad.abs().sum() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in objective.teacher.parameters())


def test_the_teacher_runs_without_dropout():
    torch.manual_seed(0)
    model = Data2VecAudioModel(Data2VecAudioConfig(**DATA2VEC, layerdrop=0.5, hidden_dropout=0.3))
    objective = Data2Vec(model, MaskingSettings(0.65, 5, 1), Data2VecSettings(top_layers=2)).train()
    features = torch.randn(2, 40, 32)
    assert torch.equal(objective.compute_targets(features), objective.compute_targets(features))
    assert objective.model.training and not objective.teacher.training


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.999 + 0.0009 / 30000), (14_999, 0.99945), (29_999, 0.9999), (100_000, 0.9999)]
)
def test_the_average_moves_as_scheduled_and_copies_the_positions(step, decay):
    objective = make_data2vec(first_judged_step=10**9)
    before = copy.deepcopy(objective.teacher.copies[0])
    with torch.no_grad():
        for parameter in objective.model.parameters():
            parameter.add_(torch.ones_like(parameter))
    objective.after_step(step)
    now, student = objective.teacher.copies[0], objective.model.encoder
    for name, old in before.named_parameters():
        expected = student.get_parameter(name)
        if not name.startswith("pos_conv_embed."):
            expected = decay * old.double() + (1 - decay) * expected.double()
        assert (now.get_parameter(name).double() - expected).abs().max() < 2e-7 * (1 + expected.abs().max()), name


def test_a_collapse_stops_the_run_with_a_report():
    objective = make_data2vec(first_judged_step=10).train()
    run(objective)
    objective.after_step(10)  # healthy
    torch.nn.init.zeros_(objective.head.weight)
    run(objective)
    objective.after_step(9)  # not judged yet
    with pytest.raises(InputError, match=r"collapsed at update 11: the predictions of masked frames hardly differ") as stop:
        objective.after_step(10)
    assert "the limit is 0.01" in str(stop.value)
    objective = make_data2vec(first_judged_step=0, min_target_std=5.0).train()
    run(objective)
    with pytest.raises(InputError, match="the targets of masked frames hardly differ"):
        objective.after_step(0)


def test_deviation_is_that_over_all_frames():
    values = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)
    assert float(measure_deviation(values)) == pytest.approx(float((values.var(0) + 1e-6).sqrt().mean()), rel=1e-5)


def test_what_is_published_is_a_stock_model_that_can_be_trained_further(tmp_path):
    """A folder of the form of m-a-p/music2vec-v1."""
    objective = make_data2vec().eval()
    clips = make_clips()
    objective.export().save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(sampling_rate=16000, do_normalize=True).save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    model, extractor = AutoModel.from_pretrained(tmp_path).eval(), AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(model) is Data2VecAudioModel
    inputs = extractor([clip.numpy() for clip in clips], sampling_rate=16000, return_tensors="pt").input_values
    prepared = objective.prepare(clips, Draws(0))["input_values"]
    torch.testing.assert_close(inputs, prepared, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model(prepared).last_hidden_state, objective.model(prepared).last_hidden_state)
    further = Data2Vec(model, MaskingSettings(0.65, 5, 1), Data2VecSettings(top_layers=2)).train()
    run(further).loss.backward()


def test_models_that_cannot_be_trained_are_refused():
    with pytest.raises(InputError, match="top_layers=4 must lie within 1 and 3, the layers of the model"):
        make_data2vec(top_layers=4)
    model = Data2VecAudioModel(Data2VecAudioConfig(**DATA2VEC, **NO_DROPOUT, mask_time_prob=0.0))
    with pytest.raises(InputError, match="hides no frames"):
        Data2Vec(model, MaskingSettings(), Data2VecSettings(top_layers=2))


def test_nothing_is_said_of_a_healthy_run(caplog):
    objective = make_data2vec(first_judged_step=0).train()
    with caplog.at_level(logging.WARNING):
        run(objective)
        objective.after_step(0)
    assert not caplog.messages
