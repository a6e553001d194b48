"""What a finished run came to: `results.json`, from which every number of a model card is read, and a folder of pictures."""

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from mert_hf.common.files import to_json, write_atomically
from mert_hf.common.seeding import Draws
from mert_hf.data.source import BatchRange
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.trainer import Progress
from mert_hf.engine.validation import Validation, Validator
from mert_hf.models.modeling_mert import MERTForPreTraining
from mert_hf.objectives import MaskedPrediction
from mert_hf.pretraining import plots
from mert_hf.pretraining.devices import peak_memory_gib
from mert_hf.pretraining.settings import CQTSettings


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
        run: folder of the run.
        progress: how far it went.
        facts: of the corpus and of the objective.
        model_class: of the model that was saved.
        validation: the last one; None where nothing was held out.
        device: where it was trained.
    """
    results = _collect_numbers(run, progress, facts, device)  # the peak of the memory before more is loaded
    results |= {
        "validation": validation.report if validation else None,
        "code_usage": _count_used_codes(validation) if validation else None,
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
    objective: MaskedPrediction,
    cqt: CQTSettings,
    validator: Validator | None,
    validation: Validation | None,
    title: str,
) -> None:
    """Draw the pictures of a run whose model is saved into its `report` folder; without validation, the curves alone."""
    run.report.mkdir(exist_ok=True)
    plots.plot_training_curves(run.metrics, run.report / "training_curves.png", title, run.validation)
    if validator is None or validation is None:
        return
    if "label_counts" in validation.counts:
        counts = validation.counts["label_counts"].numpy(), validation.counts["predicted_counts"].numpy()
        sizes = objective.model.config.codebook_sizes
        accuracy = validation.report["code_accuracy"]
        plots.plot_code_accuracy(run.validation, run.report / "code_accuracy.png", title, accuracy, counts[0], sizes)
        plots.plot_code_usage(run.report / "code_usage.png", title, *counts, sizes)
    clip = _predict_spectrum(run, objective, validator)
    if clip is not None:
        frequencies_hz = cqt.min_hz * 2 ** (np.arange(cqt.bins) / cqt.bins_per_octave)
        plots.plot_constant_q(run.report / "constant_q.png", title, *clip, objective.model.config.frame_rate, frequencies_hz)


@torch.no_grad()
def _predict_spectrum(run: RunFolder, objective: MaskedPrediction, validator: Validator):
    """Target and prediction (frames, bins) of a validation clip, and its mask (frames,); None without constant-Q teacher."""
    first = next(iter(validator.source.batches(BatchRange(1, 0, 1))))
    if not len(first.waveforms):
        return None
    objective = objective.eval()
    device = next(objective.parameters()).device
    labels = None if first.labels is None else first.labels.to(device)
    prepared = objective.prepare(first.waveforms.to(device), Draws(validator.seed), labels)
    batch = {name: value if value is None else value.cpu() for name, value in prepared.items()}
    if batch["cqt_labels"] is None:
        return None
    model = MERTForPreTraining.from_pretrained(run.model).eval()
    outputs = model(batch["input_values"], mask_time_indices=batch["mask_time_indices"])
    predicted = model.cqt_head(outputs.last_hidden_state)[0]
    return batch["cqt_labels"][0, : len(predicted)].numpy(), predicted.numpy(), batch["mask_time_indices"][0].numpy()
