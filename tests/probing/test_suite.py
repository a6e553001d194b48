"""Suites: commits of datasets are written down and read again; separation is probed like every task."""

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from support.probing_tasks import RATE, Memory, pitch_task
from support.task_layouts import BUILDERS

from mert_hf.common.errors import InputError
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import LogMel
from mert_hf.probing.probes import probe_of
from mert_hf.probing.runner import evaluate_baseline, evaluate_encoder
from mert_hf.probing.settings import ProbingSettings
from mert_hf.probing.suite import list_evaluations, load_suite
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import Windows
from mert_hf.tasks.examples import read_source


@dataclass(frozen=True)
class Repository(Memory):
    """A source with a commit: the newest, or the one that is pinned."""

    commits: dict = field(default_factory=dict)

    def load(self, folder):
        return replace(super().load(folder), revisions={"user/data": self.commits.get("user/data", "newest")})

    def pinned(self, revisions):
        return replace(self, commits=dict(revisions))


def test_commits_are_pinned_once_and_then_kept(tmp_path):
    task = pitch_task((2, 1, 1))
    task = replace(task, source=Repository(task.source.splits))
    pins = tmp_path / "pins.json"
    (data,) = load_suite([task], None, pins)
    assert data.revisions == {"user/data": "newest"} == json.loads(pins.read_text())
    pins.write_text(json.dumps({"user/data": "abc", "user/other": "def"}))
    (data,) = load_suite([task], None, pins)
    assert data.revisions == {"user/data": "abc"}
    assert json.loads(pins.read_text()) == {"user/data": "abc", "user/other": "def"}
    pins.write_text("abc")
    with pytest.raises(InputError, match="is no JSON of commits by repository"):
        load_suite([task], None, pins)


def test_results_of_other_settings_or_data_are_not_taken(tmp_path):
    encoder = LogMel(RATE)

    def keys(data, settings, dtype="float16"):
        return {one.title: one.key for one in list_evaluations([data], encoder, [], settings, dtype, tmp_path)}

    data = pitch_task((8, 4, 4)).load()
    before = keys(data, ProbingSettings())
    assert set(before) == {"log-mel mean + std", "majority"} and keys(data, ProbingSettings(device="cuda")) == before
    assert keys(data, ProbingSettings(seeds=5)) != before
    assert keys(data, ProbingSettings(head="linear")) != before
    assert keys(pitch_task((8, 4, 4), version="2").load(), ProbingSettings()) != before
    wide = keys(data, ProbingSettings(), "float32")
    assert wide["majority"] == before["majority"] and wide["log-mel mean + std"] != before["log-mel mean + std"]
    for change in (
        dict(windows=Windows(duration_s=0.25)),
        dict(train_windows=Windows(duration_s=0.25)),
        dict(random_train_windows=True),
        dict(metrics=("accuracy", "refined_key_accuracy")),
        dict(monitor="loss"),
        dict(aggregation="window"),
    ):
        assert not {*keys(replace(data, task=replace(data.task, **change)), ProbingSettings()).values()} & {*before.values()}, (
            change
        )
    (evaluation, *_) = list_evaluations([data], encoder, [], ProbingSettings(seeds=1), "float16", tmp_path)
    assert evaluation.result() is None
    evaluation.run(Extraction(tmp_path))
    assert evaluation.result()["values"]["accuracy"]["seeds"]
    whole = evaluation.file.read_text()
    for place in range(len(whole)):
        evaluation.file.write_text(whole[:place] + ("7" if whole[place] != "7" else "8") + whole[place + 1 :])
        try:
            assert evaluation.result() in (None, json.loads(whole)["result"])  # of another title, or another key
        except InputError as error:
            assert str(evaluation.file) in str(error)
    evaluation.file.write_text(json.dumps({"key": "another", "result": {}}))
    assert evaluation.result() is None


def test_what_cannot_be_held_is_refused_before_anything_is_made(tmp_path):
    encoder = SimpleNamespace(title="mine", layers=("0", "1", "2"), frame_rate=75.0, fingerprint={})

    def listed(task, **settings):
        return list_evaluations(
            [replace(pitch_task((2, 1, 1)).load(), task=task)], encoder, [], ProbingSettings(**settings), "float16", tmp_path
        )

    with pytest.raises(InputError, match="first_summed 3 is no layer of mine; layers: 0, 1, 2"):
        listed(pitch_task(), first_summed=3)
    assert listed(pitch_task(), first_summed=2)
    with pytest.raises(InputError, match="musdb18 has an LSTM as its probe .*: --probe and --limited cannot be held"):
        listed(TASKS["musdb18"], head="linear", limited=True)


def test_separation_is_probed_from_the_weighted_sum(tmp_path):
    BUILDERS["musdb18"](tmp_path / "musdb18")
    data = TASKS["musdb18"].load(tmp_path)
    protocol = replace(data.task.protocol, max_epochs=1, hidden_size=8, batch_size=2)
    data = replace(data, task=replace(data.task, protocol=protocol))

    class TwoLayers(LogMel):  # of which the sum takes the second alone
        layers = ("0", "1")

        def __call__(self, waveforms):
            found = super().__call__(waveforms)
            return torch.cat([torch.full_like(found, 1e3), found], dim=1)

    extraction = Extraction(tmp_path / "cache")
    result = evaluate_encoder(TwoLayers(), data, extraction, ProbingSettings(seeds=1))
    assert result["layer"] == "weighted sum" and result["probe"] == "lstm" and result["summed_layers"] == ["1"]
    value = result["values"]["sdr_vocals"]
    assert np.isfinite(value["value"]) and value["low"] <= value["value"] <= value["high"]
    (one,) = evaluate_encoder(LogMel(), data, extraction, ProbingSettings(seeds=1))["values"]["sdr_vocals"]["seeds"]
    assert value["seeds"] == [one]
    # what was trained is kept by what it was trained on, and read again
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "separation").iterdir()}
    assert len(kept) == 2
    assert evaluate_encoder(TwoLayers(), data, extraction, ProbingSettings(seeds=1)) == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "separation").iterdir()} == kept


def test_a_share_of_the_mixture_is_the_baseline_of_separation(tmp_path):
    BUILDERS["musdb18"](tmp_path / "musdb18")
    data = TASKS["musdb18"].load(tmp_path)
    ((title, baseline),) = probe_of(data.task).baselines(data).items()
    assert title == "mixture / 4"
    found = evaluate_baseline(data, baseline)["values"]
    ratios = []
    for song in data.splits["test"]:  # one frame of a second each
        mixture, vocals = song.read(24000), read_source(data.target(song)[0], 24000)
        ratios.append(10 * np.log10(np.sum(vocals.astype(float) ** 2) / np.sum((mixture / 4 - vocals).astype(float) ** 2)))
    assert found["sdr_vocals"]["value"] == pytest.approx(np.median(ratios), abs=1e-4)
    assert found["sdr_vocals"]["low"] == pytest.approx(min(ratios), abs=1e-4)
    # a stem that is a fourth of the mixture: a perfect estimate, which JSON can hold
    for song in ("C - Three", "D - Four"):
        mixture, rate = soundfile.read(tmp_path / "musdb18" / "test" / song / "mixture.wav")
        for stem, share in (("mixture", 1), ("bass", 0.25)):
            soundfile.write(tmp_path / "musdb18" / "test" / song / f"{stem}.wav", share * mixture, rate, subtype="FLOAT")
    perfect = evaluate_baseline(TASKS["musdb18"].load(tmp_path), baseline)["values"]
    assert perfect["sdr_bass"]["value"] == 200.0
    json.dumps(perfect, allow_nan=False)
