"""`training/speedrun.py`, run in this process: a run that beats at once, one that does not, and one that goes on."""

import csv
import json

import pytest
import torch
import yaml
from PIL import Image
from support.judged_rows import make_rows
from support.small_runs import ENCODER
from transformers import AutoModel

from mert_hf.common import machine
from mert_hf.comparison.run import SuiteEvaluator
from mert_hf.engine.metrics import read_metrics
from mert_hf.probing.features import spectra
from mert_hf.synthetic import write_corpus
from mert_hf.tasks import SUITES

TASKS = ["synthetic_pitch", "synthetic_instrument"]
TINY = {
    "model": ENCODER,
    "data": {"crop_s": 2.0, "workers": 0, "min_track_s": 2.0},
    "teacher": {"kind": "kmeans_residual", "codebook_sizes": [8], "features": ["log_mel"], "fit_s": 20},
    "cqt": {"enabled": False},
    "training": {"max_steps": 6, "batch_size": 2, "warmup_steps": 1},
    "validation": {"share": 0.3, "clips": 2},
}


@pytest.fixture
def speedrun(run_script, small_suite, tmp_path):
    """`speedrun("--measures", 1)` -> None, or what was printed as the error: six updates of 4 s, judged three times."""
    write_corpus(tmp_path / "music", 4, 6.0, seed=2, sampling_rate=16000)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY))

    def run(*more):
        given = ("--recipe", recipe, "--output_dir", tmp_path / "out", "--cache", tmp_path / "cache", "--judgements", 3)
        try:
            run_script("speedrun.py", *given, "--data.folder", tmp_path / "music", *more)
        except SystemExit as stopped:
            return stopped.code

    return run


@pytest.fixture
def judge(monkeypatch):
    """Values of judgements in their order, each by task; spectra have 50 of everything. Records which models were judged."""
    values, judged = [], []

    def evaluate(self, encoder, folder, rivals=(), baselines=False):
        if baselines:
            return {encoder.title: make_rows(dict.fromkeys(TASKS, 50.0), validation=0.5)}
        judged.append((folder.name, encoder.fingerprint["weights"]))
        found = values[len(judged) - 1]
        if isinstance(found, BaseException):
            raise found
        return {encoder.title: make_rows(found)}

    monkeypatch.setattr(SuiteEvaluator, "evaluate", evaluate)

    def choose(*chosen):
        values[:], judged[:] = chosen, []
        return judged

    return choose


def each(value: float) -> dict:
    return dict.fromkeys(TASKS, value)


