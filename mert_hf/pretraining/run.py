"""One pre-training run, from its settings to a trained model and what is said of it.

The settings come first: a recipe and the command line make a `PretrainSettings` (`settings.py`), and that a `Setup`
(`setup.py`): which objective, which architecture, which configuration, which stored labels. So far no audio was read, and
whatever does not fit together has been told.

Then the run begins, and this is the way of a crop of music through it:

1. *File*: `sources.py` opens the folder or the dataset as a `Corpus` (data/corpus.py), whose tracks one process has checked,
   and holds some of them out. What cannot be used is listed.
2. *Crop*: `RandomCrops` (data/crops.py; `PairedCrops` and `LabelledCrops` beside it) says which seconds of which track crop
   number n is, a function of the seed and of n alone, and reads them: the reader (models/audio_reading_mert.py) decodes,
   mixes down and resamples no more than those seconds.
3. *Batch*: `CorpusClips` (data/source.py) has crops read ahead in processes of its own and deals them out to the ranks as
   `AudioBatch`es.
4. *Objective*: `Updater.update` (engine/updates.py) moves the batches of an update to the device, and the objective's
   `prepare` (objectives/) draws what is hidden, lays noise over it, and asks its teachers for targets.
5. *Loss*: `count` says how many items this process has, all processes add up, and the objective's `forward` returns its
   share of the mean.
6. *Update*: the gradient is summed over processes and looked at; a step is taken, or left out if it is not finite or a
   spike.
7. *Checkpoint*: every so many updates `RunFolder` (engine/run_folder.py) writes all that the next update depends on, seals
   it, and only then takes it for a checkpoint. `--training.resume` goes on from the newest that is whole.

Every so many updates watchers look at what is trained and change nothing of it: `Validator` (engine/validation.py), and
`OnlineProbe` (`online_probe.py`) where that is wanted.

Behind the last update the model is validated, saved with its feature extractor, written about (`report.py`), drawn by its
objective, and published where that is wanted (`publication.py`).
"""

import logging
from typing import Any

import torch

from mert_hf.common.errors import TrainingFailedError
from mert_hf.common.logs import show_logs
from mert_hf.common.redaction import name_only
from mert_hf.encoding.licences import note_licence
from mert_hf.engine.devices import make_accelerator, start_tracker
from mert_hf.engine.preparation import main_process_first
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.trainer import Trainer
from mert_hf.engine.validation import Validator
from mert_hf.engine.watchers import Watcher
from mert_hf.objectives import OBJECTIVES
from mert_hf.pretraining.online_probe import OnlineProbe, load_probed_tasks
from mert_hf.pretraining.report import draw_report, write_failure, write_results
from mert_hf.pretraining.settings import RunSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.pretraining.sources import Sources, open_sources

logger = logging.getLogger(__name__)

# Of the paper's recipe: 32,000 of 400,000 updates.
RECIPES_WARMUP_SHARE = 0.08


def pretrain(settings: RunSettings, setup: Setup, run: RunFolder, until: int | None = None) -> dict[str, Any] | None:
    """Train in a folder, and write down what came of it. All processes call it; the process group stays for what follows.

    Args:
        settings: of the run; with `training.max_steps` 0 the model is saved with the weights it begins with.
        run: folder, held by this process.
        until: the run ends behind this update, and is finished as far as it came; a later call with `training.resume` goes on
            bit by bit as if it had not ended. None, or more than `training.max_steps`: behind the last.

    Returns:
        What `results.json` holds, in the one process that wrote it; None in the others.

    Raises:
        InputError: settings, audio or a corpus that cannot be used.
        TrainingFailedError: the training diverged or collapsed; the curves are drawn, `failure.json` says why.
        Interrupted: SIGTERM or SIGINT arrived; a checkpoint was saved.
    """
    objective_class, layerdrop = setup.objective, getattr(setup.config, "layerdrop", 0.0)
    accelerator = make_accelerator(settings.training, run.folder, objective_class.can_be_sharded, layerdrop)
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(accelerator.device)  # this process may have done other runs
    show_logs(accelerator.is_main_process)
    # one process checks the corpus and fits the teacher, the others read what it wrote
    with main_process_first(accelerator, settings.training.rank_timeout_s):
        if accelerator.is_main_process:
            run.claim(settings, settings.training.resume)
        sources = open_sources(
            settings, setup.sampling_rate, run, setup.labels, setup.validation_labels, accelerator.is_main_process
        )
        setup.prepare(sources, run.teacher, accelerator.device)
        probed = load_probed_tasks(settings.online_probe)
    objective = setup.build()
    parameters = sum(parameter.numel() for parameter in objective.parameters())
    logger.info("Model: %.2f M parameters; %d updates on %s", parameters / 1e6, settings.training.max_steps, accelerator.device)
    logger.info("An update: %s", _describe_update(settings, accelerator.num_processes))

    start_tracker(accelerator, settings, run.folder)
    watchers: list[Watcher] = []
    if sources.validation is not None:
        size, seed, validation = settings.training.batch_size, settings.training.seed, settings.validation
        watchers.append(Validator(sources.validation, validation.clips, size, seed, accelerator, validation.every))
    if probed:
        watchers.append(OnlineProbe(probed, setup.make_extractor(), settings.online_probe, accelerator))
    reading = (settings.data.workers, settings.data.max_skipped)
    trainer = Trainer(objective, sources.training, settings.training, run, accelerator, *reading, watchers, until)
    if 0 < settings.training.max_steps <= settings.training.warmup_steps:
        logger.info("%s", _describe_rise(settings.training, trainer.updater.rate(settings.training.max_steps - 1)))
    title = f"{run.folder.name}: {setup.description}"
    try:
        progress = trainer.train()
    except TrainingFailedError as error:
        if accelerator.is_main_process:
            write_failure(run, trainer.progress, _collect_facts(settings, sources, setup), str(error), accelerator.device)
            draw_report(run, trainer.updater.plain_objective, settings, None, None, title)
        raise
    validation = trainer.look().get(Validator.name)
    trainer.save_model()
    for tracker in accelerator.trackers:
        tracker.finish()
    if not accelerator.is_main_process:
        return None

    setup.make_extractor().save_pretrained(run.model)
    facts = _collect_facts(settings, sources, setup)
    results = write_results(run, progress, facts, setup.model_class, validation, accelerator.device)
    model = setup.model_class.from_pretrained(run.model).eval()
    draw_report(run, trainer.updater.plain_objective, settings, sources.validation, validation, title, model)
    return results


def _collect_facts(settings: RunSettings, sources: Sources, setup: Setup) -> dict[str, Any]:
    base = settings.init.model
    return {**sources.facts, **setup.facts(), "base": base and name_only(base), "base_licence": base and note_licence(base)}


def _describe_update(settings: RunSettings, processes: int) -> str:
    """The global batch in words: on fewer processes than a recipe was made for it is smaller, and the log should say so."""
    training = settings.training
    clips = processes * training.batch_size * training.gradient_accumulation_steps
    pairs = OBJECTIVES[settings.objective].pair_distances_s(settings) is not None
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
