"""One pre-training run, from its settings to a trained model and what is said of it."""

import logging
from typing import Any

import torch
from accelerate import Accelerator

from mert_hf.common.errors import TrainingFailedError
from mert_hf.common.logs import show_logs
from mert_hf.common.redaction import name_only
from mert_hf.encoding.licences import note_licence
from mert_hf.engine.preparation import main_process_first
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.trainer import Trainer
from mert_hf.engine.validation import Validator
from mert_hf.objectives import MULTIVIEW_OBJECTIVES, Objective
from mert_hf.pretraining.devices import make_accelerator, start_tracker
from mert_hf.pretraining.jobs import Job
from mert_hf.pretraining.report import write_failure, write_results
from mert_hf.pretraining.settings import PretrainSettings, TrainingSettings
from mert_hf.pretraining.sources import Sources, open_sources

logger = logging.getLogger(__name__)

# Of the paper's recipe: 32,000 of 400,000 updates.
RECIPES_WARMUP_SHARE = 0.08


def pretrain(settings: PretrainSettings, job: Job, run: RunFolder) -> dict[str, Any] | None:
    """Train in a folder, and write down what came of it. All processes call it; the process group stays for what follows.

    Args:
        settings: of the run; with `training.max_steps` 0 the model is saved with the weights it begins with.
        job: of these settings.
        run: folder, held by this process.

    Returns:
        What `results.json` holds, in the one process that wrote it; None in the others.

    Raises:
        InputError: settings, audio or a corpus that cannot be used.
        TrainingFailedError: the training diverged or collapsed; the curves are drawn, `failure.json` says why.
        Interrupted: SIGTERM or SIGINT arrived; a checkpoint was saved.
    """
    accelerator = make_accelerator(settings, job.config, run)
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(accelerator.device)  # this process may have done other runs
    show_logs(accelerator.is_main_process)
    # one process checks the corpus and fits the teacher, the others read what it wrote
    with main_process_first(accelerator, settings.training.rank_timeout_s):
        if accelerator.is_main_process:
            run.claim(settings, settings.training.resume)
        sources = open_sources(settings, job.sampling_rate, run, job.labels, job.validation_labels, accelerator.is_main_process)
        job.prepare(sources, run, accelerator.device)
    objective = job.build(accelerator.device)
    parameters = sum(parameter.numel() for parameter in objective.parameters())
    logger.info("Model: %.2f M parameters; %d updates on %s", parameters / 1e6, settings.training.max_steps, accelerator.device)
    logger.info("An update: %s", _describe_update(settings, accelerator.num_processes))

    start_tracker(accelerator, settings, run)
    validator = _make_validator(settings, sources, accelerator)
    trainer = _make_trainer(settings, objective, sources, run, accelerator, validator)
    if 0 < settings.training.max_steps <= settings.training.warmup_steps:
        logger.info("%s", _describe_rise(settings.training, trainer.updater.rate(settings.training.max_steps - 1)))
    title = f"{run.folder.name}: {job.description}"
    try:
        progress = trainer.train()
    except TrainingFailedError as error:
        if accelerator.is_main_process:
            write_failure(run, trainer.progress, _collect_facts(settings, sources, job), str(error), accelerator.device)
            job.draw(run, objective, None, None, title)
        raise
    validation = trainer.validate()
    trainer.save_model()
    for tracker in accelerator.trackers:
        tracker.finish()
    if not accelerator.is_main_process:
        return None

    job.make_extractor().save_pretrained(run.model)
    facts = _collect_facts(settings, sources, job)
    results = write_results(run, progress, facts, type(objective.export()), validation, accelerator.device)
    job.draw(run, objective, validator, validation, title)
    return results


def _collect_facts(settings: PretrainSettings, sources: Sources, job: Job) -> dict[str, Any]:
    base = settings.init.model
    return {**sources.facts, **job.facts(), "base": base and name_only(base), "base_licence": base and note_licence(base)}


def _describe_update(settings: PretrainSettings, processes: int) -> str:
    """The global batch in words: on fewer processes than a recipe was made for it is smaller, and the log should say so."""
    training = settings.training
    clips = processes * training.batch_size * training.gradient_accumulation_steps
    pairs = settings.objective in MULTIVIEW_OBJECTIVES
    audio_s = settings.update_audio_s(processes)
    return (
        f"{clips} clips{' of two crops' if pairs else ''}, {audio_s:g} s ({audio_s / 3600:.2f} h) of audio ({processes} x"
        f" {training.batch_size} x {training.gradient_accumulation_steps}: processes x clips x accumulated batches)"
    )


def _describe_rise(training: TrainingSettings, highest: float) -> str:
    """What a run that ends within its warm-up trains with: short trials of long recipes are made on purpose, or by mistake."""
    warmup_steps = round(RECIPES_WARMUP_SHARE * training.max_steps)
    return (
        f"The warm-up of {training.warmup_steps} updates is not over before the run's {training.max_steps} are: the learning"
        f" rate only rises, to {highest:.3g} (training.learning_rate is {training.learning_rate:.3g}). Give"
        f" --training.warmup_steps {warmup_steps} for a rate that rises and falls"
    )


def _make_validator(settings: PretrainSettings, sources: Sources, accelerator: Accelerator) -> Validator | None:
    if sources.validation is None:
        return None
    return Validator(
        sources.validation, settings.validation.clips, settings.training.batch_size, settings.training.seed, accelerator
    )


def _make_trainer(
    settings: PretrainSettings,
    objective: Objective,
    sources: Sources,
    run: RunFolder,
    accelerator: Accelerator,
    validator: Validator | None,
) -> Trainer:
    return Trainer(
        objective,
        sources.training,
        settings.training,
        run,
        accelerator,
        settings.data.workers,
        settings.data.max_skipped,
        validator,
        settings.validation.every,
    )
