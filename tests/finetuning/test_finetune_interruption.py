"""Fine-tuning runs that are killed, whose checkpoints are damaged, or that meet another run in their folder."""

import errno
import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.labelled_music import make_base_and_music
from support.small_runs import finetune_small, finish, start

from mert_hf.common.errors import InputError
from mert_hf.common.files import fill_folder
from mert_hf.engine.sealed import find_damage
from mert_hf.finetuning.run_folder import FinetuneFolder

EPOCHS = 5


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A base of random weights (with dropout), and six tracks of each of two labels."""
    return make_base_and_music(tmp_path_factory.mktemp("given"), 6, 0.7)


@pytest.fixture(scope="module")
def whole(given, tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert finish(start(finetune_small, *given, folder)) == [0]
    return folder


def weights(folder: Path) -> dict:
    return load_file(folder / "model" / "model.safetensors")


def assert_equal_runs(one: Path, other: Path, told=None) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not value.equal(second[name])] == [], told
    assert json.loads((one / "results.json").read_text()) == json.loads((other / "results.json").read_text()), told


def names(folder: Path) -> set[str]:
    """Of checkpoints and of the model, also while they are written."""
    return {file.name for pattern in ("checkpoints/checkpoint-*", "model*") for file in folder.glob(pattern)}


def test_a_run_killed_at_random_moments_ends_bit_by_bit_as_one_that_never_was(given, whole, tmp_path):
    """Most of the kills hit a checkpoint or the model while it is written; the next process starts at once."""
    folder = tmp_path / "killed"
    seed = random.SystemRandom().randrange(10**6)
    print("seed of the kills:", seed)  # pytest shows it with whatever fails
    chance, died_at = random.Random(seed), []
    while True:
        (process,) = start(finetune_small, *given, folder)
        patience, seen = chance.choice([1, 1, 2, 2]), set()
        while process.is_alive() and len(seen) < patience:
            seen |= {name for name in names(folder) if name.endswith(".partial")}
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        if finish([process]) == [0]:
            break
        assert process.exitcode == -9, ((folder / "said").read_text(), seed, died_at)
        for checkpoint in (folder / "checkpoints").glob("checkpoint-*[0-9]"):
            assert find_damage(checkpoint) is None, (seed, died_at)
        died_at.append(sorted(names(folder)))
        assert len(died_at) < 40, (seed, died_at)
    assert len(died_at) >= 2, (seed, died_at)
    assert_equal_runs(whole, folder, (seed, died_at))
    assert not [name for name in names(folder) if name.endswith(".partial")]
    assert len(list((folder / "checkpoints").iterdir())) <= 4


def test_checkpoints_that_are_kept(whole):
    run = FinetuneFolder(whole)
    steps = [int(found.name.removeprefix("checkpoint-")) for found in run.list_checkpoints()]
    assert steps[-2:] == [8, 10] and {run.best_checkpoint(found) for found in run.list_checkpoints()[-2:]} < {
        *run.list_checkpoints(),
        None,
    }
    assert all(find_damage(found) is None for found in run.list_checkpoints())


@pytest.mark.parametrize("file", ["optimizer.pt", "model.safetensors", "trainer_state.json", "rng_state.pth", "digests.json"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(given, whole, tmp_path, file, caplog):
    shutil.copytree(whole, tmp_path / "run")
    run = FinetuneFolder(tmp_path / "run")
    newest, before = run.checkpoint(10), run.checkpoint(8)
    content = bytearray((newest / file).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / file).write_bytes(content)
    assert run.newest_whole_checkpoint() == before
    # of a damaged list of digests, any of its files may be what does not agree with it
    assert f"{newest} cannot be used: {'' if file == 'digests.json' else file}" in caplog.text
    assert f"Going on from {before} instead" in caplog.text
    if file == "optimizer.pt":
        shutil.rmtree(run.model)
        run.results.unlink()
        assert finish(start(finetune_small, *given, run.folder)) == [0]
        assert_equal_runs(whole, run.folder)
        assert find_damage(newest) is None
    for checkpoint in run.list_checkpoints():
        (checkpoint / file).unlink()
    with pytest.raises(InputError, match=r"no checkpoint of .* is whole; .*checkpoint-10 cannot be used: .*is missing"):
        run.newest_whole_checkpoint()


def test_a_checkpoint_whose_best_one_is_damaged_is_not_gone_on_from(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    run = FinetuneFolder(tmp_path / "run")
    state = json.loads((run.checkpoint(10) / "trainer_state.json").read_text())
    best = run.checkpoint(state["best_global_step"])
    if best == run.checkpoint(10):
        pytest.skip("the newest is the best one")
    (best / "model.safetensors").unlink()
    assert run.find_damage(run.checkpoint(10)).startswith(f"the best one before it, {best.name}, cannot be used: ")


def test_a_run_goes_on_where_its_folder_was_moved_to(given, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere" / "model")
    for found in (tmp_path / "elsewhere" / "checkpoints").iterdir():
        if found.name == "checkpoint-10":
            shutil.rmtree(found)
    assert finish(start(finetune_small, *given, tmp_path / "elsewhere")) == [0]
    assert_equal_runs(whole, tmp_path / "elsewhere")
    state = json.loads((tmp_path / "elsewhere" / "checkpoints" / "checkpoint-10" / "trainer_state.json").read_text())
    assert Path(state["best_model_checkpoint"]).parent == tmp_path / "elsewhere" / "checkpoints"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run, music: run.recipe.write_text("output_dir: [\n"), "recipe.yaml is not valid YAML"),
        (lambda run, music: run.recipe.unlink(), "recipe.yaml cannot be read"),
        (lambda run, music: run.recipe.write_text(run.recipe.read_text() + "gone: 1\n"), "other settings: gone (1 -> None)"),
        (lambda run, music: run.data.write_text("{"), "data.json is damaged: it is no JSON"),
        (lambda run, music: (music / "calm" / "0.wav").rename(music / "calm" / "9.wav"), "started with other tracks"),
        (lambda run, music: (music / "calm" / "0.wav").rename(music / "wild" / "0a.wav"), "started with other labels"),
    ],
    ids=["cut recipe", "no recipe", "a setting that is gone", "cut data", "other tracks", "other labels"],
)
def test_what_cannot_be_continued_is_one_line(given, whole, tmp_path, damage, message):
    shutil.copytree(whole, tmp_path / "run")
    base, music = given
    shutil.copytree(music, tmp_path / "music")
    damage(FinetuneFolder(tmp_path / "run"), tmp_path / "music")
    recipe = tmp_path / "run" / "recipe.yaml"
    if recipe.exists():
        recipe.write_text(recipe.read_text().replace(str(music), str(tmp_path / "music")))
    assert finish(start(finetune_small, base, tmp_path / "music", tmp_path / "run")) == [1]
    said = (tmp_path / "run" / "said").read_text()
    assert message in said and "\n" not in said


def test_two_runs_do_not_write_into_one_folder(given, tmp_path):
    folder = tmp_path / "run"
    (first,) = start(finetune_small, *given, folder)
    for _ in range(6000):
        if (folder / "recipe.yaml").exists():
            break
        time.sleep(0.005)
    second = start(finetune_small, *given, folder)
    assert finish(second) == [1]
    assert first.is_alive()
    said = (folder / "said").read_text()
    assert said.startswith(f"another run is writing into {folder}: process {first.pid} on ")
    first.kill()
    finish([first])
    with FinetuneFolder(folder).hold() as run:  # free at once
        run._lock.acquire()


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path):
    from accelerate import Accelerator

    run, accelerator = FinetuneFolder(tmp_path), Accelerator(cpu=True)

    def write(folder, error=None):
        inner = folder / f"checkpoint-{step}"
        inner.mkdir()
        (inner / "trainer_state.json").write_text(json.dumps({"best_global_step": 1}))
        if error is not None:
            raise error

    step = 1
    run.keep_checkpoint(accelerator, step, write)
    step = 2
    for error in (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("PytorchStreamWriter failed writing file")):
        with pytest.raises(InputError, match=r"checkpoint-2 cannot be written .* go on from .*checkpoint-1 with"):
            run.keep_checkpoint(accelerator, step, lambda folder, error=error: write(folder, error))
    for step in (3, 4, 5):
        run.keep_checkpoint(accelerator, step, write)
    assert [found.name for found in run.list_checkpoints()] == ["checkpoint-1", "checkpoint-4", "checkpoint-5"]
    assert sorted(file.name for file in run.checkpoints.iterdir()) == ["checkpoint-1", "checkpoint-4", "checkpoint-5"]


def test_a_folder_is_filled_wholly_or_not_at_all(tmp_path):
    with fill_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("1")
    with pytest.raises(OSError), fill_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("2")
        raise OSError(errno.ENOSPC, "")
    assert (tmp_path / "model" / "a").read_text() == "1"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
