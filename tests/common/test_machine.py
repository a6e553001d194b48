"""What is told of the machine and of the code."""

import subprocess
import time

import pytest
import torch

from mert_hf import __version__
from mert_hf.common import machine


def test_a_processor_is_named_as_the_system_names_it(tmp_path, monkeypatch):
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz: fast\n\nprocessor\t: 1\nmodel name\t: Some CPU\n")
    monkeypatch.setattr(machine, "CPU_FACTS", facts)
    monkeypatch.setattr(machine, "count_cores", lambda: 2)
    assert machine.describe_processors("cpu") == {"machine": "Some CPU @ 2 GHz: fast", "processors": "2 cores"}
    facts.write_text("Hardware : a board\n")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    assert machine.describe_processors(torch.device("cpu"))["machine"] == "aarch64"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    assert machine.describe_processors("cuda:0", 4) == {"machine": "A GPU", "processors": "4 GPUs"}


def test_the_commit_is_that_of_the_clone_and_says_whether_it_was_changed(tmp_path, monkeypatch):
    assert machine.find_commit(tmp_path) == f"mert_hf {__version__}"

    def git(*arguments):
        owner = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *owner, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init")
    assert machine.find_commit(tmp_path) == f"mert_hf {__version__}"  # no commit yet
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    assert git("rev-parse", "HEAD").startswith(machine.find_commit(tmp_path)) and len(machine.find_commit(tmp_path)) == 12
    (tmp_path / "new").write_text("not of the code")
    assert not machine.find_commit(tmp_path).endswith("+")
    (tmp_path / "file").write_text("two")
    assert machine.find_commit(tmp_path).endswith("+")
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.find_commit(tmp_path) == f"mert_hf {__version__}"


@pytest.mark.skipif(not machine.CLONE.joinpath("pyproject.toml").is_file(), reason="not a clone")
def test_the_package_is_looked_for_at_the_top_of_the_clone():
    assert (machine.CLONE / "mert_hf" / "common" / "machine.py").is_file()


@pytest.mark.parametrize(("half_s", "full_s"), [(0.03, 0.003), (0.002, 0.02)])
def test_bfloat16_is_timed_against_float32(monkeypatch, half_s, full_s):
    monkeypatch.setattr(torch, "mm", lambda first, second: time.sleep(half_s if first.dtype == torch.bfloat16 else full_s))
    assert machine.bfloat16_slowdown() == pytest.approx(half_s / full_s, rel=0.3)
