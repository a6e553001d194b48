"""Pre-train MERT, or one of its rivals, on your music.

    accelerate launch --quiet --config_file training/launch/one_device.yaml \\
        training/pretrain.py --recipe quickstart --data.folder ~/Music

Without data.folder, small synthetic music is rendered and trained on. The trained model, in Hugging Face
format, the metrics and a report with pictures end up in output_dir.
"""

import errno
import logging
import sys
import warnings
from pathlib import Path

from mert_hf.engine.devices import make_accelerator, start_tracker
from mert_hf.engine.jobs import Job, make_job
from mert_hf.engine.pretrain_settings import PretrainSettings
from mert_hf.engine.publication import plan_publication
from mert_hf.engine.report import write_results
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.settings import parse_command_line
from mert_hf.engine.sources import open_sources
from mert_hf.engine.trainer import Trainer
from mert_hf.engine.validation import Validator
from mert_hf.errors import InputError

logger = logging.getLogger("mert_hf.pretrain")

RECIPES = Path(__file__).parent / "recipes"
CARDS = Path(__file__).resolve().parents[1] / "model_cards"


def main() -> None:
    """Settings to objects to a trained model."""
    settings = parse_command_line(PretrainSettings, RECIPES, __doc__)
    job = make_job(settings)
    publication = plan_publication(settings, CARDS)
    with RunFolder(settings.output_dir).hold() as run:
        finished = pretrain(settings, job, run)
        if publication is not None and finished:
            publication.publish(run)


def pretrain(settings: PretrainSettings, job: Job, run: RunFolder) -> bool:
    """Train in a folder, and write down what came of it; True in the one process that did."""
    training = settings.training
    accelerator = make_accelerator(settings, job.config, run)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mert_hf").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    # one process checks the corpus and fits the teacher, the others read what it wrote
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            run.claim(settings, training.resume)
        sources = open_sources(settings, job.sampling_rate, run, job.labels)
        job.prepare(sources, run, accelerator.device)
    objective = job.build(accelerator.device)
    parameters = sum(parameter.numel() for parameter in objective.parameters())
    logger.info("Model: %.2f M parameters; %d updates on %s", parameters / 1e6, training.max_steps, accelerator.device)

    start_tracker(accelerator, settings, run)
    validator = None
    if sources.validation is not None:
        clips, batch_size = settings.validation.clips, training.batch_size
        validator = Validator(sources.validation, clips, batch_size, training.seed, accelerator)
    trainer = Trainer(
        objective,
        sources.training,
        training,
        run,
        accelerator,
        settings.data.workers,
        settings.data.max_skipped,
        validator,
        settings.validation.every,
    )
    progress = trainer.train()
    validation = trainer.validate()
    trainer.updater.save_model(run.model)
    accelerator.end_training()
    if not accelerator.is_main_process:
        return False

    job.make_extractor().save_pretrained(run.model)
    facts = {**sources.facts, **job.facts()}
    results = write_results(run, progress, facts, type(objective.export()), validation, accelerator.device)
    job.draw(run, objective, validator, validation, f"{run.folder.name}: {job.description}")
    print_summary(results, run)
    return True


def print_summary(results: dict, run: RunFolder) -> None:
    """What came of the run, and where it lies."""
    if results["loss_end"] is not None:
        hours = results["audio_hours"]
        print(f"\nLoss {results['loss_start']:.3f} -> {results['loss_end']:.3f} after {hours:.2f} hours of audio")
    validation = results["validation"]
    if validation is None:
        print("No validation: nothing was held out (validation.share, validation.folder)")
    else:
        accuracy = "/".join(f"{100 * share:.1f}" for share in validation.get("code_accuracy", []))
        print(f"Validation: loss {validation['loss']:.3f}" + (f", masked accuracy {accuracy} %" if accuracy else ""))
    print(f"Learnt from: {results['teacher']}")
    for file in (run.model, run.report, run.metrics, run.results):
        print(f"  {file}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f"error: the disk is full ({error.filename or 'output_dir'}); make room and go on with --training.resume.")
