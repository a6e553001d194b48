import pytest
import torch
from support.sounds import make_tones

from mert_hf import MERTForPreTraining
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws, generator
from mert_hf.objectives import MaskedPrediction, Teachers
from mert_hf.objectives.masking import MaskingSettings, draw_span_mask
from mert_hf.objectives.mixture import NoiseMixture, mix_in
from mert_hf.teachers import CQTTeacher, ResidualKMeansTeacher


def run(objective, waveforms, batch=0, rank=0, labels=None):
    """Loss and logs of a batch that is the whole global batch."""
    batch = objective.prepare(waveforms, Draws(5, step=batch, batch=batch, rank=rank), labels)
    return objective(batch, objective.count(batch))


def clips(count=4):
    return torch.stack([torch.from_numpy(make_tones(1.5, 24000, seed)) for seed in range(count)])


@pytest.fixture(scope="module")
def teachers():
    code_teacher = ResidualKMeansTeacher([16, 12], ["log_mel"], {"log_mel": {"bins": 40}}).fit(list(clips(6)))
    return Teachers(code_teacher, CQTTeacher(bins=24, bins_per_octave=12))


@pytest.fixture
def objective(tiny_config, teachers):
    torch.manual_seed(0)
    mixture = NoiseMixture(1.0, 1, 3, 4000, 8000)
    return MaskedPrediction(MERTForPreTraining(tiny_config).eval(), teachers, MaskingSettings(), mixture)


def test_the_model_hears_the_mixture_and_is_told_the_clean_targets(objective, teachers):
    """Put together by hand from the same draws."""
    waveforms = clips()
    loss, logs = run(objective, waveforms, 7, 1)
    mask = draw_span_mask(4, 112, generator(5, "mask", 7, 1))
    excerpts = objective.mixture.draw(4, 36000, generator(5, "mixture", 7, 1))
    mixed = mix_in(waveforms, excerpts)
    assert not torch.equal(mixed, waveforms)
    expected = objective.model(mixed, mask_time_indices=mask, labels=teachers[0](waveforms), cqt_labels=teachers[1](waveforms))
    torch.testing.assert_close(loss, expected.loss)
    assert set(logs) == {"loss", "code_loss", "cqt_loss", "feature_penalty", "code_accuracy"}
    assert not any(value.requires_grad for value in logs.values())


def test_levels_are_changed_of_what_is_heard_in_training_and_of_nothing_else(objective, teachers):
    """Each clip by its own factor, mixed or not, also where it is alone in its batch; a validation hears it as it is."""
    waveforms = clips()
    objective.mixture = NoiseMixture(0.0, gain_db=9.0)
    assert torch.equal(objective.eval().prepare(waveforms, Draws(5))["input_values"], waveforms)
    objective.train()
    for batch in (waveforms, waveforms[:1]):
        prepared = objective.prepare(batch, Draws(5, batch=3))
        factors = prepared["input_values"].norm(dim=1) / batch.norm(dim=1)
        assert len(set(factors.tolist())) == len(batch)
        assert ((20 * factors.log10()).abs() <= 9).all()
        torch.testing.assert_close(prepared["input_values"], factors[:, None] * batch)
        assert torch.equal(prepared["labels"], teachers.codes(batch))
        assert torch.equal(prepared["cqt_labels"], teachers.spectrum(batch))
    objective.mixture = NoiseMixture(1.0, 1, 3, 4000, 8000)
    mixed = objective.prepare(waveforms, Draws(5, batch=3))["input_values"]
    objective.mixture = NoiseMixture(1.0, 1, 3, 4000, 8000, gain_db=9.0)
    louder = objective.prepare(waveforms, Draws(5, batch=3))["input_values"]
    torch.testing.assert_close(louder, mixed * (louder.norm(dim=1) / mixed.norm(dim=1))[:, None])


