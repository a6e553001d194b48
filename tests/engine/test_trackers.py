"""What a tracker is told of a run."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec

import pytest
from accelerate import tracking
from accelerate.state import AcceleratorState
from accelerate.utils import LoggerType
from support.small_runs import make_settings

from mert_hf.common.errors import InputError
from mert_hf.common.settings import flatten
from mert_hf.engine.metrics import flatten_metrics, read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.run import pretrain
from mert_hf.pretraining.setup import Setup


@pytest.fixture
def told(monkeypatch):
    """What a stand-in for wandb and trackio was told, in order."""
    told = []

    class Tracker(tracking.GeneralTracker):
        name, requires_logging_directory, tracker = "stand-in", False, None

        def __init__(self, project, **options):
            super().__init__()
            told.append(("init", project, options))

        def store_init_configuration(self, values):
            told.append(("config", values))

        def log(self, values, step=None, **_):
            told.append(("log", step, values))

        def finish(self):
            told.append(("finish",))

    for name in ("wandb", "trackio"):
        monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, Tracker)
        # found where one asks whether it is installed
        monkeypatch.setitem(sys.modules, name, importlib.util.module_from_spec(ModuleSpec(name, None)))
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.WANDB, LoggerType.TRACKIO])
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(reset_partial_state=True)  # a process of its own would begin without one
    yield told
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_is_told_the_settings_and_what_the_metrics_files_hold(told, name, music_folder, tmp_path):
    folder = tmp_path / "project" / "first"
    settings = make_settings(music_folder, folder, max_steps=4, log_every=2, tracker=name)
    settings.validation.every = 3
    with RunFolder(folder).hold() as run:
        pretrain(settings, Setup(settings), run)
    (init, project, options), (config, values), *logs, end = told
    assert (init, config, end) == ("init", "config", ("finish",))
    assert (project, options) == ("project", {"name": "first"} | ({"dir": str(folder)} if name == "wandb" else {}))
    assert values["training.learning_rate"] == 5e-4 and values["data.folder"] == str(music_folder)
    assert values.items() <= flatten(settings).items()
    assert {type(value) for value in values.values()} <= {int, float, str, bool}

    expected = {}
    for report in read_metrics(run.metrics):
        expected[report["step"], "training"] = flatten_metrics(report)
    for report in read_metrics(run.validation):
        step = report.pop("step")
        expected[step, "validation"] = {f"validation/{key}": value for key, value in flatten_metrics(report).items()}
    assert list(expected) == [(2, "training"), (4, "training"), (3, "validation"), (4, "validation")]
    assert {"loss", "code_accuracy/0", "learning_rate"} <= expected[2, "training"].keys()
    assert {"validation/loss", "validation/code_accuracy/0"} <= expected[4, "validation"].keys()
    order = [(2, "training"), (3, "validation"), (4, "training"), (4, "validation")]
    assert logs == [("log", step, expected[step, part]) for step, part in order]


def test_a_tracker_that_is_not_installed_is_named(monkeypatch, music_folder, tmp_path):
    monkeypatch.setattr("mert_hf.engine.devices.importlib.util.find_spec", lambda _: None)
    settings = make_settings(music_folder, tmp_path / "run", tracker="trackio")
    with pytest.raises(InputError, match="training.tracker=trackio needs its package: pip install trackio; or give"):
        pretrain(settings, Setup(settings), RunFolder(tmp_path / "run"))
