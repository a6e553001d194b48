"""What a finished run came to: `results.json`, from which every number of a model card is read, and a folder of pictures."""

from importlib.metadata import version
from typing import Any

import torch
from transformers import PreTrainedModel

from mert_hf.common.files import to_json, write_atomically
from mert_hf.data.crops import BatchRange
from mert_hf.data.source import ClipSource
from mert_hf.engine.devices import peak_memory_gib
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.trainer import Progress
from mert_hf.engine.validation import Validation
from mert_hf.objectives import Objective, Outcome
from mert_hf.pretraining.online_probe import plot_online_probe, summarise_probes
from mert_hf.pretraining.settings import RunSettings


def write_results(
    run: RunFolder,
    progress: Progress,
    facts: dict[str, Any],
    model_class: type[PreTrainedModel],
    validation: Validation | None,
    device: torch.device,
) -> dict[str, Any]:
    """Write the results of a run whose model is saved, and return them.

    Args:
        facts: of the corpus and of the objective.
        validation: the last one; None where nothing was held out.
    """
    results = _collect_numbers(run, progress, facts, device)  # the peak of the memory before more is loaded
    results |= {
        "validation": validation.report if validation else None,
        "code_usage": _count_used_codes(validation) if validation else None,
        "online_probe": summarise_probes(read_metrics(run.online_probe)),
        "parameters": model_class.from_pretrained(run.model).num_parameters(),
    }
    write_atomically(run.results, to_json(results, indent=2) + "\n")
    return results


def write_failure(run: RunFolder, progress: Progress, facts: dict[str, Any], reason: str, device: torch.device) -> None:
    """Write down why a run has failed, and what is known of it: `failure.json`, since `results.json` is of finished runs."""
    failure = {"failed": reason, **_collect_numbers(run, progress, facts, device)}
    write_atomically(run.failure, to_json(failure, indent=2) + "\n")


def _collect_numbers(run: RunFolder, progress: Progress, facts: dict[str, Any], device: torch.device) -> dict[str, Any]:
    reports = [report for report in read_metrics(run.metrics) if "loss" in report]  # without those of left-out updates alone
    first, last = (reports[0], reports[-1]) if reports else ({}, {})
    return {
        "loss_start": first.get("loss"),
        "loss_end": last.get("loss"),
        "masked_accuracy_start": first.get("code_accuracy"),
        "masked_accuracy_end": last.get("code_accuracy"),
        "grad_norm_end": last.get("grad_norm"),
        "steps": progress.step,
        "skipped_steps": progress.skipped_steps,
        "spike_steps": progress.spike_steps,
        "audio_hours": progress.audio_s / 3600,
        "training_s": progress.wall_s,
        "step_s": progress.wall_s / max(progress.step, 1),
        "peak_memory_gib": peak_memory_gib(device),
        "device": str(device),
        **facts,
        "versions": {name: version(name) for name in ("mert_hf", "torch", "transformers", "accelerate")},
    }


def _count_used_codes(validation: Validation) -> dict[str, list[int]]:
    """Of each codebook, how many codes occur on masked frames, as `label` and as `predicted`; of clustering, `prototype`."""
    return {
        name.removesuffix("_counts"): [int(count) for count in (counts > 0).sum(-1).reshape(-1)]
        for name, counts in validation.counts.items()
    }


def draw_report(
    run: RunFolder,
    objective: Objective,
    settings: RunSettings,
    held_out: ClipSource | None,
    validation: Validation | None,
    title: str,
    model: PreTrainedModel | None = None,
) -> None:
    """Draw the pictures of a run into its `report` folder.

    Args:
        held_out, validation: clips of the last validation, and what it came to; None without one.
        model: that was saved; None where the training failed.
    """
    run.report.mkdir(exist_ok=True)
    reports, validations = read_metrics(run.metrics), read_metrics(run.validation)
    counts = {} if validation is None else validation.counts
    clip = None if held_out is None else _first_clip(held_out)
    outcome = Outcome(title, settings, model, reports, validations, counts, clip, settings.training.seed)
    objective.draw(run.report, outcome)
    probes = read_metrics(run.online_probe)
    if probes:
        plot_online_probe(probes, run.report / "online_probe.png", title)


def _first_clip(held_out: ClipSource) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    first = next(iter(held_out.batches(BatchRange(1, 0, 1))))
    return (first.waveforms, first.labels) if len(first.waveforms) else None