def test_stored_labels_stand_in_for_the_teacher_and_mixture_leaves_them_alone(objective, teachers):
    """Labels that come with the batch give the loss of the teacher's own codes of the clean clips; nobody is asked then."""
    waveforms = clips()
    expected = run(objective, waveforms, 7, 1).loss
    silent = ResidualKMeansTeacher([16, 12], ["log_mel"], {"log_mel": {"bins": 40}})  # not fitted: fails when it is asked
    from_store = MaskedPrediction(objective.model, Teachers(silent, teachers.spectrum), objective.masking, objective.mixture)
    labels = teachers[0](waveforms)
    torch.testing.assert_close(run(from_store, waveforms, 7, 1, labels).loss, expected)
    assert not torch.isclose(run(from_store, waveforms, 7, 1, labels.roll(1, 0)).loss, expected)


def test_batches_and_processes_draw_differently_and_repeatably(objective):
    losses = [float(run(objective, clips(), number, rank).loss.detach()) for number, rank in [(0, 0), (0, 0), (1, 0), (0, 1)]]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_gradients_reach_the_model_and_not_the_teachers(objective, teachers):
    run(objective, clips()).loss.backward()
    assert objective.model.mert.feature_extractor.conv_layers[0].conv.weight.grad.abs().sum() > 0
    assert set(objective.state_dict()) == {f"model.{name}" for name in objective.model.state_dict()}
    assert all(not buffer.requires_grad for teacher in (teachers.codes, teachers.spectrum) for buffer in teacher.buffers())


def test_works_with_either_teacher_alone(objective, teachers):
    arguments = (objective.masking, objective.mixture)
    codes_only = run(MaskedPrediction(objective.model, Teachers(teachers.codes), *arguments), clips()).logs
    cqt_only = run(MaskedPrediction(objective.model, Teachers(spectrum=teachers.spectrum), *arguments), clips()).logs
    both = run(objective, clips()).logs
    assert "cqt_loss" not in codes_only
    assert "code_loss" not in cqt_only
    torch.testing.assert_close(codes_only["code_loss"], both["code_loss"])
    torch.testing.assert_close(cqt_only["cqt_loss"], both["cqt_loss"])


def test_codes_of_weight_0_leave_loss_and_gradient_as_they_were(objective):
    """They had none: the encoder's gradient is bit by bit that of the constant-Q spectrum beside codes times 0."""
    objective.model.config.code_loss_weight, weight = 0.0, objective.model.config.code_loss_weight
    loss, logs = run(objective, clips())
    assert set(logs) == {"loss", "cqt_loss", "feature_penalty"}
    loss.backward()
    found = {name: value.grad for name, value in objective.model.mert.named_parameters()}
    objective.model.config.code_loss_weight = weight
    objective.zero_grad()
    batch = objective.prepare(clips(), Draws(5))
    objective.model.config.code_loss_weight = 0.0
    expected = objective(batch, objective.count(batch)).loss
    expected.backward()
    assert torch.equal(loss, expected)
    for name, value in objective.model.mert.named_parameters():
        assert found[name] is value.grad is None or torch.equal(found[name], value.grad), name


def test_teachers_that_do_not_fit_the_model_are_refused(objective):
    model, rest = objective.model, (MaskingSettings(), NoiseMixture())
    slow = ResidualKMeansTeacher([16, 12], ["log_mel"], {"log_mel": {"bins": 40}}, hop_samples=480)
    wide = ResidualKMeansTeacher([16, 16], ["log_mel"], {"log_mel": {"bins": 40}})
    for teachers, message in [
        ((None, None), "got neither"),
        ((slow, None), "24000 Hz and 50 frames per second, the model at 24000 Hz and 75"),
        ((wide, None), r"codebooks of \[16, 16\] codes, the model is made for \[16, 12\]"),
        ((None, CQTTeacher(bins=36, bins_per_octave=12)), "36 bins, the model is made for 24"),
    ]:
        with pytest.raises(InputError, match=message):
            MaskedPrediction(model, Teachers(*teachers), *rest)


