"""The folder of a fine-tuning run: what pre-training's is, with the checkpoints of transformers' Trainer."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mert_hf.common.errors import InputError
from mert_hf.common.files import move_flushed, remove_folder, to_json, write_atomically
from mert_hf.common.reading import read_json, read_yaml
from mert_hf.common.settings import flatten
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.sealed import find_damage, seal
from mert_hf.finetuning.settings import FinetuneSettings

logger = logging.getLogger(__name__)

STATE = "trainer_state.json"
# Checkpoints that are kept: the two newest, so that there is one before the newest, and the best one of each of them.
KEPT = 2


class FinetuneFolder(RunFolder):
    """Names of the files of a fine-tuning run, and its checkpoints."""

    free_to_change = ("output_dir", "training.resume", "training.workers", "training.use_cpu")
    prefix = "checkpoint-"  # as Trainer names them
    former = {"data.clips_per_track": 1, "data.validation_clips": None, "data.cached_clips": 0}

    def __init__(self, folder: str | os.PathLike):
        super().__init__(folder)
        self.data = self.folder / "data.json"
        self.adapter = self.folder / "adapter"
        self.features = self.folder / "features"
        self.predictions = self.folder / "predictions.csv"
        self.curves = self.folder / "training_curves.png"
        self.picture = self.folder / "confusion_matrix.png"

    def keep_former(self, settings: FinetuneSettings) -> None:
        """Let a run go on as it began where it is older than a setting whose default changes what runs do.

        Raises:
            InputError: its recipe cannot be read.
        """
        if self.newest_checkpoint() is None:
            return
        begun_with = flatten(read_yaml(self.recipe))
        for name in ("validation_clips", "cached_clips"):
            key, now = f"data.{name}", getattr(settings.data, name)
            if key not in begun_with and now != self.former[key]:
                told = "The run in %s is older than %s, which is %s for it"
                logger.warning(told, self.folder, key, to_json(self.former[key]))
                setattr(settings.data, name, self.former[key])

    def require_data(self, facts: dict[str, Any]) -> None:
        """Note what a run is trained on: facts of tracks, labels and splits, which change when these do.

        Raises:
            InputError: the run that lies here was begun with others, or what it was begun with cannot be read.
        """
        if self.newest_checkpoint() is None:
            write_atomically(self.data, to_json(facts, indent=2) + "\n")
            return
        before = read_json(self.data)
        changed = [name for name in sorted(before.keys() | facts.keys()) if before.get(name) != facts.get(name)]
        if changed:
            raise InputError(
                f"the run in {self.folder} was started with other {' and '.join(changed)}; give the same ones to continue it,"
                " or choose another --output_dir."
            )

    def checkpoint(self, step: int) -> Path:
        """Place of the checkpoint behind so many updates."""
        return self.checkpoints / f"{self.prefix}{step}"

    def best_checkpoint(self, checkpoint: Path) -> Path | None:
        """The checkpoint that was the best when this one was saved; None where no score was a number."""
        step = read_json(checkpoint / STATE).get("best_global_step")
        return self.checkpoint(step) if isinstance(step, int) else None

    def find_damage(self, checkpoint: Path) -> str | None:
        """What is wrong with a checkpoint, or with the one that is the best so far, in a line; None where both are whole."""
        damage = find_damage(checkpoint)
        if damage is not None:
            return damage
        try:
            best = self.best_checkpoint(checkpoint)
        except InputError as error:
            return str(error)
        damage = find_damage(best) if best is not None and best != checkpoint else None
        return damage and f"the best one before it, {best.name}, cannot be used: {damage}"

    def keep_checkpoint(self, accelerator: Any, step: int, write: Callable[[Path], None]) -> None:
        """Have a checkpoint written beside its place, force it to the disk, and move it there; remove old ones.

        Args:
            accelerator: Accelerate's, of the processes, all of which call this.
            step: updates that were done.
            write: takes a folder and writes the checkpoint into it, under its name.

        Raises:
            InputError: a process could not write its part; the checkpoints before this one are as they were.
        """
        place = self.checkpoint(step)
        partial = place.with_name(f"{place.name}.partial")
        with self._all_or_none(accelerator, partial):
            if accelerator.is_main_process:
                self.clear_partial()
                partial.mkdir(parents=True)
        with self._all_or_none(accelerator, partial):
            write(partial)
        with self._all_or_none(accelerator, partial):
            if accelerator.is_main_process:
                seal(partial / place.name)
                remove_folder(place)
                move_flushed(partial / place.name, place)
                partial.rmdir()
                self._remove_old(step)

    def _remove_old(self, step: int) -> None:
        # those of later steps are of an attempt whose newest checkpoint was damaged: they push no whole one out
        reached = [found for found in self.list_checkpoints() if int(found.name.removeprefix(self.prefix)) <= step]
        kept = {*reached[-KEPT:], *(self.best_checkpoint(newest) for newest in reached[-KEPT:])}
        for old in reached:
            if old not in kept:
                remove_folder(old)
