"""A suite of tasks: a model and what it is compared with, every pair judged once and written down, then reported."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mert_hf import __version__
from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.reading import read_json
from mert_hf.common.redaction import name_only
from mert_hf.probing.features.encoders import Encoder, FrozenModel, LogMel
from mert_hf.probing.features.extraction import Dtype, Extraction
from mert_hf.probing.probes.baselines import Predictions, baselines_of
from mert_hf.probing.probes.benches import FRAME_KINDS, make_bench, readable
from mert_hf.probing.report.plots import plot_beats, plot_confusion, plot_layer_heat_map, plot_limited_data
from mert_hf.probing.report.results import averages, markdown_table, result_rows, versions
from mert_hf.probing.runner import Judging, judge, judge_baseline, require_suitable
from mert_hf.tasks.base import Task, TaskData
from mert_hf.tasks.sources import digest

logger = logging.getLogger(__name__)

# Raised whenever the same features give other numbers than before, or are kept in another way (3: with a checksum).
JUDGING_VERSION = 3
# The same of baselines alone, of kinds that clips may be left out of.
BASELINE_VERSION = 2
# Of `FRAME_KINDS`: with fewer frames a second, a beat of a fast track falls between them.
LEAST_FRAME_RATE = 10.0
# of a task, what its results depend on beside its data
JUDGED_FIELDS = (
    *("name", "kind", "metrics", "monitor", "protocol", "windows", "train_windows", "random_train_windows", "aggregation"),
)
PARTS = "parts"
RESULTS, TABLE, HEAT_MAP = "evaluation.json", "evaluation.md", "layer_heat_map.png"


@dataclass(frozen=True)
class Job:
    """One system on one task.

    Attributes:
        title: of the system, as in tables.
        data: of the task.
        encoder: whose features are probed; of a baseline, the model beside which it stands and whose examples it is given.
        baseline: predicts by itself; None for an encoder.
        judging: how; only the model itself also learns from little data.
        file: where the result is kept.
        key: everything the result depends on.
    """

    title: str
    data: TaskData
    encoder: Encoder
    baseline: Callable[[TaskData], Predictions] | None
    judging: Judging
    file: Path
    key: str

    def result(self) -> dict[str, Any] | None:
        """What was found before, None where nothing was, or something else.

        Raises:
            InputError: its file is damaged.
        """
        if not self.file.is_file():
            return None
        kept = read_json(self.file)
        if kept.get("key") != self.key:
            return None
        if kept.get("checksum") != digest_json([self.key, kept.get("result")]):
            raise InputError(f"{self.file} is not as it was written: damaged; delete it and run again.")
        return kept["result"]

    def run(self, extraction: Extraction) -> None:
        """Judge, and keep the result."""
        if self.baseline is None:
            found = judge(self.encoder, self.data, extraction, self.judging)
        else:
            found = judge_baseline(readable(self.encoder, self.data, extraction), self.baseline)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        kept = {"key": self.key, "title": self.title, "result": found, "checksum": digest_json([self.key, found])}
        write_atomically(self.file, json.dumps(kept))


def load_suite(tasks: Sequence[Task], data_folder: Path | None, pins: Path | None) -> list[TaskData]:
    """The data of all tasks.

    Args:
        tasks: of the suite.
        data_folder: of datasets that are read from a folder.
        pins: a JSON file of commits by repository. Those in it are read; those found besides are added to it.

    Raises:
        InputError: data is missing or damaged, or `pins` is no such file.
    """
    pinned: dict[str, str] = {}
    if pins is not None and pins.exists():
        try:
            pinned = read_json(pins)
        except InputError as error:
            raise InputError(f"{pins} is no JSON of commits by repository: {error}") from None
        if not all(isinstance(commit, str) for commit in pinned.values()):
            raise InputError(f"{pins} is no JSON of commits by repository: it must hold a text for each.")
    loaded = [task.pinned(pinned).load(data_folder) for task in tasks]
    if pins is not None:
        found = {name: commit for data in loaded for name, commit in data.revisions.items()}
        write_atomically(pins, json.dumps({**found, **pinned}, indent=2, sort_keys=True) + "\n")
    return loaded


def make_jobs(
    loaded: Sequence[TaskData],
    model: Encoder,
    rivals: Sequence[Encoder],
    judging: Judging,
    dtype: Dtype,
    output: Path,
    baselines: bool = True,
) -> list[Job]:
    """Every system on every task it suits: the model, other encoders, and the baselines that need no probe.

    Args:
        loaded: data of the tasks.
        model: to be judged.
        rivals: what it is compared with.
        judging: how.
        dtype: of the features on the disk.
        output: folder of the results.
        baselines: False leaves out those that need no probe.

    Raises:
        InputError: what is asked of the judging does not go with the model or a task.
    """
    jobs = []
    for data in loaded:
        require_suitable(judging, model, data.task)
        systems = [(encoder.title, encoder, None) for encoder in (model, *rivals) if suits(encoder, data.task)]
        systems += [(title, model, baseline) for title, baseline in (baselines_of(data) if baselines else {}).items()]
        for title, encoder, baseline in systems:
            is_model = encoder is model and baseline is None
            own = replace(judging, limited=judging.limited and is_model)
            depends = {
                "judging_version": JUDGING_VERSION,
                "package": __version__,
                "title": title,
                "encoder": encoder.fingerprint if baseline is None else None,
                "dtype": dtype if baseline is None else None,
                "dataset": data.fingerprint,
                "labels": data.labels,
                "task": {name: asdict(data.task)[name] for name in JUDGED_FIELDS},
                "judging": {name: value for name, value in asdict(own).items() if name != "device"},
            }
            if baseline is not None and data.task.kind not in FRAME_KINDS:
                depends["baseline_version"] = BASELINE_VERSION
            role = "model" if is_model else re.sub(r"\W+", "_", title)
            jobs.append(
                Job(title, data, encoder, baseline, own, output / PARTS / data.task.name / f"{role}.json", digest(depends))
            )
    return jobs


def run_jobs(jobs: Sequence[Job], extraction: Extraction) -> None:
    """Make all features together with the other processes, then judge every job whose turn is this process's."""
    missing = [job for job in jobs if job.result() is None]
    extraction.barrier()  # nobody writes before everybody has looked
    for job in missing:
        if job.baseline is not None:
            readable(job.encoder, job.data, extraction)
        elif job.data.task.kind != "separation":
            make_bench(job.encoder, job.data, extraction)
    alone = Extraction(extraction.folder, extraction.dtype, extraction.batch_s)
    mine = missing[extraction.rank :: extraction.world_size]
    for job in tqdm(mine, desc="Judging", unit="job", disable=not mine):
        job.run(alone)
    extraction.barrier()


