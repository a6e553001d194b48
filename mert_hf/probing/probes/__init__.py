"""What is trained on features and scored: one file a kind of task, all of the same contract (`base.py`)."""

from mert_hf.probing.probes.base import TaskProbe
from mert_hf.probing.probes.beats import BeatProbe
from mert_hf.probing.probes.clips import ClassProbe, KeyProbe, NumberProbe, TagProbe
from mert_hf.probing.probes.separation import SeparationProbe
from mert_hf.tasks.base import Task

PROBES: dict[str, type[TaskProbe]] = {
    "multiclass": ClassProbe,
    "key": KeyProbe,
    "multilabel": TagProbe,
    "regression": NumberProbe,
    "beats": BeatProbe,
    "separation": SeparationProbe,
}
"""By the kind of task; nobody else asks for it."""


def probe_of(task: Task) -> type[TaskProbe]:
    """How a task is probed."""
    return PROBES[task.kind]


__all__ = ["PROBES", "probe_of"]
