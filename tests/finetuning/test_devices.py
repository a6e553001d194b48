"""Fine-tuning with several processes or GPUs: the warm-up, who writes, and how many devices a process takes."""

import json

import pytest
from support.labelled_music import make_base_and_music
from support.small_runs import finetune_and_tell, finish, start
from transformers import TrainingArguments

from mert_hf.finetuning import run as module
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A base of random weights, and ten tracks of each of two labels."""
    return make_base_and_music(tmp_path_factory.mktemp("given"), 10, 0.6)


@pytest.mark.parametrize("method", ["full", "frozen"])
def test_the_warm_up_is_a_share_of_the_updates_of_all_processes_and_one_of_them_writes(given, tmp_path, method):
    started = start(finetune_and_tell, *given, tmp_path / "run", tmp_path, method, processes=2)
    assert finish(started) == [0, 0], [path.read_text() for path in (tmp_path / "run").glob("said")]
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    # ten tracks are trained on in five epochs, two at a time
    assert [one["updates"] for one in said] == [25, 25]
    assert [one["warmup"] for one in said] == [12, 12]
    assert [one["wrote"] for one in said] == [True, False]
    assert (tmp_path / "run" / "results.json").is_file()


def test_the_warm_up_of_one_process_is_what_it_was():
    """For any sizes; as it was counted when nobody thought of several processes."""
    import numpy as np

    training = FinetuneSettings().training
    for tracks in (1, 7, 16, 17, 443):
        for batch, accumulated, epochs in ((1, 1, 2.0), (16, 3, 2.5), (5, 2, 20.0)):
            training.batch_size, training.gradient_accumulation_steps, training.epochs = batch, accumulated, epochs
            assert module.count_updates(tracks, training, 1) == int(np.ceil(tracks / batch / accumulated) * epochs)
            assert module.count_updates(tracks, training, 8) <= int(np.ceil(tracks / batch / accumulated / 8) * epochs)


def test_a_process_that_sees_several_gpus_takes_one_and_says_how_to_take_all(monkeypatch, tmp_path, caplog):
    def see_four(arguments):
        device = original(arguments)
        arguments._n_gpu = 4
        return device

    original = TrainingArguments._setup_devices.func
    monkeypatch.setattr(TrainingArguments._setup_devices, "func", see_four)
    arguments = module.make_arguments(FinetuneSettings(), FinetuneFolder(tmp_path))
    assert arguments.n_gpu == 1 and arguments.train_batch_size == FinetuneSettings().training.batch_size
    assert "4 GPUs are there, and one is used; accelerate launch" in caplog.text
