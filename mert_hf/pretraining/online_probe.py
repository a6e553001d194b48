"""The online probe: every so many updates small linear probes tell what the frozen model's features know by then."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list, gather_object

from mert_hf.common.errors import InputError
from mert_hf.common.figures import DOTS_PER_INCH, new_figure, series
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.engine.updates import Updater
from mert_hf.engine.watchers import Observation, Watcher
from mert_hf.models.views_mert import base_of
from mert_hf.pretraining.settings import OnlineProbeSettings
from mert_hf.tasks import TASKS, TaskData

logger = logging.getLogger(__name__)

# Beside the value of a task, under its name: the layer it is of, the values of all layers, and that of the log-mel spectrum.
LAYER, LAYERS, LOG_MEL = "_layer", "_layers", "_log_mel"


def load_probed_tasks(settings: OnlineProbeSettings) -> list[TaskData]:
    """The data of the tasks, [] where nothing is probed; one process does it first, which renders what is synthetic.

    Raises:
        InputError: data is missing or damaged.
    """
    if settings.every == 0:
        return []
    logger.info(
        "Online probe of %s every %d updates; where synthetic music is not there yet, rendering it takes a minute",
        *(" and ".join(settings.tasks), settings.every),
    )
    folder = None if settings.data is None else Path(settings.data).expanduser()
    return [TASKS[name].load(folder) for name in settings.tasks]


class OnlineProbe(Watcher):
    """Ridge probes of every layer, on means over time; see [`mert_hf.probing.online`].

    The processes share the examples; the first fits the probes while the others wait.

    Args:
        loaded: data of the tasks.
        extractor: the model's feature extractor.
        settings: how often, and how many examples.

    Raises:
        InputError: weights in shards, labels that do not fit their task, or more audio than is kept.
        AudioError: an example cannot be read.
    """

    name = "online_probe"
    at_beginning = True

    def __init__(self, loaded: Sequence[TaskData], extractor, settings: OnlineProbeSettings, accelerator: Accelerator):
        from mert_hf.probing.online.examples import TaskExamples, log_mel_statistics

        kind = accelerator.distributed_type
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise InputError(
                f"online_probe cannot be used with {kind.value}, where no process holds all weights; give --online_probe.every"
                " 0, or launch with multi_gpu.yaml."
            )
        self.every, self.accelerator, self._extractor = settings.every, accelerator, extractor
        rate, place = extractor.sampling_rate, (accelerator.process_index, accelerator.num_processes)
        try:
            self.tasks = [TaskExamples(data, rate, settings.examples, *place) for data in loaded]
        except InputError as error:
            raise type(error)(f"online_probe: {error}") from None
        logger.info(
            "Online probe: %d examples, %.0f MB of audio in memory",
            *(sum(task.count for task in self.tasks), sum(task.audio_bytes for task in self.tasks) / 1e6),
        )
        self._log_mel = self._score(log_mel_statistics(rate))

    def run(self, updater: Updater) -> Observation:
        """Probe the weights as they are now. Of each task the report holds the value, its layer, all layers and the log-mel's.

        Values are the task's measure on its test examples, of the layer that its validation examples choose; null where
        features are not finite.
        """
        encoder = FrozenEncoder(base_of(updater.plain_objective.export()), self._extractor, "the model")

        def embed(clips: torch.Tensor) -> torch.Tensor:
            return torch.stack([states.float().mean(dim=1) for states in encoder(clips)], dim=1)

        report: dict[str, Any] = {}
        for task, found, spectrum in zip(self.tasks, self._score(embed), self._log_mel, strict=True):
            name = task.data.task.name
            report |= {name: found.value, f"{name}{LAYER}": found.layer, f"{name}{LAYERS}": found.layers}
            report[f"{name}{LOG_MEL}"] = spectrum.value
        told = [f"{TASKS[name].title} {_tell(report, name)}" for name in (task.data.task.name for task in self.tasks)]
        logger.info("Online probe: %s", "; ".join(told))
        return Observation(report)

    def _score(self, embed) -> list:
        """A [`RidgeScore`] a task; all processes must call it, and get the same."""
        shares = gather_object([[task.embed(embed) for task in self.tasks]])
        scores = [None]
        if self.accelerator.is_main_process:
            scores[0] = [task.score(task.join([share[place] for share in shares])) for place, task in enumerate(self.tasks)]
        return broadcast_object_list(scores)[0]


def _tell(report: dict[str, Any], name: str) -> str:
    return f"{100 * report[name]:.1f} % (log-mel {100 * report[f'{name}{LOG_MEL}']:.1f})"


def summarise_probes(reports: list[dict[str, Any]]) -> dict[str, dict[str, Any]] | None:
    """For `results.json`: the last look of every task that it was probed by, beside those at update 0 and at log-mel.

    Args:
        reports: lines of `online_probe.jsonl`.

    Returns:
        By task its `measure`, `start`, `end`, `layer` and `log_mel`; `start` is None of a run that was not probed then. None
        where there are no reports.
    """
    if not reports:
        return None
    last, start = reports[-1], reports[0] if reports[0]["step"] == 0 else {}
    return {
        name: {
            "measure": TASKS[name].monitor,
            "start": start.get(name),
            "end": last[name],
            "layer": last.get(f"{name}{LAYER}"),
            "log_mel": last.get(f"{name}{LOG_MEL}"),
        }
        for name in last
        if name in TASKS
    }


def plot_online_probe(reports: list[dict[str, Any]], picture: str | os.PathLike, title: str) -> None:
    """Draw the values over the updates, a panel a task, with those at update 0 and of the log-mel spectrum as lines.

    Args:
        reports: lines of `online_probe.jsonl`.
    """
    names = [name for name in reports[-1] if name in TASKS]
    figure, panels = new_figure(title, 1, len(names), (4.8 * len(names), 4.0))
    for panel, name in zip(panels, names, strict=True):
        steps, values = series(reports, name)
        _, layers = series(reports, f"{name}{LAYERS}")
        for number, layer in enumerate(layers.T):
            panel.plot(steps, 100 * layer, color="C0", alpha=0.25, linewidth=0.9, label=None if number else "each layer")
        panel.plot(steps, 100 * values, "o-", color="C0", markersize=4, label="layer chosen by validation")
        if len(steps) and steps[0] == 0:
            panel.axhline(100 * values[0], color="grey", linestyle="--", linewidth=1.2, label="update 0")
        panel.axhline(100 * reports[-1][f"{name}{LOG_MEL}"], color="C3", linestyle=":", linewidth=1.6, label="log-mel")
        panel.set(title=TASKS[name].title, xlabel="update", ylabel=f"{TASKS[name].monitor.replace('_', ' ')} (%)")
        panel.grid(alpha=0.3)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(picture, dpi=DOTS_PER_INCH)
