"""A suite of tasks: a model and what it is compared with, every pair evaluated once and written down, then reported."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mert_hf import __version__
from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.reading import read_json
from mert_hf.common.redaction import name_only
from mert_hf.probing.features.encoders import Encoder, FrozenModel
from mert_hf.probing.features.extraction import Dtype, Extraction
from mert_hf.probing.probes import probe_of
from mert_hf.probing.probes.base import Baseline
from mert_hf.probing.report.plots import plot_beats, plot_confusion, plot_layer_heat_map, plot_limited_data
from mert_hf.probing.report.results import averages, markdown_table, result_rows, versions
from mert_hf.probing.runner import evaluate_baseline, evaluate_encoder
from mert_hf.probing.settings import ProbingSettings
from mert_hf.tasks.base import Task, TaskData
from mert_hf.tasks.sources import digest

logger = logging.getLogger(__name__)

# Raised whenever the same features give other numbers than before, or are kept in another way (3: with a checksum).
JUDGING_VERSION = 3
# of a task, what its results depend on beside its data
TASK_FIELDS = (
    *("name", "kind", "metrics", "monitor", "protocol", "windows", "train_windows", "random_train_windows", "aggregation"),
)
PARTS = "parts"
RESULTS, TABLE, HEAT_MAP = "evaluation.json", "evaluation.md", "layer_heat_map.png"


@dataclass(frozen=True)
class Evaluation:
    """One system on one task."""

    title: str  # of the system, as in tables
    data: TaskData
    encoder: Encoder  # of a baseline, the model beside which it stands and whose examples it is given
    baseline: Baseline | None  # predicts by itself; None for an encoder
    settings: ProbingSettings  # only the model itself also learns from little data
    file: Path  # where the result is kept
    key: str  # everything the result depends on

    def result(self) -> dict[str, Any] | None:
        """What was found before; None where nothing was, or something else; InputError where its file is damaged."""
        if not self.file.is_file():
            return None
        kept = read_json(self.file)
        if kept.get("key") != self.key:
            return None
        if kept.get("checksum") != digest_json([self.key, kept.get("result")]):
            raise InputError(f"{self.file} is not as it was written: damaged; delete it and run again.")
        return kept["result"]

    def make_features(self, extraction: Extraction) -> None:
        """Make the features that `run` needs, together with the other processes."""
        kind = probe_of(self.data.task)
        if self.baseline is None:
            kind(self.encoder, self.data, extraction, self.settings)
        else:
            kind.readable(self.encoder, self.data, extraction)

    def run(self, extraction: Extraction) -> None:
        """Evaluate, and keep the result."""
        if self.baseline is None:
            found = evaluate_encoder(self.encoder, self.data, extraction, self.settings)
        else:
            data = probe_of(self.data.task).readable(self.encoder, self.data, extraction)
            found = evaluate_baseline(data, self.baseline)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        kept = {"key": self.key, "title": self.title, "result": found, "checksum": digest_json([self.key, found])}
        write_atomically(self.file, json.dumps(kept))


def load_suite(tasks: Sequence[Task], data_folder: Path | None, pins: Path | None) -> list[TaskData]:
    """The data of all tasks.

    Args:
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


def list_evaluations(
    loaded: Sequence[TaskData],
    model: Encoder,
    rivals: Sequence[Encoder],
    settings: ProbingSettings,
    dtype: Dtype,
    output: Path,
    baselines: bool = True,
) -> list[Evaluation]:
    """Every system on every task it suits: the model, other encoders (`rivals`), and the baselines that need no probe.

    Raises:
        InputError: the settings do not go with the model or a task.
    """
    evaluations = []
    for data in loaded:
        kind = probe_of(data.task)
        kind.require_suitable(settings, model, data.task)
        systems = [(encoder.title, encoder, None) for encoder in (model, *rivals) if kind.suits(encoder)]
        systems += [(title, model, baseline) for title, baseline in (kind.baselines(data) if baselines else {}).items()]
        for title, encoder, baseline in systems:
            is_model = encoder is model and baseline is None
            own = replace(settings, limited=settings.limited and is_model)
            role = "model" if is_model else re.sub(r"\W+", "_", title)
            file = output / PARTS / data.task.name / f"{role}.json"
            key = _key(title, data, encoder if baseline is None else None, own, dtype)
            evaluations.append(Evaluation(title, data, encoder, baseline, own, file, key))
    return evaluations


