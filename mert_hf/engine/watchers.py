"""Watchers: they look at what is trained every so many updates, and change nothing of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from mert_hf.data.source import ClipSource
from mert_hf.engine.updates import Updater


@dataclass
class Observation:
    """What a watcher saw."""

    report: dict[str, Any]  # numbers and lists of numbers by name


class Watcher(ABC):
    """One that looks at a model while it is trained, and behind the last update.

    What it draws comes from generators of its own: a run ends bit by bit as one that nobody watched.

    Attributes:
        name: of what it sees: in trackers, and of the file of its reports in the run's folder.
        at_beginning: whether it also looks at the weights that a run begins with.
        every: updates between two looks.
        source: clips that must be the same for all processes; None where it has none.
    """

    name: ClassVar[str]
    at_beginning: ClassVar[bool] = False
    every: int
    source: ClipSource | None = None

    @abstractmethod
    def run(self, updater: Updater) -> Observation:
        """Look at the weights as they are now; all processes must call it at the same update."""
