"""A trainer of a small model on a little music."""

import pytest
from accelerate import Accelerator
from support.small_runs import make_objective, make_teachers

from mert_hf.data.corpus import open_folder
from mert_hf.data.crops import RandomCrops
from mert_hf.data.source import CorpusClips
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.trainer import Trainer
from mert_hf.engine.validation import Validator


@pytest.fixture(scope="module")
def teachers():
    return make_teachers()


@pytest.fixture
def make_trainer(music_folder, teachers, tmp_path):
    """Makes trainers of the same music; `held_out` is a share of the tracks to validate on every second update."""
    corpus = open_folder(music_folder)

    def make(run="run", workers=0, max_skipped=0.1, held_out=0.0, model=None, accelerator=None, until=None, **settings):
        settings = TrainingSettings(
            **{"max_steps": 6, "batch_size": 3, "warmup_steps": 2, "log_every": 1, "checkpoint_every": 2, **settings}
        )
        accelerator = Accelerator(cpu=True) if accelerator is None else accelerator
        objective = make_objective(settings.seed, teachers, settings.codebooks_per_update, **(model or {}))
        run = RunFolder(tmp_path / run)
        run.folder.mkdir(exist_ok=True)
        tracks, others = corpus.split(held_out, settings.seed) if held_out else (corpus, None)
        source = CorpusClips(RandomCrops(tracks, 24000, seed=settings.seed))
        watchers = []
        if others is not None:
            watchers.append(Validator(CorpusClips(RandomCrops(others, 24000)), 5, 2, settings.seed, accelerator, every=2))
        return Trainer(objective, source, settings, run, accelerator, workers, max_skipped, watchers, until)

    return make