def _key(title: str, data: TaskData, encoder: Encoder | None, settings: ProbingSettings, dtype: Dtype) -> str:
    """Digest of everything that a result depends on; without an encoder, of a baseline. Its names are those of kept results."""
    depends = {
        "judging_version": JUDGING_VERSION,
        "package": __version__,
        "title": title,
        "encoder": None if encoder is None else encoder.fingerprint,
        "dtype": None if encoder is None else dtype,
        "dataset": data.fingerprint,
        "labels": data.labels,
        "task": {name: asdict(data.task)[name] for name in TASK_FIELDS} | {"protocol": data.task.protocol.described()},
        "judging": {name: value for name, value in asdict(settings).items() if name != "device"},
    }
    kind = probe_of(data.task)
    name, version = ("probe_version", kind.probe_version) if encoder else ("baseline_version", kind.baseline_version)
    if version is not None:
        depends[name] = version
    return digest(depends)


def run_evaluations(evaluations: Sequence[Evaluation], extraction: Extraction) -> None:
    """Make all features together with the other processes, then run every evaluation whose turn is this process's."""
    missing = [evaluation for evaluation in evaluations if evaluation.result() is None]
    # of the same audio, frames and the vectors of whole windows come from one pass through the model
    extraction = replace(extraction, pool_frames=True)
    missing.sort(key=lambda evaluation: not probe_of(evaluation.data.task).hears_frames)
    extraction.barrier()  # nobody writes before everybody has looked
    for evaluation in missing:
        evaluation.make_features(extraction)
    alone = Extraction(extraction.folder, extraction.dtype, extraction.batch_s)
    mine = missing[extraction.rank :: extraction.world_size]
    for evaluation in tqdm(mine, desc="Probing", unit="system", disable=not mine):
        evaluation.run(alone)
    extraction.barrier()


def write_report(evaluations: Sequence[Evaluation], model: FrozenModel, name: str, suite: str, output: Path) -> dict[str, Any]:
    """Write `evaluation.json`, the table and the pictures of evaluations that are done; gives what `evaluation.json` holds.

    Args:
        name: by which the model was loaded.
    """
    rows, heard = [], {}
    for data in {one.data.task.name: one.data for one in evaluations}.values():
        found = {one.title: one.result() for one in evaluations if one.data is data}
        evaluated = found.pop(model.title)
        rows += result_rows(data, suite, evaluated, found)
        heard[data.task.name] = (data, evaluated)
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
    for task, (data, evaluated) in heard.items():
        _draw_task(task, data, evaluated, model, output)
    return results


def _draw_task(task: str, data: TaskData, evaluated: Mapping[str, Any], model: FrozenModel, output: Path) -> None:
    if "confusion" in evaluated:
        plot_confusion(
            evaluated["confusion"], data.labels, f"{data.task.title}, {model.title}", output / f"confusion_{task}.png"
        )
    if "activation" in evaluated:
        example = data.splits["test"][evaluated["activation"]["example"]]
        waveform = example.read(model.sampling_rate)
        title = f"{data.task.title}, {model.title}: {example.name}"
        plot_beats(evaluated["activation"], waveform, model.sampling_rate, title, output / f"activation_{task}.png")


def suited(loaded: Sequence[TaskData], encoder: Encoder) -> list[TaskData]:
    """The tasks that an encoder can be evaluated by; a warning names the others, and InputError says that there is none."""
    fitting = [data for data in loaded if probe_of(data.task).suits(encoder)]
    others = [data.task.name for data in loaded if not probe_of(data.task).suits(encoder)]
    if others:
        told = f"{encoder.title} gives {encoder.frame_rate:g} features a second, too few for {', '.join(others)}"
        if not fitting:
            raise InputError(f"{told}; it cannot be evaluated by them.")
        logger.warning("%s: left out", told)
    return fitting
