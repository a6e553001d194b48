"""The tasks of a suite as the Markdown table of mert_hf/tasks/README.md."""

from mert_hf.tasks import tasks_of
from mert_hf.tasks.base import Source, Task
from mert_hf.tasks.gtzan import GtzanRhythm
from mert_hf.tasks.sources import HubTable

COMPARED = ("MERT-v1-95M", "MERT-v1-330M", "MERT-v2-30s")


def tasks_table(suite: str) -> str:
    """One line a task: its key, its data, its values, and what was published for the MERT models (points; dB for separation).

    Raises:
        InputError: there is no such suite.
    """
    heads = ("task", "data", "values", *COMPARED)
    return "\n".join([_line(heads), _line(["---"] * len(heads)), *(_line(_cells(task)) for task in tasks_of(suite))])


def _cells(task: Task) -> list[str]:
    """Cells of a task's line: Hub datasets or the folder that holds the data, the published values, and their numbers."""
    values = dict.fromkeys(value for numbers in task.published.values() for value in numbers) or task.metrics
    published = [task.published.get(model, {}) for model in COMPARED]
    return [
        f"`{task.name}`",
        " and ".join(_repositories(task.source)) or f"folder `{task.dataset}`",
        ", ".join(f"`{value}`" for value in values),
        *(" / ".join(f"{numbers[value]:.1f}" if value in numbers else "-" for value in values) for numbers in published),
    ]


def _repositories(source: Source) -> list[str]:
    """Ids of the Hub datasets that a source reads; empty for a folder."""
    tables = [source.audio, source.annotations] if isinstance(source, GtzanRhythm) else [source]
    return [table.repo_id for table in tables if isinstance(table, HubTable)]


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"
