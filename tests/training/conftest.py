"""Scripts run in this process, and a synthetic suite that takes seconds."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from mert_hf.probing import runner
from mert_hf.synthetic import benchmark
from mert_hf.tasks import TASKS, real_beats

SCRIPTS = Path(__file__).parents[2] / "training"


@pytest.fixture
def run_script(monkeypatch):
    """`run_script("probe.py", "--model", folder)`: as from the command line, on the CPU."""

    def start(name, *arguments):
        AcceleratorState._reset_state(reset_partial_state=True)  # a process of its own would begin without one
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / name), *map(str, arguments)])
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)

    return start


@pytest.fixture
def small_suite(monkeypatch):
    """The synthetic suite with a few examples, short pieces, one kind of probe, two epochs and few draws."""
    for name in ("notes", "pieces"):
        monkeypatch.setitem(benchmark.SIZES, name, {"train": 14, "validation": 6, "test": 8})
    monkeypatch.setattr(benchmark, "PIECE_S", 4.0)
    benchmark.make_score.cache_clear()
    monkeypatch.setattr(runner, "BOOTSTRAP_DRAWS", 20)
    monkeypatch.setattr(runner, "SLOW_BOOTSTRAP_DRAWS", 5)
    monkeypatch.setattr(runner, "LIMITED_SHARES", (0.2,))
    monkeypatch.setattr(runner, "LIMITED_DRAWS", 1)
    for name, task in list(TASKS.items()):
        if name.startswith("synthetic"):
            protocol = replace(task.protocol, max_epochs=2, hidden_size=16, alternatives=())
            monkeypatch.setitem(TASKS, name, replace(task, protocol=protocol))
    monkeypatch.setattr(real_beats, "BEAT", TASKS["synthetic_beat"])
    yield
    benchmark.make_score.cache_clear()
