"""What keeps a training alive: precision, loss scaling, left-out updates; and what a recipe may switch on."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from support.multiview_runs import MULTIVIEW, make_multiview
from support.sounds import make_tones
from transformers.models.hubert.modeling_hubert import HubertEncoderStableLayerNorm

from mert_hf.common.errors import TrainingFailedError
from mert_hf.data.crops import AudioBatch
from mert_hf.engine import devices
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.updates import Updater
from mert_hf.models.modeling_mert import MERTDeepNormEncoderLayer
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.teachers import TeacherSettings

TINY = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    conv_dim=[16] * 7,
    num_conv_pos_embeddings=16,
    # of fewer than 16 channels a group, torch 2.14 on CPUs with AMX computes another convolution in bfloat16
    num_conv_pos_embedding_groups=2,
)


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.updater.objective.state_dict().items()}


def test_bf16_trains_near_float32_with_weights_in_float32(make_trainer):
    losses = {}
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = Accelerator(cpu=True, mixed_precision=precision)
        groups = {"num_conv_pos_embedding_groups": TINY["num_conv_pos_embedding_groups"]}
        trainer = make_trainer(precision, accelerator=accelerator, model=groups, max_steps=3)
        trainer.train()
        losses[precision] = [report["loss"] for report in read_metrics(trainer.run.metrics)]
        assert {value.dtype for value in weights(trainer).values()} == {torch.float32}
    AcceleratorState._reset_state(reset_partial_state=True)
    assert losses["bf16"] != losses["no"]
    assert losses["bf16"] == pytest.approx(losses["no"], rel=0.01)


def test_the_loss_scaler_leaves_out_updates_until_its_scale_fits(make_trainer, monkeypatch):
    """float16's scaler, beside float32 arithmetic that overflows at another point: the loop's part of it is the same."""
    accelerator = Accelerator(cpu=True)
    # what accelerate does of itself with float16, which it refuses on a CPU
    unscale = lambda: [accelerator.scaler.unscale_(optimizer.optimizer) for optimizer in accelerator._optimizers]  # noqa: E731
    monkeypatch.setattr(accelerator, "unscale_gradients", unscale)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-8)
    trainer = make_trainer(accelerator=accelerator, max_steps=8, max_bad_steps=8)
    progress = trainer.train()
    assert 1 <= progress.skipped_steps < 8
    assert accelerator.scaler.get_scale() == 2.0 ** (127 - 8 * progress.skipped_steps)
    reports = read_metrics(trainer.run.metrics)
    assert [report["skipped_steps"] for report in reports][-1] == progress.skipped_steps
    assert "loss" not in reports[0]  # nothing was learnt from it
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_a_spike_is_left_out_counted_and_the_weights_stay(make_trainer, monkeypatch):
    trainer = make_trainer(max_steps=8, spike_deviations=6.0, spike_memory_steps=4)
    clip, before = trainer.accelerator.clip_grad_norm_, {}

    def clip_and_report_a_spike(parameters, norm):
        found = clip(parameters, norm)
        if trainer.progress.step == 5:
            before.update(weights(trainer))
            return found + 1000
        if trainer.progress.step == 6:
            assert all(value.equal(before[name]) for name, value in weights(trainer).items())
        return found

    monkeypatch.setattr(trainer.accelerator, "clip_grad_norm_", clip_and_report_a_spike)
    progress = trainer.train()
    assert before
    assert (progress.skipped_steps, progress.spike_steps, progress.left_out_in_a_row) == (1, 1, 0)
    assert read_metrics(trainer.run.metrics)[-1]["spike_steps"] == 1


@pytest.mark.parametrize("name", sorted(MULTIVIEW))
def test_nothing_is_kept_of_an_update_without_a_finite_loss(name):
    """Running statistics, a centre, the use of prototypes: they would make every later loss NaN."""
    objective = make_multiview(name).train()
    updater = Updater(objective, TrainingSettings(batch_size=4), Accelerator(cpu=True))
    pairs = torch.from_numpy(make_tones(4 * 2 * 1.0, 16000)).view(4, 2, -1)
    broken = pairs.clone()
    broken[1] = torch.inf
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    update = updater.update([AudioBatch(broken, [])], 0)  # the signs of collapse are measured in this one
    assert update.left_out == "no finite gradient" and not update.logs["loss"].isfinite()
    after = objective.state_dict()
    after.pop("steps")
    assert [key for key, value in after.items() if not value.equal(before[key])] == []
    assert updater.update([AudioBatch(pairs, [])], 1).left_out is None
    assert all(value.isfinite().all() for value in objective.state_dict().values())
    assert not objective.encoder.model.bn1.running_mean.equal(before["encoder.model.bn1.running_mean"])


def test_of_deepspeed_only_a_step_that_it_left_out_counts_as_left_out(make_trainer, monkeypatch):
    """Its engine steps inside of backward; here nobody steps, and the norm is what DeepSpeed may say."""
    trainer = make_trainer(max_steps=6)
    updater, said = trainer.updater, {2: (True, 3.5), 5: (False, -1.0)}  # step: left out, norm

    class SteppedInBackward:
        step_was_skipped = property(lambda self: said.get(trainer.progress.step, (False, 1.0))[0])
        param_groups, step = property(lambda self: inner.param_groups), lambda self: None
        zero_grad = lambda self: inner.zero_grad()  # noqa: E731

    inner, updater.optimizer, updater.steps_in_backward = updater.optimizer, SteppedInBackward(), True
    engine = SimpleNamespace(get_global_grad_norm=lambda: said.get(trainer.progress.step, (False, 1.0))[1])
    monkeypatch.setattr(trainer.accelerator, "deepspeed_engine_wrapped", engine, raising=False)
    with pytest.raises(TrainingFailedError, match="DeepSpeed has taken a step although the gradient was not finite.*fp16"):
        trainer.train()
    assert (trainer.progress.step, trainer.progress.skipped_steps) == (5, 1)
    norms = [report["grad_norm"] for report in read_metrics(trainer.run.metrics)]
    assert norms == [1.0, 1.0, None, 1.0, 1.0]  # JSON has no infinity


def test_deepspeed_gets_its_numbers_from_the_recipe_and_bf16_by_autocast(monkeypatch, tmp_path):
    """Its own bf16 would cast the weights and not the clips, which then do not go together."""
    for precision, own in (("bf16", False), ("fp16", True)):
        numbers = {"bf16": {"enabled": precision == "bf16"}, "fp16": {"enabled": precision == "fp16"}}
        plugin = SimpleNamespace(deepspeed_config=numbers)
        machine = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED, device=torch.device("meta"))
        machine.state = SimpleNamespace(deepspeed_plugin=plugin)
        monkeypatch.setattr(devices, "Accelerator", lambda machine=machine, **_: machine)
        settings = TrainingSettings(batch_size=3, mixed_precision=precision, max_grad_norm=2.0)
        devices.make_accelerator(settings, tmp_path, can_be_sharded=True)
        assert (numbers["train_micro_batch_size_per_gpu"], numbers["gradient_clipping"]) == (3, 2.0)
        assert numbers[precision]["enabled"] == own
        assert ("torch_autocast" in numbers) != own


@pytest.mark.parametrize("slowdown", [0.5, 19.6])
def test_a_cpu_without_bfloat16_is_named(monkeypatch, tmp_path, caplog, slowdown):
    monkeypatch.setattr(devices, "bfloat16_slowdown", lambda: slowdown)
    machine = SimpleNamespace(distributed_type=DistributedType.NO, device=torch.device("cpu"), is_main_process=True)
    monkeypatch.setattr(devices, "Accelerator", lambda **_: machine)  # there is one precision a process
    devices.make_accelerator(TrainingSettings(mixed_precision="bf16", tracker="none"), tmp_path)
    told = "this CPU multiplies 20 times as slowly in bfloat16 as in float32; --training.mixed_precision no is quicker"
    assert (told in caplog.text) == (slowdown > 1)


def test_some_codebooks_an_update_drawn_anew(make_trainer):
    trainer = make_trainer(max_steps=10, codebooks_per_update=1)
    trainer.train()
    chosen = [[share is not None for share in report["code_accuracy"]] for report in read_metrics(trainer.run.metrics)]
    assert all(sum(books) == 1 for books in chosen)
    assert [True, False] in chosen and [False, True] in chosen


def test_a_learnt_temperature_moves_and_is_reported(make_trainer):
    trainer = make_trainer(max_steps=4, model={"learnable_temperature": True}, learning_rate=1e-2)
    trainer.train()
    first, last = (read_metrics(trainer.run.metrics)[place]["temperature"] for place in (0, -1))
    assert len(first) == 2
    assert first == pytest.approx([0.1, 0.1], rel=0.02)
    assert first != last


def build(training=None, **model):
    settings = PretrainSettings(
        model={**TINY, **model}, teacher=TeacherSettings(codebook_sizes=[16, 12]), training=TrainingSettings(**(training or {}))
    )
    return Setup(settings).build_model()


def test_a_recipe_reaches_every_form_of_the_layers():
    post, pre, deep = build(), build(do_stable_layer_norm=True), build(deepnorm=True)
    assert isinstance(pre.mert.encoder, HubertEncoderStableLayerNorm)
    assert not isinstance(post.mert.encoder, HubertEncoderStableLayerNorm)
    assert all(isinstance(layer, MERTDeepNormEncoderLayer) for layer in deep.mert.encoder.layers)
    relaxed = build(training={"attention": "relaxed"}, attention_relax=32.0)
    assert relaxed.mert.encoder.layers[0].attention.config._attn_implementation == "relaxed"
    clip, mask = torch.randn(1, 8000), torch.zeros(1, 24, dtype=torch.bool)
    outputs = [model.eval()(clip, mask_time_indices=mask).last_hidden_state for model in (post, relaxed)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [{"gradient_checkpointing": True}, {"compile": "aot_eager"}], ids=str)
def test_checkpointed_and_compiled_layers_have_the_same_gradient(training):
    clip = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(24).expand(2, -1) % 3 == 0
    labels = torch.arange(24).expand(2, 2, -1) % 12
    gradients = []
    for options in ({}, training):
        model = build(training=options, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0).train()
        assert model.mert.encoder.gradient_checkpointing == ("gradient_checkpointing" in options)
        model(clip, mask_time_indices=mask, labels=labels).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-3, atol=1e-5)
