"""Make the codes that a model is to predict once, for a whole corpus, instead of on the fly.

    accelerate launch --quiet --config_file training/launch/one_device.yaml \\
        training/prepare_labels.py --recipe quickstart --data.folder ~/Music --data.labels labels/music

takes the settings of pretrain.py and writes data.labels; pretrain.py with the same settings then reads it. Stopped or killed,
the same command goes on where it was; tracks that are added later get their labels by the same command as well.
"""

import logging
import time
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from mert_hf.common.command_line import run_tool
from mert_hf.common.errors import InputError
from mert_hf.common.files import to_json, write_atomically
from mert_hf.common.logs import show_logs
from mert_hf.common.run_lock import RunLock
from mert_hf.common.settings import parse_command_line, write_settings
from mert_hf.data.crops import RandomCrops
from mert_hf.data.label_store import LabelFolder, LabelStore
from mert_hf.data.labelled_crops import LabelledCrops
from mert_hf.data.source import CorpusClips
from mert_hf.objectives import OBJECTIVES
from mert_hf.pretraining.labelling import AlignedCrops, compare_crops, make_labels
from mert_hf.pretraining.settings import RunSettings, pretrain_settings
from mert_hf.pretraining.setup import build_config
from mert_hf.pretraining.sources import open_corpus
from mert_hf.pretraining.teachers import fit_or_load_teacher

logger = logging.getLogger("mert_hf.prepare_labels")

RECIPES = Path(__file__).parent / "recipes"


def main() -> None:
    """Settings to a teacher to the labels of a corpus."""
    settings = parse_command_line(pretrain_settings(), RECIPES, __doc__)
    if settings.data.labels is None:
        raise InputError("--data.labels is missing: the folder to write the labels to.")
    if settings.data.folder is None and settings.data.dataset is None:
        raise InputError("--data.folder is missing: the audio that is to be labelled (or --data.dataset).")
    if settings.data.streaming:
        raise InputError(
            "data.streaming: labels belong to the tracks of a folder or dataset, a stream has none to come back to; leave it"
            " out, or train on the stream with codes made on the fly."
        )
    if not OBJECTIVES[settings.objective].uses_teachers:
        raise InputError(f"objective={settings.objective} predicts no codes; labels are for masked_prediction.")
    # the others wait while the first process checks the corpus and fits the teacher
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=2))])
    show_logs(accelerator.is_main_process)
    folder = LabelFolder(settings.data.labels)
    lock = RunLock(folder.lock)
    try:
        if accelerator.is_main_process:
            folder.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        prepare(settings, folder, accelerator)
    finally:
        lock.release()


def prepare(settings: RunSettings, folder: LabelFolder, accelerator: Accelerator) -> None:
    """Check the corpus, fit or load the teacher, make the labels, and compare them with codes made on the fly."""
    started, config = time.perf_counter(), build_config(settings)
    with accelerator.main_process_first():
        corpus = open_corpus(settings, config.sample_rate, folder, accelerator.is_main_process)
        crop_samples = round(settings.data.crop_s * config.sample_rate)
        crops = RandomCrops(corpus, crop_samples, config.sample_rate, settings.training.seed)
        teacher = fit_or_load_teacher(settings, config, CorpusClips(crops).clips(), folder.teacher, accelerator.device)
    logger.info("Labels: %s, into %s", teacher.description, folder.folder)
    unreadable = make_labels(corpus, teacher, folder, accelerator)
    if not accelerator.is_main_process:
        return

    write_settings(settings, folder.recipe)
    corpus = corpus.without(unreadable)
    corpus.write_skipped(folder.skipped)
    corpus.require_usable(settings.data.max_skipped, folder.skipped)
    labels = LabelStore(folder.folder)
    corpus = labels.match(corpus)
    cut = (corpus, labels, crop_samples, config.sample_rate, settings.training.seed)
    results = {
        "teacher": teacher.description,
        "tracks": len(corpus.tracks),
        "tracks_skipped": len(corpus.skipped),
        "audio_hours": corpus.duration_s / 3600,
        "bytes": sum(file.stat().st_size for file in folder.shards.glob("*.bin")),
        "wall_s": time.perf_counter() - started,
        # the same crops twice: those of training begin at any sample, so their labels are up to half a frame away
        "crops_agree": compare_crops(AlignedCrops(*cut), teacher, accelerator.device),
        "training_crops_agree": compare_crops(LabelledCrops(*cut), teacher, accelerator.device),
    }
    write_atomically(folder.results, to_json(results, indent=2) + "\n")
    print(f"\n{results['tracks']} tracks, {results['audio_hours']:.2f} hours, {results['bytes'] / 1e6:.1f} MB of labels")
    print("Codes of crops made on the fly equal to these, by codebook:")
    for kind, crops in (("crops_agree", "that begin on a frame"), ("training_crops_agree", "as training cuts them")):
        for part, shares in results[kind].items():
            print(f"  {part} frames of crops {crops}: {' '.join(f'{100 * share:.1f}' for share in shares)} %")
    print(f"  {folder.folder}")


if __name__ == "__main__":
    run_tool(main)
