"""Numbers of a run over time: averaged between two reports, written as JSON lines, read again for curves and results."""

import math
import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from mert_hf.common.errors import InputError
from mert_hf.common.files import to_json, write_atomically
from mert_hf.common.reading import read_json_lines


class Averages:
    """Means of logged numbers over the updates since the last report."""

    def __init__(self):
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, torch.Tensor] = {}

    def add(self, logs: dict[str, torch.Tensor]) -> None:
        """Add this process's shares of the numbers of one update; nothing is moved between devices.

        NaN stands for a number the update does not have, such as the accuracy of a codebook that was left out of it.
        """
        for name, value in logs.items():
            known = ~torch.isnan(value)
            value = torch.where(known, value.float(), 0)
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts[name] + known if name in self._counts else known.long()

    def report(self, accelerator: Accelerator) -> dict[str, Any]:
        """Means over the updates of the sums over all processes, as numbers and lists; starts anew."""
        means = {name: (accelerator.reduce(total) / self._counts[name]).tolist() for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class MetricsFile:
    """JSON lines, one a report, each with its `step`.

    Args:
        file: made where it does not exist.
        first_step: reports behind this step are removed, they belong to updates that a resumed run does again.
    """

    def __init__(self, file: str | os.PathLike, first_step: int = 0):
        self.file = Path(file)
        kept = [report for report in read_metrics(self.file) if report["step"] <= first_step]
        write_atomically(self.file, "".join(to_json(report) + "\n" for report in kept))

    def write(self, report: dict[str, Any]) -> None:
        """Append one report."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(to_json(report) + "\n")


def read_metrics(file: str | os.PathLike) -> list[dict[str, Any]]:
    """All reports of a metrics file; none where it does not exist. A last line that was cut off is left out.

    Raises:
        InputError: a line is damaged; names it.
    """
    file = Path(file)
    if not file.is_file():
        return []
    reports = read_json_lines(file)
    for number, report in enumerate(reports, start=1):
        step = report.get("step")
        whole = isinstance(step, int) and not isinstance(step, bool) and all(map(_holds_numbers, report.values()))
        if not whole:
            raise InputError(f"{file}, line {number} is damaged: it must hold a step and numbers alone. Remove the line.")
    return reports


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_holds_numbers, value))
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))


def flatten_metrics(report: dict[str, Any]) -> dict[str, float]:
    """Numbers with lists spread out (`code_accuracy/0`), as trackers want them; what is no number is left out."""
    flat: dict[str, float] = {}
    for name, value in report.items():
        if isinstance(value, list):
            flat |= {f"{name}/{index}": item for index, item in enumerate(value)}
        elif isinstance(value, int | float):
            flat[name] = value
    return flat