def test_a_compressed_spectrum_is_what_the_configuration_says(objective, teachers):
    """A model that predicts magnitudes is not trained on logarithms, nor its configuration left to say so."""
    compressed = Teachers(teachers.codes, CQTTeacher(bins=24, bins_per_octave=12, compression="log", log_level=0.5))
    arguments = (objective.masking, objective.mixture)
    with pytest.raises(InputError, match="cqt.compression=log with cqt.log_level=0.5, the model predicts none"):
        MaskedPrediction(objective.model, compressed, *arguments)
    objective.model.config.cqt_compression, objective.model.config.cqt_log_level = "log", 0.5
    prepared = MaskedPrediction(objective.model, compressed, *arguments).prepare(clips(), Draws(5))
    magnitudes = teachers.spectrum(clips())
    torch.testing.assert_close(prepared["cqt_labels"], (1 + magnitudes / 0.5).log())


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_standardised_loss_is_the_share_of_the_variance_that_is_not_explained(objective, scale):
    """1 for a head that knows the mean of each bin, however loud the targets are; the relative error stays what it was."""
    objective.eval().model.config.cqt_standardise = True
    batch = objective.prepare(clips(), Draws(5))
    batch["cqt_labels"] = scale * batch["cqt_labels"]
    masked = batch["cqt_labels"][:, : batch["mask_time_indices"].shape[1]][batch["mask_time_indices"]]
    head = objective.model.cqt_head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(masked.mean(0))
        logs = objective(batch, objective.count(batch)).logs
        assert float(logs["cqt_loss"]) == pytest.approx(1, rel=1e-4)
        error = float(objective.summarise(logs)["cqt_error"])
        assert error == pytest.approx(float((masked - masked.mean(0)).norm() / masked.norm()), rel=1e-4)
        head.bias.zero_()
        explained = 1 - float(objective(batch, objective.count(batch)).logs["cqt_loss"])
    variance = masked.var(0, correction=0).mean()
    assert explained == pytest.approx(1 - float(masked.square().mean() / variance), rel=1e-3)


def test_standardised_silence_is_not_blown_up(objective):
    objective.model.config.cqt_standardise = True
    batch = objective.prepare(torch.zeros(2, 36000), Draws(5))
    logs = objective(batch, objective.count(batch)).logs
    assert torch.isfinite(logs["cqt_loss"])
    with pytest.raises(ValueError, match="count_loss_items must be given cqt_labels"):
        objective.model(**batch, loss_totals=objective.model.count_loss_items(batch["mask_time_indices"], batch["labels"]))


def test_unmasked_frames_count_with_their_weight(objective):
    """They are what would be compared were the mask of the loss the other one."""
    model, batch = objective.eval().model, objective.prepare(clips(), Draws(5))
    batch["labels"][0, 0] = -100
    with torch.no_grad():
        before = model(**batch)
        model.config.unmasked_loss_weight = 0.25
        after = model(**batch)
        hidden, unmasked = before.last_hidden_state, ~batch["mask_time_indices"]
        frames = unmasked.shape[1]
        codes, states = batch["labels"].mT[:, :frames][unmasked], hidden[unmasked]
        losses = [
            torch.nn.functional.cross_entropy(logits, codes[:, book]) for book, logits in enumerate(model.code_head(states))
        ]
        spectrum = batch["cqt_labels"][:, :frames][unmasked]
        error = torch.nn.functional.mse_loss(model.cqt_head(states), spectrum)
    torch.testing.assert_close(after.unmasked_code_loss, sum(losses))
    torch.testing.assert_close(after.unmasked_cqt_loss, error)
    assert (before.unmasked_code_loss, before.unmasked_cqt_loss) == (None, None)
    for name in ("code_loss", "cqt_loss", "code_accuracy"):
        assert torch.equal(after[name], before[name])
    added = 0.25 * (model.config.code_loss_weight * sum(losses) + model.config.cqt_loss_weight * error)
    torch.testing.assert_close(after.loss, before.loss + added)
    logs = objective(batch, objective.count(batch)).logs
    assert {"unmasked_code_loss", "unmasked_cqt_loss"} <= set(logs)
