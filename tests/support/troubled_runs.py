"""What goes wrong in processes of their own: they hang, are killed while they hold a lock, or hear what is no audio.

Beside `small_runs.py`, where processes find it however the tests were started.
"""

import json
import logging
import os
import time

from support.small_runs import train

from mert_hf.common.errors import InputError


def train_and_tell(music, folder, rank_timeout_s):
    logging.basicConfig(filename=folder.parent / f"said_{os.environ['RANK']}.txt", level=logging.WARNING)
    train(music, folder, 0, False, {"max_steps": 10**6, "checkpoint_every": 10**6, "rank_timeout_s": rank_timeout_s})


def prepare(folder, limit_s, fails=False):
    from accelerate import Accelerator

    from mert_hf.engine import preparation

    logging.basicConfig(filename=folder / f"said_{os.environ['RANK']}.txt", level=logging.WARNING)
    preparation.BEAT_S = 0.2
    accelerator = Accelerator()
    (folder / f"entered_{accelerator.process_index}").touch()
    try:
        with preparation.main_process_first(accelerator, limit_s):
            (folder / f"alone_{accelerator.process_index}").touch()
            if fails:
                raise InputError("no such folder")
            while not (folder / "ready").exists():
                time.sleep(0.02)
    except InputError as error:
        (folder / f"refused_{accelerator.process_index}").write_text(str(error))


def train_held(music, folder):
    from mert_hf.engine.run_folder import RunFolder
    from mert_hf.pretraining.settings import PretrainSettings

    with RunFolder(folder).hold() as run:
        run.claim(PretrainSettings(), resume=True)
        train(music, folder, 2, False, {"max_steps": 100_000, "checkpoint_every": 2})


def train_loud(music, folder, told, accumulated):
    """The second process hears one clip of samples far beyond all range in its third update."""
    from mert_hf.engine.trainer import Trainer

    rank, take, loud = os.environ["RANK"], Trainer._take, []
    logging.basicConfig(filename=told / f"said_{rank}.txt", level=logging.WARNING)

    def take_loud(self, batch):
        if rank == "1" and self.progress.step == 2 and not loud:
            batch.waveforms[0] *= 1e18
            loud.append(batch.tracks[0])
        return take(self, batch)

    Trainer._take = take_loud
    train(music, folder, 0, False, {"max_steps": 4, "gradient_accumulation_steps": accumulated})
    (told / f"loud_{rank}.json").write_text(json.dumps(loud))
