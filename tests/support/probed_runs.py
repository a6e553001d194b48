"""A pre-training that is probed by tones in memory while it trains, in a process of its own."""

from pathlib import Path

from support.probing_tasks import pitch_task
from support.small_runs import make_settings

TASK = "test_multiclass"


def add_tones(tasks: dict) -> None:
    """Make the small task of tones known by its name."""
    tasks[TASK] = pitch_task(sizes=(16, 10, 20), classes=8, seconds=0.3)


def probed_settings(music: Path, folder: Path, every: int, **training):
    from mert_hf.pretraining.settings import OnlineProbeSettings

    defaults = {"max_steps": 8, "checkpoint_every": 2, "log_every": 1, "warmup_steps": 1, "learning_rate": 5e-3, "resume": True}
    settings = make_settings(music, folder, **{**defaults, **training})
    settings.online_probe = OnlineProbeSettings([TASK], every, 14)
    return settings


def pretrain_probed(music: Path, folder: Path, every: int, training: dict) -> None:
    """Pre-train from the newest checkpoint on, probed every so many updates; nothing is drawn."""
    from mert_hf.engine.run_folder import RunFolder
    from mert_hf.pretraining import run as module
    from mert_hf.pretraining.setup import Setup
    from mert_hf.tasks import TASKS

    add_tones(TASKS)
    module.draw_report = lambda *_: None
    settings = probed_settings(music, folder, every, **training)
    with RunFolder(folder).hold() as run:
        module.pretrain(settings, Setup(settings), run)
