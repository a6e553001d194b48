"""Training and evaluating the cells of a comparison. What was done is kept: a comparison goes on where it was stopped."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from mert_hf.common.errors import TrainingFailedError
from mert_hf.common.files import write_atomically
from mert_hf.common.reading import read_json, to_dataclass
from mert_hf.comparison.cells import Cell
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.run import pretrain
from mert_hf.pretraining.setup import Setup
from mert_hf.probing.features.encoders import Encoder, load_encoder
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.probes import probe_of
from mert_hf.probing.report.results import result_rows, unit_scale
from mert_hf.probing.settings import ProbingSettings
from mert_hf.probing.suite import list_evaluations, run_evaluations
from mert_hf.tasks.base import TaskData

JUDGED = "judged"


@dataclass(frozen=True)
class SuiteEvaluator:
    """How cells are evaluated, all alike: on the data of the tasks of a suite."""

    loaded: Sequence[TaskData]
    suite: str
    extraction: Extraction
    settings: ProbingSettings

    def evaluate(
        self, encoder: Encoder, folder: Path, rivals: Sequence[Encoder] = (), baselines: bool = False
    ) -> dict[str, list[dict[str, Any]]]:
        """Rows of results (see `result_rows`) of frozen encoders by title, and of the baselines without a probe if asked for.

        A row also has its `draws`, of `groups` independent examples (see `bootstrap_draws`), and the `validation` of a probe.

        Args:
            folder: keeps what was found.
        """
        fitting = [data for data in self.loaded if probe_of(data.task).suits(encoder)]
        evaluations = list_evaluations(fitting, encoder, rivals, self.settings, self.extraction.dtype, folder, baselines)
        run_evaluations(evaluations, self.extraction)
        rows: dict[str, list[dict[str, Any]]] = {}
        for one in evaluations:
            found = {"layers": {}, "layer": None, "probe": None, "protocol": None, **one.result()}
            for row in result_rows(one.data, self.suite, found, {}):
                value = found["values"][row["metric"]]
                scale = unit_scale(row["metric"])
                row |= {"draws": [scale * draw for draw in value["draws"]], "groups": value["groups"]}
                rows.setdefault(one.title, []).append(row | {"validation": found.get("validation")})
        return rows


@dataclass(frozen=True)
class _Clock:
    seconds: float


def train_cell(cell: Cell) -> dict[str, Any]:
    """Train a cell, or go on with it, or find that it is trained; all processes call it. Returns its run's `results.json`.

    Raises:
        InputError: as in `pretrain`; also where the cell's folder holds a run with other settings, or damaged results.
        TrainingFailedError: as in `pretrain`, now or when it was tried before.
        Interrupted: as in `pretrain`.
    """
    run = RunFolder(cell.settings.output_dir)
    finished, failed = run.results.is_file(), run.failure.is_file()
    state = PartialState()
    state.wait_for_everyone()  # nobody writes before everybody has looked
    if finished or failed:
        run.require_settings(cell.settings)
    if failed:  # it would only fail again
        raise TrainingFailedError(str(read_json(run.failure).get("failed")))
    if not finished:
        settings = replace(cell.settings, training=replace(cell.settings.training, resume=True))
        with run.hold():
            pretrain(settings, Setup(settings), run)
        state.wait_for_everyone()
    return read_json(run.results)


def evaluate_cell(cell: Cell, evaluator: SuiteEvaluator) -> dict[str, Any]:
    """Evaluate a trained cell; all processes call it.

    Returns:
        `rows` (see `result_rows`), and `judged_s`, how many seconds that took.
    """
    folder = Path(cell.settings.output_dir)
    return evaluate_model(folder, folder / JUDGED, evaluator)


def evaluate_model(folder: Path, kept: Path, evaluator: SuiteEvaluator) -> dict[str, Any]:
    """Evaluate the model of a folder, or of a run's folder; what was found goes into `kept`. Returns as [`evaluate_cell`]."""
    encoder = load_encoder(str(folder), device=evaluator.settings.device)
    clock = kept / "seconds.json"
    before_s = to_dataclass(_Clock, read_json(clock), str(clock)).seconds if clock.is_file() else 0.0
    done = _count_parts(kept)
    started = time.perf_counter()
    rows = evaluator.evaluate(encoder, kept).get(encoder.title, [])
    spent_s = time.perf_counter() - started
    state = PartialState()
    if _count_parts(kept) > done:
        before_s += spent_s
        if state.is_main_process:
            write_atomically(clock, json.dumps({"seconds": before_s}))
    state.wait_for_everyone()
    return {"rows": rows, "judged_s": before_s}


def _count_parts(kept: Path) -> int:
    return sum(1 for _ in kept.rglob("model.json"))
