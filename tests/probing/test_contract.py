"""The contract that all kinds of tasks share: one registry, nobody else who asks for a kind, and a new kind from one class."""

import ast
import typing
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.probing_tasks import RATE, beat_task, pitch_task
from support.task_layouts import BUILDERS

from mert_hf import __version__
from mert_hf.common.errors import InputError
from mert_hf.probing import probes
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import LogMel
from mert_hf.probing.metrics import score_all
from mert_hf.probing.probes.base import TaskProbe, TaskScorer, TrainedProbes
from mert_hf.probing.runner import evaluate_encoder
from mert_hf.probing.settings import ProbingSettings
from mert_hf.probing.suite import list_evaluations, run_evaluations
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import Kind
from mert_hf.tasks.sources import digest

PACKAGE = Path(probes.__file__).parents[2]


def test_every_kind_has_a_probe():
    assert set(probes.PROBES) == set(typing.get_args(Kind))


def test_the_registry_alone_asks_for_the_kind_of_a_task():
    asking = set()
    for room in ("probing", "comparison"):
        for file in (PACKAGE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and node.attr == "kind" and ast.unparse(node.value).endswith("task"):
                    asking.add(file.relative_to(PACKAGE).as_posix())
    # the second names the kind of a task that it cannot train on
    assert asking == {"probing/probes/__init__.py", "probing/probes/separation_training.py"}


class OnesScorer(TaskScorer):
    groups = 12

    def __call__(self, predictions, chosen=None):
        rows = np.arange(self.groups) if chosen is None else chosen
        truth = np.array([int(example.label) for example in self.data.splits["test"]])
        return score_all(self.metrics, truth[rows], predictions[rows], self.data.labels)


class ConstantProbe(TaskProbe):
    """A kind of its own: it hears nothing, and every head answers a class of its own; the second seemed the best."""

    notes = ("heard nothing",)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.scorer = OnesScorer(self.data)

    @classmethod
    def test_scorer(cls, data):
        return OnesScorer(data)

    @classmethod
    def baselines(cls, data):
        return {"always the last": lambda data: np.full(12, 3)}

    def train(self):
        answers = [[np.zeros(12, dtype=int), np.ones(12, dtype=int)]] * self.settings.seeds
        rates, epochs = {"zero": 0.1, "one": 0.2}, {"zero": 1, "one": 2}
        return TrainedProbes(("zero", "one"), np.array([[0.5, 0.6]] * self.settings.seeds), answers, rates, epochs, None)

    def details(self, answers):
        return {"answered": answers.tolist()}


def test_a_new_kind_is_one_class(monkeypatch, tmp_path):
    monkeypatch.setitem(probes.PROBES, "constant", ConstantProbe)
    data = pitch_task().load()
    data = replace(data, task=replace(data.task, kind="constant"))
    evaluations = list_evaluations([data], LogMel(RATE), [], ProbingSettings(seeds=2), "float16", tmp_path)
    run_evaluations(evaluations, Extraction(tmp_path / "features"))
    model, baseline = (evaluation.result() for evaluation in evaluations)
    assert (model["layer"], model["layers"], model["answered"]) == (
        "one",
        {"zero": {"accuracy": 0.25, "balanced_accuracy": 0.25}, "one": {"accuracy": 0.25, "balanced_accuracy": 0.25}},
        [1] * 12,
    )
    assert model["values"]["accuracy"]["seeds"] == [0.25, 0.25] and model["notes"] == ["heard nothing"]
    assert model["epochs"] == {"zero": 1, "one": 2} and "layer_shares" not in model
    assert evaluations[1].title == "always the last" and baseline["values"]["accuracy"]["value"] == 0.25
    assert not (tmp_path / "features").exists()
    with pytest.raises(InputError, match="has no probe that learns from a share of its training split"):
        evaluate_encoder(LogMel(RATE), data, Extraction(tmp_path), ProbingSettings(limited=True))


def test_what_a_kind_cannot_hold_is_refused_by_whoever_asks(tmp_path):
    BUILDERS["musdb18"](tmp_path / "musdb18")
    songs = TASKS["musdb18"].load(tmp_path)
    for settings, told in ((ProbingSettings(limited=True), "--limited"), (ProbingSettings(head="linear"), "--probe")):
        with pytest.raises(InputError, match=f"has an LSTM as its probe .*: {told} cannot be held"):
            evaluate_encoder(LogMel(24000), songs, Extraction(tmp_path / "cache"), settings)
    slow = SimpleNamespace(frame_rate=9.9)
    assert [name for name, kind in probes.PROBES.items() if not kind.suits(slow)] == ["beats", "separation"]
    assert [name for name, kind in probes.PROBES.items() if not kind.suits(LogMel())] == ["separation"]


def of_before(protocol) -> dict:
    """A protocol as the names of kept results were made of it, before probes had penalties, poolings and alternatives."""
    names = (
        *("name", "head", "hidden_size", "dropout", "bias", "batch_size", "learning_rate", "learning_rates", "max_epochs"),
        *("steps_per_epoch", "plateau_patience", "stop_patience", "choose_by", "test_resamples", "test_share"),
        *("limited_shares", "limited_draws"),
    )
    return {name: getattr(protocol, name) for name in names}


def test_results_and_networks_of_before_keep_their_names(tmp_path):
    """A result is found again by a digest of what it depends on, spelt as the version that wrote it did."""
    encoder, settings = LogMel(RATE), ProbingSettings(seeds=2)
    versions = (({}, {"baseline_version": 2}), ({"probe_version": 2}, {}))
    for data, (of_probes, of_baselines) in zip((pitch_task().load(), beat_task().load()), versions, strict=True):
        task = data.task
        fields = (
            "name",
            "kind",
            "metrics",
            "monitor",
            "protocol",
            "windows",
            "train_windows",
            "random_train_windows",
            "aggregation",
        )
        expected = {
            "judging_version": 3,
            "package": __version__,
            "title": "log-mel mean + std",
            "encoder": encoder.fingerprint,
            "dtype": "float16",
            "dataset": data.fingerprint,
            "labels": data.labels,
            "task": {name: asdict(task)[name] for name in fields} | {"protocol": of_before(task.protocol)},
            "judging": {"seeds": 2, "head": None, "first_summed": 1, "limited": False},
        }
        model, majority, *_ = list_evaluations([data], encoder, [], settings, "float16", tmp_path)
        assert (model.key, model.file) == (digest(expected | of_probes), tmp_path / "parts" / task.name / "model.json")
        expected |= {"title": "majority", "encoder": None, "dtype": None, **of_baselines}
        assert (majority.key, majority.file.name) == (digest(expected), "majority.json")
    BUILDERS["musdb18"](tmp_path / "musdb18")
    songs = TASKS["musdb18"].load(tmp_path)
    protocol = replace(songs.task.protocol, max_epochs=0, hidden_size=8)
    songs = replace(songs, task=replace(songs.task, protocol=protocol))
    depends = [{**encoder.fingerprint, "summed_layers": [0]}, songs.fingerprint, of_before(protocol), RATE]
    probe = probes.SeparationProbe(encoder, songs, Extraction(tmp_path / "cache"), ProbingSettings(seeds=1))
    assert probe.checkpoint(3) == tmp_path / "cache" / "separation" / f"{digest(depends)[:20]}_3.safetensors"
