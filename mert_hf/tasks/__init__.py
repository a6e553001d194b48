"""Tasks: what a model is judged by, one file a dataset.

A new dataset is a file with its [`Task`], a line here, and a tiny copy of its layout in `tests/support/task_layouts.py`.
Labelled music of one's own is a task without a file: [`mert_hf.tasks.labelled`].
"""

from mert_hf.common.errors import InputError
from mert_hf.tasks.base import Task, TaskData
from mert_hf.tasks.emomusic import EMOMUSIC
from mert_hf.tasks.examples import Example
from mert_hf.tasks.giantsteps import GIANTSTEPS_KEY
from mert_hf.tasks.gtzan import GTZAN_GENRE, GTZAN_RHYTHM
from mert_hf.tasks.jamendo import DEEZER_INSTRUMENT, DEEZER_MOOD, DEEZER_TOP50, GENRE, INSTRUMENT, MOOD, TOP50
from mert_hf.tasks.magnatagatune import DEEZER_MAGNATAGATUNE, MAGNATAGATUNE
from mert_hf.tasks.msd100 import MSD100
from mert_hf.tasks.musdb18 import MUSDB18
from mert_hf.tasks.nsynth import NSYNTH_INSTRUMENT, NSYNTH_PITCH
from mert_hf.tasks.published import PUBLISHED, average_score
from mert_hf.tasks.synthetic import SYNTHETIC, SYNTHETIC_NOISE
from mert_hf.tasks.vocalset import VOCALSET_SINGER, VOCALSET_TECHNIQUE

# in the order of the papers' tables
_MARBLE = (
    MAGNATAGATUNE,
    GIANTSTEPS_KEY,
    GTZAN_GENRE,
    GTZAN_RHYTHM,
    EMOMUSIC,
    NSYNTH_INSTRUMENT,
    NSYNTH_PITCH,
    VOCALSET_TECHNIQUE,
    VOCALSET_SINGER,
    INSTRUMENT,
    MOOD,
    GENRE,
    TOP50,
    MUSDB18,
)
_DEEZER = (MSD100, DEEZER_MAGNATAGATUNE, DEEZER_TOP50, DEEZER_INSTRUMENT, DEEZER_MOOD)

TASKS: dict[str, Task] = {task.name: task for task in _MARBLE + _DEEZER + SYNTHETIC + SYNTHETIC_NOISE}

SUITES: dict[str, tuple[str, ...]] = {
    "marble": tuple(task.name for task in _MARBLE),
    "deezer": tuple(task.name for task in _DEEZER),
    "synthetic": tuple(task.name for task in SYNTHETIC),
    "synthetic_noise": tuple(task.name for task in SYNTHETIC_NOISE),
}


def tasks_of(suite: str) -> list[Task]:
    """The tasks of a suite in the order of its table.

    Raises:
        InputError: there is no such suite.
    """
    if suite not in SUITES:
        raise InputError(f"suite {suite!r} is unknown; known suites: {', '.join(SUITES)}.")
    return [TASKS[name] for name in SUITES[suite]]


__all__ = ["PUBLISHED", "SUITES", "TASKS", "Example", "Task", "TaskData", "average_score", "tasks_of"]
