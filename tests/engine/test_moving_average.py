"""The moving average of the weights: what it is, who sees it, what is saved."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from support.multiview_runs import make_multiview

from mert_hf import MERTForPreTraining
from mert_hf.common.errors import InputError
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.updates import AVERAGE, Updater
from mert_hf.engine.watchers import Observation, Watcher


class Spy(Watcher):
    """Copies the weights that a watcher sees."""

    name = "spy"

    def __init__(self):
        self.every, self.seen = 1, []

    def run(self, updater):
        self.seen.append(weights_of(updater))
        return Observation({})


def weights_of(updater):
    return {name: value.detach().clone() for name, value in updater.plain_objective.named_parameters()}


def spied(trainer):
    """What the weights are behind every update, beginning with those before the first, and what watchers see of them."""
    spy, plain, update = Spy(), [weights_of(trainer.updater)], trainer.updater.update
    trainer.watchers = [*trainer.watchers, spy]

    def note(*arguments):
        done = update(*arguments)
        plain.append(weights_of(trainer.updater))
        return done

    trainer.updater.update = note
    trainer.train()
    trainer.look()
    return plain, spy.seen


FAST = {"learning_rate": 5e-3, "warmup_steps": 1}


def test_watchers_see_and_the_folder_holds_the_average_worked_out_by_hand(make_trainer):
    trainer = make_trainer("averaged", ema_decay=0.3, **FAST)
    plain, seen = spied(trainer)
    average = {name: value.double() for name, value in plain[0].items()}
    assert len(seen) == 6
    for step, (weights, watched) in enumerate(zip(plain[1:], seen, strict=True)):
        decay = [0.1, 2 / 11, 0.25, 0.3, 0.3, 0.3][step]
        average = {name: decay * value + (1 - decay) * weights[name].double() for name, value in average.items()}
        for name, value in watched.items():
            torch.testing.assert_close(value, average[name].float(), rtol=1e-5, atol=1e-7)
    assert any(not value.equal(seen[-1][name]) for name, value in plain[-1].items())
    trainer.save_model()
    model = MERTForPreTraining.from_pretrained(trainer.run.model)
    assert all(value.equal(seen[-1][f"model.{name}"]) for name, value in model.named_parameters())
    # the training goes on with the weights themselves
    assert all(value.equal(plain[-1][name]) for name, value in weights_of(trainer.updater).items())


def test_it_changes_no_weight_that_is_trained_and_goes_on_bit_by_bit(make_trainer):
    plain, seen = spied(make_trainer("averaged", held_out=0.2, ema_decay=0.9, **FAST))
    alone, seen_alone = spied(make_trainer("alone", held_out=0.2, **FAST))
    for first, second in zip([*alone, *seen_alone], [*plain, *plain[1:]], strict=True):
        assert all(value.equal(second[name]) for name, value in first.items())

    begun = make_trainer("resumed", held_out=0.2, ema_decay=0.9, **FAST)
    begun.updater.update = stopped_behind(begun, 5)
    with pytest.raises(KeyboardInterrupt):
        begun.train()
    rest, seen_again = spied(make_trainer("resumed", held_out=0.2, ema_decay=0.9, resume=True, **FAST))
    assert len(rest) == 3  # from the checkpoint of update 4 on
    for first, second in zip([*rest[1:], *seen_again], [*plain[5:], *seen[4:]], strict=True):
        assert all(value.equal(second[name]) for name, value in first.items())


def stopped_behind(trainer, step):
    update = trainer.updater.update

    def stop(*arguments):
        if trainer.progress.step == step:
            raise KeyboardInterrupt
        return update(*arguments)

    return stop


def test_a_checkpoint_without_its_average_is_not_gone_on_from(make_trainer):
    make_trainer(max_steps=2, ema_decay=0.9).train()
    trainer = make_trainer(max_steps=4, ema_decay=0.9, resume=True)
    checkpoint = trainer.run.newest_checkpoint()
    assert set(load_file(checkpoint / AVERAGE)) == set(weights_of(trainer.updater))
    (checkpoint / AVERAGE).unlink()
    with pytest.raises(InputError, match=f"no checkpoint of .* is whole; .*'{AVERAGE}' is missing"):
        trainer.train()
    (checkpoint / "digests.json").unlink()
    state = (checkpoint / "state.json").read_text()
    (checkpoint / "state.json").write_text(state.replace(', "sealed": true', ""))
    with pytest.raises(InputError, match=f"cannot be loaded: .*{AVERAGE}"):
        trainer.train()


def test_running_statistics_are_averaged_with_the_weights_and_moving_teachers_are_not():
    objective = make_multiview("byol")
    updater = Updater(objective, TrainingSettings(ema_decay=0.5), Accelerator(cpu=True))
    names = set(updater.average.state_dict())
    learnt = {name for name, parameter in objective.named_parameters() if parameter.requires_grad}
    assert learnt < names and all("running_" in name for name in names - learnt)
    assert {name for name in names if name.startswith("teacher.")} == set()
    statistics = next(name for name in sorted(names) if name.endswith("running_var"))
    buffer = dict(objective.named_buffers())[statistics]
    buffer.mul_(3)
    updater.average.move(0)
    with updater.averaged():
        torch.testing.assert_close(buffer, torch.full_like(buffer, 0.1 + 0.9 * 3))
    assert buffer.eq(3).all()


def test_a_decay_that_is_none_and_sharding_are_refused(make_trainer, monkeypatch):
    with pytest.raises(InputError, match="training.ema_decay=1.0 must be less than 1"):
        TrainingSettings(ema_decay=1.0)
    trainer = make_trainer(ema_decay=0.9)
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.DEEPSPEED)
    with pytest.raises(InputError, match="training.ema_decay cannot be used with DEEPSPEED, where no process holds all"):
        trainer.updater._begin_average()
