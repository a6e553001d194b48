"""Every task that needs a dataset, from its layout to rows of a table, on tiny copies."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.task_layouts import BUILDERS

from mert_hf.probing import runner
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import LogMel
from mert_hf.probing.probes import probe_of
from mert_hf.probing.report.results import markdown_table, result_rows
from mert_hf.probing.runner import evaluate_baseline, evaluate_encoder
from mert_hf.probing.settings import ProbingSettings
from mert_hf.tasks import TASKS, tasks_of

FOREIGN = [(suite, task.name) for suite in ("marble", "deezer") for task in tasks_of(suite)]


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, build in BUILDERS.items():
        build(folder / name)
    # tags of nine songs: all of them in every split
    np.save(folder / "msd100" / "binaries.npy", np.arange(9)[:, None] % 2 == np.arange(100) % 2)
    return folder


@pytest.mark.parametrize(("suite", "name"), FOREIGN)
def test_a_task_is_evaluated_beside_its_baselines(suite, name, data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "BOOTSTRAP_DRAWS", 3)
    monkeypatch.setattr(runner, "SLOW_BOOTSTRAP_DRAWS", 3)
    data = TASKS[name].load(data_folder)
    protocol = replace(data.task.protocol, learning_rates=(1e-2,), max_epochs=1, steps_per_epoch=2, hidden_size=8)
    # half of two examples would leave every class without a positive or without a negative one
    protocol = replace(protocol, test_resamples=2 if suite == "deezer" else 0, test_share=1.0)
    data = replace(data, task=replace(data.task, protocol=protocol))
    evaluated = evaluate_encoder(LogMel(12000), data, Extraction(tmp_path), ProbingSettings(seeds=1))
    baselines = {title: evaluate_baseline(data, baseline) for title, baseline in probe_of(data.task).baselines(data).items()}
    rows = result_rows(data, suite, evaluated, baselines)
    # every published value is there, and a number that JSON can hold
    published = {value for values in data.task.published.values() for value in values}
    assert published <= {row["metric"] for row in rows} and rows
    for row in rows:
        assert row["low"] <= row["high"] and row["notes"] and row["learning_rate"] and row["epoch"] is not None
        assert len(row["baselines"]) == (2 if name in ("giantsteps_key", "gtzan_rhythm") else 1)
        assert ("resampled_mean" in row) == (suite == "deezer")
        if suite == "deezer":
            assert any("learning rate is chosen from MARBLE's" in note for note in row["notes"])
    table = markdown_table({"title": "log-mel", "results": json.loads(json.dumps(rows, allow_nan=False))})
    assert table.count(data.task.title) == len(rows)
