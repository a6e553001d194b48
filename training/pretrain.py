"""Pre-train MERT on your music.

    accelerate launch --quiet --config_file training/launch/one_device.yaml \\
        training/pretrain.py --recipe quickstart --data.folder ~/Music

Without data.folder, small synthetic music is rendered and trained on. The trained model, in Hugging Face
format, the metrics and the curves end up in output_dir.
"""

import logging
import sys
import warnings
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, is_tensorboard_available

from mert_hf import MERTFeatureExtractor
from mert_hf.data.crops import RandomCrops
from mert_hf.engine.plots import plot_training_curves
from mert_hf.engine.pretrain_settings import PretrainSettings
from mert_hf.engine.pretraining import (
    build_config,
    build_objective,
    fit_or_load_teacher,
    open_corpus,
    write_results,
)
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.settings import parse_command_line
from mert_hf.engine.trainer import Trainer
from mert_hf.errors import InputError
from mert_hf.threads import share_cores

logger = logging.getLogger("mert_hf.pretrain")

RECIPES = Path(__file__).parent / "recipes"


def main() -> None:
    """Settings to objects to a trained model."""
    settings = parse_command_line(PretrainSettings, RECIPES, __doc__)
    config = build_config(settings)
    run = RunFolder(settings.output_dir)
    accelerator = Accelerator(
        mixed_precision=settings.training.mixed_precision,
        log_with="tensorboard" if is_tensorboard_available() else None,
        project_dir=run.folder,
        kwargs_handlers=[
            # LayerDrop leaves layers out at random, and their weights then get no gradient
            DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            # the others wait while the first process checks the corpus and fits the teacher
            InitProcessGroupKwargs(timeout=timedelta(days=2)),
        ],
    )
    if settings.training.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise InputError("training.mixed_precision=fp16 needs a GPU; use bf16 or no on a CPU.")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mert_hf").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    if accelerator.device.type == "cpu":
        share_cores()
    # one process checks the corpus and fits the teacher, the others read what it wrote
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            run.claim(settings, settings.training.resume)
        corpus = open_corpus(settings, config.sample_rate, run)
        crop_samples = round(settings.data.crop_s * config.sample_rate)
        crops = RandomCrops(corpus, crop_samples, config.sample_rate, settings.training.seed)
        teacher = fit_or_load_teacher(settings, config, crops, run)
    objective = build_objective(settings, config, teacher, accelerator.device)
    parameters = sum(parameter.numel() for parameter in objective.parameters())
    logger.info("Model: %.2f M parameters; %d updates on %s", parameters / 1e6, settings.training.max_steps, accelerator.device)

    accelerator.init_trackers("tensorboard")
    trainer = Trainer(objective, crops, settings.training, run, accelerator, settings.data.workers, settings.data.max_skipped)
    progress = trainer.train()
    accelerator.end_training()
    if not accelerator.is_main_process:
        return

    objective.export().save_pretrained(run.model)
    MERTFeatureExtractor(sampling_rate=config.sample_rate).save_pretrained(run.model)
    plot_training_curves(run.metrics, run.curves, title=f"{run.folder.name}: {teacher.description}")
    results = write_results(run, progress, corpus, teacher, parameters)
    print(f"\nLoss {results['loss_start']:.3f} -> {results['loss_end']:.3f} after {results['audio_hours']:.2f} hours of audio")
    print(f"Codes of the teacher: {teacher.description}")
    for file in (run.model, run.curves, run.metrics, run.results):
        print(f"  {file}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
