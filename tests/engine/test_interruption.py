"""Runs that are killed, that meet a full disk or another run, and what is left of them."""

import errno
import fcntl
import json
import os
import random
import resource
import signal
import socket
import time
from pathlib import Path

import pytest
import soundfile
from safetensors.torch import load_file
from support.small_runs import finish, start, train
from support.sounds import make_tones
from support.troubled_runs import train_held

from mert_hf.common import run_lock
from mert_hf.common.errors import InputError
from mert_hf.common.run_lock import RunLock
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder

STEPS = 24


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    for number in range(5):
        soundfile.write(folder / f"{number}.wav", make_tones(3 + number, 24000, number), 24000)
    return folder


@pytest.mark.parametrize(
    ("processes", "workers", "model"),
    [(1, 0, None), (2, 2, None), (2, 0, {"mert2": True})],
    ids=["1 process", "2 processes x 2 readers", "2 processes, MERT-v2"],
)
def test_a_run_killed_at_random_steps_ends_bit_by_bit_as_one_that_never_was(music, tmp_path, processes, workers, model):
    """Dropout, LayerDrop and accumulation are on; the kill may hit an update, a checkpoint or the start."""
    settings = dict(max_steps=STEPS, gradient_accumulation_steps=2, checkpoint_every=2, spike_deviations=50.0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finish(start_run(music, whole, workers, processes, settings, model)) == [0] * processes
    seed = random.SystemRandom().randrange(10**6)
    print("seed of the kills:", seed)  # pytest shows it with whatever fails
    chance, died_at = random.Random(seed), []
    while True:
        started = start_run(music, killed, workers, processes, settings, model)
        begun = steps_done(killed)
        target, delay_s = begun + chance.randint(1, 5), chance.uniform(0, 0.03)
        while any(process.is_alive() for process in started) and steps_done(killed) < target:
            time.sleep(0.002)
        time.sleep(delay_s)
        for process in started:
            process.kill()
        if finish(started) == [0] * processes:
            break
        died_at.append(steps_done(killed))
        assert len(died_at) < 30, died_at
    assert len(died_at) >= 2, died_at
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (whole, killed))
    assert expected.keys() == found.keys()
    different = [name for name, value in expected.items() if not value.equal(found[name])]
    assert not different, (seed, died_at, different)
    losses = [[report["loss"] for report in read_metrics(folder / "metrics.jsonl")] for folder in (whole, killed)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == STEPS


@pytest.mark.parametrize("told", [[0, 1], [1]], ids=["both", "one of them"])
def test_a_signal_stops_two_processes_at_the_same_update_with_a_checkpoint(music, tmp_path, told):
    started = start_run(music, tmp_path, 0, 2, {"max_steps": 100_000, "checkpoint_every": 100_000})
    for _ in range(3000):
        if steps_done(tmp_path):
            break
        time.sleep(0.02)
    for rank in told:
        os.kill(started[rank].pid, signal.SIGTERM)
    assert finish(started) == [143, 143]
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    assert int(checkpoint.name.removeprefix("step_")) == json.loads((checkpoint / "state.json").read_text())["step"] > 0
    assert {f"random_states_{rank}.pkl" for rank in range(2)} < {file.name for file in checkpoint.iterdir()}


def start_run(music: Path, folder: Path, workers: int, processes: int, settings: dict, model: dict | None = None) -> list:
    return start(train, music, folder, workers, False, settings, model, processes=processes)


def steps_done(folder: Path) -> int:
    reports = read_metrics(folder / "metrics.jsonl")
    return reports[-1]["step"] if reports else 0


def test_a_full_disk_leaves_the_checkpoint_before_it(make_trainer, monkeypatch):
    trainer = make_trainer(max_steps=6)
    save_state = trainer.accelerator.save_state

    def save_until_full(folder):
        if trainer.progress.step == 4:
            (Path(folder) / "model.safetensors").write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save_state(folder)

    monkeypatch.setattr(trainer.accelerator, "save_state", save_until_full)
    with pytest.raises(InputError, match=r"step_00000004 cannot be written .*No space left on device. Make room there; go on"):
        trainer.train()
    assert [folder.name for folder in trainer.run.checkpoints.iterdir()] == ["step_00000002"]
    monkeypatch.undo()
    assert make_trainer(max_steps=6, resume=True).train().step == 6


def test_a_write_that_truly_fails_is_a_clear_error_too(make_trainer):
    """Files may suddenly not grow beyond 100 kB: this meets the writers of torch and safetensors, not only Python's."""
    trainer = make_trainer(max_steps=4)
    save_checkpoint = trainer.run.save_checkpoint
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(accelerator, state, *keep):
        if state["step"] == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            return save_checkpoint(accelerator, state, *keep)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    trainer.run.save_checkpoint = save
    with pytest.raises(InputError, match=r"the checkpoint step_00000004 cannot be written into .*Make room there; go on from"):
        trainer.train()
    assert [folder.name for folder in trainer.run.checkpoints.iterdir()] == ["step_00000002"]


def test_everything_is_on_the_disk_before_a_checkpoint_takes_its_place(make_trainer, monkeypatch):
    trainer = make_trainer(max_steps=2)
    done, fsync, rename = [], os.fsync, Path.rename

    def note_fsync(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def note_rename(self, target):
        done.append(f"{self} -> {target}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    trainer.train()
    checkpoint = trainer.run.checkpoints / "step_00000002"
    partial = checkpoint.with_suffix(".partial")
    moved = done.index(f"{partial} -> {checkpoint}")
    names = {path.name for path in checkpoint.iterdir()}
    assert {"model.safetensors", "optimizer.bin", "random_states_0.pkl", "state.json"} <= names
    assert {str(partial), *(str(partial / name) for name in names)} <= set(done[:moved])
    assert str(trainer.run.checkpoints) in done[moved:]


def test_checkpoints_of_every_nth_update_are_kept_for_good(make_trainer):
    trainer = make_trainer(max_steps=9, checkpoint_every=1, keep_checkpoints=2, keep_every=3)
    trainer.train()
    kept = sorted(int(folder.name.removeprefix("step_")) for folder in trainer.run.checkpoints.iterdir())
    assert kept == [3, 6, 8, 9]


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    first, second = RunLock(tmp_path / "run.lock"), RunLock(tmp_path / "run.lock")
    first.acquire()
    with pytest.raises(InputError, match=rf"another run is writing into {tmp_path}: process {os.getpid()} on \S+\. Wait"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_run_that_was_killed_goes_on_at_once_although_its_readers_were_forked_from_it(music, tmp_path):
    for _ in range(3):
        begun = steps_done(tmp_path)
        (run,) = start(train_held, music, tmp_path)
        for _ in range(6000):
            if steps_done(tmp_path) > begun + 2 or not run.is_alive():
                break
            time.sleep(0.02)
        assert run.is_alive(), "the lock was refused"
        readers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        assert len(readers) == 2
        run.kill()
        run.join()
        lock = RunLock(tmp_path / "run.lock")
        lock.acquire()
        lock.release()
        for _ in range(200):  # four seconds; torch's own readers are there for five and more
            living = [reader for reader in readers if is_running(reader)]
            if not living:
                break
            time.sleep(0.02)
        assert not living


def test_a_run_ends_when_a_reader_is_killed_and_the_other_readers_with_it(music, tmp_path):
    """As the system does where memory is short; those that are left do not hear SIGTERM, by which Python would end them."""
    (run,) = start_run(music, tmp_path, 2, 1, {"max_steps": 100_000})
    for _ in range(6000):
        if steps_done(tmp_path) > 1 or not run.is_alive():
            break
        time.sleep(0.02)
    readers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(readers[0]), signal.SIGKILL)
    assert finish([run], 60) == [1]
    assert not any(is_running(reader) for reader in readers)


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_forked_process_neither_holds_a_lock_nor_gives_it_back(tmp_path):
    lock = RunLock(tmp_path / "run.lock")
    lock.acquire()
    asleep = os.fork()
    if asleep == 0:
        lock.release()
        time.sleep(60)
        os._exit(0)
    try:
        time.sleep(0.2)
        with pytest.raises(InputError, match=f"process {os.getpid()} on"):
            RunLock(lock.file).acquire()
        lock.release()
        RunLock(lock.file).acquire()
    finally:
        os.kill(asleep, signal.SIGKILL)
        os.waitpid(asleep, 0)


def test_the_lock_of_a_dead_run_is_taken_and_that_of_another_machine_is_not(tmp_path):
    file = tmp_path / "run.lock"
    (holder,) = start(RunLock.acquire, RunLock(file))  # it ends without giving the lock back
    assert finish([holder]) == [0]
    assert json.loads(file.read_text())["pid"] == holder.pid
    lock = RunLock(file)
    lock.acquire()
    lock.release()
    file.write_text(json.dumps({"pid": 7, "host": "elsewhere"}))
    with pytest.raises(InputError, match=f"process 7 on elsewhere. If it is dead, start again .* 15 minutes, or remove {file}"):
        lock.acquire()
    file.unlink()
    lock.acquire()
    lock.release()


def test_the_lock_of_another_machine_is_taken_over_when_it_was_silent_for_long(tmp_path, monkeypatch, caplog):
    file = tmp_path / "run.lock"

    def leave(pid, host, silent_s):
        file.write_text(json.dumps({"pid": pid, "host": host}))
        os.utime(file, (time.time() - silent_s,) * 2)
        return RunLock(file)

    with pytest.raises(InputError, match="a run on another machine is writing into"):
        leave(7, "elsewhere", 14 * 60).acquire()
    lock = leave(7, "elsewhere", 16 * 60)
    lock.acquire()
    assert "process 7 on elsewhere has given no sign of life for 16 minutes" in caplog.text
    assert json.loads(file.read_text())["pid"] == os.getpid()
    # it is as silent, but another process holds it by the operating system: the machines share their locks
    os.utime(file, (0, 0))
    with pytest.raises(InputError, match="another run is writing into"):
        RunLock(file).acquire()
    lock.release()

    monkeypatch.setattr(run_lock, "TOUCH_S", 0.01)
    lock.acquire()
    os.utime(file, (0, 0))
    for _ in range(500):
        if time.time() - file.stat().st_mtime < 60:
            break
        time.sleep(0.01)
    assert time.time() - file.stat().st_mtime < 60
    lock.release()

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (gone,) = start(time.time)
    assert finish([gone]) == [0]
    host = socket.gethostname()
    with pytest.raises(InputError, match=f"a run is writing into {tmp_path}: process {os.getppid()} on {host}"):
        leave(os.getppid(), host, 0).acquire()
    for lock in (leave(gone.pid, host, 0), leave(os.getppid(), host, 16 * 60)):
        lock.acquire()
        lock.release()


def test_a_run_claims_its_folder_and_gives_it_back(tmp_path):
    from mert_hf.pretraining.settings import PretrainSettings

    with RunFolder(tmp_path / "run").hold() as run:
        run.claim(PretrainSettings(), resume=False)
        with pytest.raises(InputError, match="another run is writing into"):
            RunFolder(tmp_path / "run").claim(PretrainSettings(), resume=False)
    RunFolder(tmp_path / "run").claim(PretrainSettings(), resume=False)
