"""The tasks of a suite as a Markdown table, for people."""

from mert_hf.tasks import tasks_of
from mert_hf.tasks.base import Task

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
        " and ".join(task.source.repositories) or f"folder `{task.dataset}`",
        ", ".join(f"`{value}`" for value in values),
        *(" / ".join(f"{numbers[value]:.1f}" if value in numbers else "-" for value in values) for numbers in published),
    ]


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"