def test_a_run_is_judged_by_the_suite(speedrun, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(spectra, "SPECTRAL_BASELINES", (spectra.LogMel, spectra.Chroma))
    out = tmp_path / "out"
    assert (
        speedrun("--tasks", "synthetic_instrument", "--budget", 8, "--judgements", 1, "--training.learning_rate", "1e-3")
        is None
    )
    results = json.loads((out / "speedrun.json").read_text(), parse_constant=pytest.fail)
    assert results["settings"] == {"training.learning_rate": 1e-3} and results["recipe"] == "tiny"
    assert results["ema_decay"] == 0.999 and results["music"] == "music" and results["wanted"] == 1
    start, end = results["judgements"]
    assert (start["step"], end["step"], end["audio_s"]) == (0, 2, 8.0)
    assert start["training_s"] == start["total_s"] == 0 and 0 < end["training_s"] < end["total_s"]
    column = "synthetic_instrument/accuracy"
    assert list(results["columns"]) == list(end["values"]) == [column]
    # by hand: no spectrum but that of the best validation, and the guess
    rivals = {one["name"]: one["values"][column]["value"] for one in results["baselines"]}
    assert len(rivals) == 3
    least = max(rivals[results["best_baselines"][column]], rivals["majority"])
    assert results["to_beat"][column]["value"] == least
    for one in (start, end):
        assert (column in one["beaten"]) == (one["values"][column]["value"] > least)
    assert results["beats"] == (column in end["beaten"])
    # the start is what was trained, before it was
    first, last = (AutoModel.from_pretrained(out / place) for place in ("start", "run/model"))
    moved = [(one - other).abs().max() for one, other in zip(first.parameters(), last.parameters(), strict=True)]
    assert 0 < max(moved) < 0.05
    assert min(Image.open(out / "speedrun.png").size) > 200
    assert not (out / "features").exists()
    printed = capsys.readouterr().out
    assert "tiny beats the best simple baseline on" in printed and "to beat:" in printed


def test_a_run_that_beats_stops_and_goes_on_where_more_is_wanted(speedrun, judge, tmp_path, monkeypatch):
    monkeypatch.setitem(SUITES, "synthetic", TASKS)
    out, record = tmp_path / "out", tmp_path / "speedrun.csv"
    judged = judge(each(60.0), {**each(40.0), TASKS[0]: 60.0}, each(40.0), each(40.0))
    assert speedrun("--measures", 1, "--record", record) is None
    results = json.loads((out / "speedrun.json").read_text())
    assert results["beats"] and [one["step"] for one in results["judgements"]] == [0, 2]
    assert json.loads((out / "run" / "results.json").read_text())["steps"] == 2
    assert len({weights for _, weights in judged}) == 2
    # the same line finds all that, and the record has it once
    assert speedrun("--measures", 1, "--record", record) is None
    assert len(judged) == 2
    (line,) = csv.DictReader(record.open(encoding="utf-8"))
    assert (line["recipe"], line["updates"], line["beaten"], line["wanted"]) == ("tiny", "2", "1", "1")
    assert (line["pitch"], line["instrument"], line["tempo"]) == ("60.0", "40.0", "")
    # two are wanted: it goes on, to the end of the budget
    assert speedrun("--measures", 2) is None
    results = json.loads((out / "speedrun.json").read_text())
    assert not results["beats"] and [one["step"] for one in results["judgements"]] == [0, 2, 4, 6]
    assert [folder for folder, _ in judged] == [f"step_{step:08d}" for step in (0, 2, 4, 6)]
    times = [[one[name] for one in results["judgements"]] for name in ("training_s", "preparing_s", "audio_s")]
    assert all(ascending == sorted(ascending) for ascending in times) and times[2] == [0, 8, 16, 24]
    rates = [report["learning_rate"] for report in read_metrics(out / "run" / "metrics.jsonl")]
    assert rates[1:] == sorted(rates[1:], reverse=True) and rates[-1] < 0.3 * rates[1]  # one schedule over the budget


def test_a_speedrun_that_was_stopped_goes_on(speedrun, judge, tmp_path, monkeypatch):
    out, tasks = tmp_path / "out", ("--tasks", *TASKS)
    judge(each(40.0), each(40.0), KeyboardInterrupt())
    assert speedrun(*tasks) == 130
    trained = [report["step"] for report in read_metrics(out / "run" / "metrics.jsonl")]
    before = torch.cat([weight.flatten() for weight in AutoModel.from_pretrained(out / "run" / "model").parameters()])
    stopped = json.loads((out / "run" / "results.json").read_text())
    judged = judge(each(60.0))
    assert speedrun(*tasks) is None
    results = json.loads((out / "speedrun.json").read_text())
    assert results["beats"] and [folder for folder, _ in judged] == ["step_00000004"]
    assert trained == [report["step"] for report in read_metrics(out / "run" / "metrics.jsonl")] == [1, 2, 3, 4]
    after = torch.cat([weight.flatten() for weight in AutoModel.from_pretrained(out / "run" / "model").parameters()])
    assert torch.equal(before, after)
    assert results["judgements"][2]["training_s"] == pytest.approx(stopped["training_s"])
    # another speedrun does not take its place
    assert "was started with other settings: training.seed (1337 -> 3)" in speedrun(*tasks, "--training.seed", 3)
    assert "begun with other tasks" in speedrun("--tasks", TASKS[0])
    assert "begun with other judgements (3 -> 2)" in speedrun(*tasks, "--judgements", 2)
    assert speedrun(*tasks, "--measures", 3) == "error: --measures 3 are more than the 2 that these tasks have."
    monkeypatch.setattr(machine, "count_cores", lambda: 77)
    assert "-> 77 cores)" in speedrun(*tasks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--judgements", "0"), "--budget must be more than 0; --judgements, --measures and --seeds 1 or more"),
        (("--budget", "-1"), "--budget must be more than 0"),
        (("--record", "--tasks", "synthetic_key"), "--record is of the whole suite; leave out --tasks"),
        (("--bugdet", "100"), "unknown option --bugdet; did you mean --budget"),
        (("--training.lr", "1"), "unknown setting --training.lr; did you mean --training.learning_rate?"),
        (("--recipe", "smal"), "there is no recipe 'smal'"),
    ],
)
def test_mistakes_are_told_in_a_line(run_script, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run_script("speedrun.py", "--output_dir", tmp_path / "out", *arguments)
    assert str(stopped.value).startswith(f"error: {message}") and "\n" not in str(stopped.value)
    assert not (tmp_path / "out").exists()
