"""Cells trained by two processes, each of which goes on to the next when the other does."""

import json
from pathlib import Path

import pytest
import yaml
from support.small_runs import ENCODER, finish, start, train_cells

from mert_hf.synthetic import write_corpus

CELLS = Path(__file__).parents[2] / "training" / "cells"


@pytest.fixture
def cells(tmp_path):
    """One cell that is trained between two that collapse at their first update; their bases are found by name."""
    collapsing = {"base": "music2vec", "data2vec": {"first_judged_step": 0, "min_target_std": 1000.0}}
    trained = {"base": "mert", "teacher": {"codebook_sizes": [8], "fit_s": 5}}
    files = []
    for name, cell in {"first": collapsing, "second": trained, "third": collapsing}.items():
        shared = {"model": ENCODER, "data": {"workers": 0}, "training": {"batch_size": 2}}
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump({**cell, **shared}))
    return [str(file) for file in files]


def test_two_processes_share_the_budget_of_every_cell(cells, tmp_path):
    write_corpus(tmp_path / "music", 3, 4.0, seed=1)
    arguments = (cells, CELLS, tmp_path / "out", 16.0, tmp_path / "music", tmp_path / "found")

    def run() -> dict:
        assert finish(start(train_cells, *arguments, processes=2)) == [0, 0]
        found = [json.loads((tmp_path / f"found_{rank}").read_text()) for rank in range(2)]
        assert found[0] == found[1]
        assert found[0][1] == 16.0
        assert all("has collapsed at update 1" in found[0][place] for place in (0, 2))
        return {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.*") if file.name != "run.lock"}

    assert run() == run()  # nothing is trained anew
