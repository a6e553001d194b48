"""Folders of runs whose files are not as they were written: used as if they were, or refused in a line, never misread."""

import json
import shutil

import pytest
import torch

from mert_hf.common.errors import InputError
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.settings import PretrainSettings


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.updater.objective.state_dict().items()}


def flip(file, place):
    damaged = bytearray(file.read_bytes())
    damaged[place] ^= 4
    file.write_bytes(damaged)


@pytest.mark.parametrize("name", ["optimizer.bin", "model.safetensors", "state.json", "random_states_0.pkl", "digests.json"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(make_trainer, caplog, name):
    """Bit by bit: from step 2 on the run ends as it did when nothing was damaged."""
    whole = make_trainer(max_steps=4)
    whole.train()
    newest = whole.run.checkpoint(4)
    if name == "digests.json":
        (newest / name).unlink()
    else:
        flip(newest / name, (newest / name).stat().st_size // 2)
    resumed = make_trainer(max_steps=4, resume=True)
    resumed.train()
    assert f"{newest} cannot be used: " in caplog.text and name in caplog.text
    assert f"Going on from {whole.run.checkpoint(2)} instead" in caplog.text
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[key]), key
    assert [report["step"] for report in read_metrics(resumed.run.metrics)] == [1, 2, 3, 4]
    assert resumed.run.newest_whole_checkpoint() == newest  # written anew


def test_where_no_checkpoint_is_whole_the_run_stops_in_a_line(make_trainer):
    run = make_trainer(max_steps=4)
    run.train()
    for step in (2, 4):
        flip(run.run.checkpoint(step) / "optimizer.bin", 1000)
    with pytest.raises(InputError, match=r"no checkpoint of .*run is whole; .*step_00000004 cannot be used: optimizer.bin is"):
        make_trainer(max_steps=4, resume=True).train()


def test_a_damaged_later_checkpoint_pushes_no_whole_one_out(make_trainer):
    make_trainer(max_steps=4, keep_checkpoints=2).train()
    run = make_trainer(max_steps=4).run
    flip(run.checkpoint(4) / "model.safetensors", 2000)
    resumed = make_trainer(max_steps=3, resume=True, keep_checkpoints=1)
    resumed.train()
    assert run.newest_whole_checkpoint() == run.checkpoint(3)


def test_checkpoints_of_before_there_were_digests_are_loaded(make_trainer, caplog):
    caplog.set_level("INFO")
    whole, old = make_trainer("whole", max_steps=4), make_trainer("old", max_steps=2)
    whole.train(), old.train()
    checkpoint = old.run.checkpoint(2)
    (checkpoint / "digests.json").unlink()
    state = json.loads((checkpoint / "state.json").read_text())
    assert state.pop("sealed") is True
    (checkpoint / "state.json").write_text(json.dumps(state))
    resumed = make_trainer("old", max_steps=4, resume=True)
    resumed.train()
    assert "was saved before checkpoints held digests" in caplog.text
    state["spike_guard"] = []
    (old.run.checkpoint(2) / "state.json").write_text(json.dumps(state))
    shutil.rmtree(old.run.checkpoint(4))
    (old.run.checkpoint(2) / "digests.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match="state.json is damaged: spike_guard is"):
        make_trainer("old", max_steps=4, resume=True).train()
    (old.run.checkpoint(2) / "optimizer.bin").write_bytes(b"PK\3\4 no longer")
    with pytest.raises(InputError, match="step_00000002 cannot be loaded: .* remove it to go on from the one before"):
        make_trainer("old", max_steps=4, resume=True).train()


def test_what_is_no_checkpoint_is_taken_for_none(tmp_path):
    run = RunFolder(tmp_path)
    for name in ("step_00000002", "step_100000000", "step_00000003x", "step_00000004.partial", "step_5", "step_x9"):
        (run.checkpoints / name).mkdir(parents=True)
    (run.checkpoints / "step_00000009").write_text("a file")
    assert [found.name for found in run.list_checkpoints()] == ["step_00000002", "step_100000000"]


@pytest.mark.parametrize(
    "line", ['{"step": 1', "[]", '{"step": "2"}', '{"loss": 1.0}', '{"step": 1, "loss": "x"}', "\0", "NaN"]
)
def test_a_damaged_line_of_metrics_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 2.0, "code_accuracy": [0.5, null]}\n' + line + '\n{"step": 3}\n'
    )
    with pytest.raises(InputError, match=r"metrics.jsonl, line 2 is damaged"):
        read_metrics(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("recipe", [None, b"", b"\xff\xfe", b"[1, 2]", b"a: 1\na: 2\n", b"a: [", b"&a [*a]"])
def test_a_damaged_recipe_of_a_run_that_is_to_go_on_is_refused(tmp_path, recipe):
    run, settings = RunFolder(tmp_path / "run"), PretrainSettings()
    run.claim(settings, resume=False)
    run.metrics.write_text('{"step": 1}\n')
    if recipe is None:
        run.recipe.unlink()
    else:
        run.recipe.write_bytes(recipe)
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        run.claim(settings, resume=True)


@pytest.mark.parametrize(
    "said", ["[]", "7", '{"pid": "x", "host": 3}', '{"host": "here"}', '{"pid": -1, "host": "h"}', "{", "\xff", '{"pid": 1e9}']
)
def test_a_lock_that_says_nothing_locks_nobody_out(tmp_path, said):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").write_bytes(said.encode("latin-1"))
    with RunFolder(tmp_path / "run").hold() as run:
        run.claim(PretrainSettings(), resume=False)
        with pytest.raises(InputError, match="another run is writing into .*: process [0-9]+ on"):
            RunFolder(tmp_path / "run").claim(PretrainSettings(), resume=False)
