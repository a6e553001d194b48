"""Processes that hang, and what becomes of those that wait for them."""

import os
import signal
import time

import pytest
import soundfile
from support.small_runs import finish, start, train
from support.sounds import make_tones
from support.troubled_runs import prepare, train_and_tell

from mert_hf.engine.metrics import read_metrics


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", make_tones(3 + number, 24000, number), 24000)
    return folder


def wait_until(condition, timeout_s=100.0):
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize(("hung", "told"), [(1, False), (0, True)], ids=["waited for long enough", "told to stop meanwhile"])
def test_a_process_that_waits_for_one_that_hangs_ends_and_names_it(music, tmp_path, hung, told):
    folder, other = tmp_path / "run", 1 - hung
    started = start(train_and_tell, music, folder, 600.0 if told else 5.0, processes=2)
    try:
        wait_until(lambda: len(read_metrics(folder / "metrics.jsonl")) > 2)
        os.kill(started[hung].pid, signal.SIGSTOP)
        begun = time.monotonic()
        if told:
            time.sleep(1)
            os.kill(started[other].pid, signal.SIGTERM)
        started[other].join(30)
        assert started[other].exitcode == (143 if told else 75)
        assert time.monotonic() - begun < 25
        said = (tmp_path / f"said_{other}.txt").read_text()
        why = r"told to stop" if told else "training.rank_timeout_s=5 is over"
        assert f"Process {other} on" in said and f"ends ({why}) after" in said
        assert f"it waits for process {hung} (number {started[hung].pid} on" in said
        assert "without a sign of life. Go on with --training.resume." in said
    finally:
        for process in started:
            process.kill()
        finish(started)


def begin_to_prepare(folder, *arguments):
    started = start(prepare, folder, *arguments, processes=2)
    wait_until(lambda: (folder / "entered_1").exists() and (folder / "alone_0").exists())
    return started


def test_the_others_come_behind_the_one_that_prepares_and_learn_of_its_failure(tmp_path):
    started = begin_to_prepare(tmp_path, 60.0)
    time.sleep(1)  # five signs of life
    assert not (tmp_path / "alone_1").exists()
    (tmp_path / "ready").touch()
    assert finish(started) == [0, 0]
    assert (tmp_path / "alone_1").exists()
    failing = tmp_path / "failing"
    failing.mkdir()
    assert finish(begin_to_prepare(failing, 60.0, True)) == [0, 0]
    assert (failing / "refused_0").read_text() == "no such folder"
    assert (failing / "refused_1").read_text().startswith("process 0, which prepares what all others read, has failed")
    assert not (failing / "alone_1").exists()


@pytest.mark.parametrize("told", [True, False], ids=["told to stop", "a first process without a sign of life"])
def test_who_waits_for_the_one_that_prepares_ends(tmp_path, told):
    started = begin_to_prepare(tmp_path, 60.0 if told else 3.0)
    try:
        time.sleep(0.5)
        os.kill(started[1 if told else 0].pid, signal.SIGTERM if told else signal.SIGSTOP)
        started[1].join(20)
        assert started[1].exitcode == (143 if told else 75)
        said = (tmp_path / "said_1.txt").read_text()
        assert ("Ended by signal 15 while process 0 prepared." if told else "no sign of life for 3 s") in said
    finally:
        for process in started:
            process.kill()
        finish(started)


def test_a_training_that_fails_ends_and_its_readers_with_it(music, tmp_path):
    """They are forks: they hold what this process listens to, and do not hear SIGTERM, by which Python would end them."""
    (tmp_path / "checkpoints").write_text("where no checkpoint can be written")
    arguments = (music, tmp_path, 2, False, {"max_steps": 2, "checkpoint_every": 2})
    assert finish(start(train, *arguments, processes=2), 60) == [1, 1]