def write_report(jobs: Sequence[Job], model: FrozenModel, name: str, suite: str, output: Path) -> dict[str, Any]:
    """`evaluation.json`, the table and the pictures, from the results of all jobs.

    Args:
        jobs: all done.
        model: that was judged.
        name: by which it was loaded.
        suite: of the tasks.
        output: folder.

    Returns:
        What `evaluation.json` holds.
    """
    rows, heard = [], {}
    for data in {job.data.task.name: job.data for job in jobs}.values():
        found = {job.title: job.result() for job in jobs if job.data is data}
        judged = found.pop(model.title)
        rows += result_rows(data, suite, judged, found)
        heard[data.task.name] = (data, judged)
    results = {
        "model": name_only(name),
        "title": model.title,
        "commit": model.commit,
        "weights": model.fingerprint["weights"],
        "suite": suite,
        "results": rows,
        "averages": averages(rows),
        "versions": versions(),
    }
    write_atomically(output / RESULTS, json.dumps(results, indent=1) + "\n")
    write_atomically(output / TABLE, markdown_table(results))
    plot_layer_heat_map(results, output / HEAT_MAP)
    plot_limited_data(results, output / "limited_data.png")
    for task, (data, judged) in heard.items():
        _draw_task(task, data, judged, model, output)
    return results


def _draw_task(task: str, data: TaskData, judged: Mapping[str, Any], model: FrozenModel, output: Path) -> None:
    if "confusion" in judged:
        plot_confusion(judged["confusion"], data.labels, f"{data.task.title}, {model.title}", output / f"confusion_{task}.png")
    if "activation" in judged:
        example = data.splits["test"][judged["activation"]["example"]]
        waveform = example.read(model.sampling_rate)
        title = f"{data.task.title}, {model.title}: {example.name}"
        plot_beats(judged["activation"], waveform, model.sampling_rate, title, output / f"activation_{task}.png")


def suited(loaded: Sequence[TaskData], encoder: Encoder) -> list[TaskData]:
    """The tasks that an encoder can be judged by; a warning names the others.

    Raises:
        InputError: there is none.
    """
    fitting = [data for data in loaded if suits(encoder, data.task)]
    others = [data.task.name for data in loaded if not suits(encoder, data.task)]
    if others:
        told = f"{encoder.title} gives {encoder.frame_rate:g} features a second, too few for {', '.join(others)}"
        if not fitting:
            raise InputError(f"{told}; it cannot be judged by them.")
        logger.warning("%s: left out", told)
    return fitting


def suits(encoder: Encoder, task: Task) -> bool:
    """Whether an encoder can be judged by a task: beats and sources need features that come as often as they change."""
    if task.kind in FRAME_KINDS and encoder.frame_rate < LEAST_FRAME_RATE:
        return False
    # an LSTM on a spectrum is a separator in its own right, not a baseline
    return task.kind != "separation" or not isinstance(encoder, LogMel)
