"""Transformers' Trainer with checkpoints that are there wholly or not at all, and are not used when they are damaged."""

from pathlib import Path

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from mert_hf.common.errors import InputError
from mert_hf.engine.sealed import find_damage
from mert_hf.finetuning.run_folder import STATE, FinetuneFolder


class FinetuneTrainer(Trainer):
    """Trainer that saves into a run's folder. What it is made of else, see [`transformers.Trainer`].

    Trainer writes a checkpoint where it is to lie, so that a kill leaves a part of it there, and believes what it finds there
    later. Here it writes beside that place; what is moved there is complete, and every file of it is known by its digest.

    Args:
        run: where the checkpoints go; `args.output_dir` must be its folder of checkpoints.
        given: to Trainer.
    """

    def __init__(self, run: FinetuneFolder, **given):
        super().__init__(**given)
        self.run = run
        self.add_callback(_FindBestCheckpoint(run))
        self.remove_callback(PrinterCallback)  # which prints a line an epoch where there are no bars

    def resume(self) -> None:
        """Train from the newest whole checkpoint on, or from the beginning where there is none.

        Raises:
            InputError: there are checkpoints, and none is whole; or one cannot be written.
        """
        checkpoint = self.run.choose_checkpoint(self.accelerator)
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def _save_checkpoint(self, *given) -> None:
        self.run.keep_checkpoint(self.accelerator, self.state.global_step, lambda folder: self._write(folder, given))

    def _write(self, folder: Path, given: tuple) -> None:
        """Have Trainer write into another folder, in which its state still names the right place of the best checkpoint."""
        place = self.args.output_dir
        self.args.output_dir = str(folder)
        try:
            super()._save_checkpoint(*given)
        finally:
            self.args.output_dir = place
        _name_best_checkpoint(self.run, self.state)
        if self.args.should_save:
            self.state.save_to_json(str(folder / self.run.checkpoint(self.state.global_step).name / STATE))

    def _load_best_model(self) -> None:
        damage = find_damage(self.state.best_model_checkpoint)
        if damage is not None:
            raise InputError(
                f"the best checkpoint {self.state.best_model_checkpoint} cannot be used: {damage}. Give the same command with"
                " --training.resume, to train from the last whole one on."
            )
        super()._load_best_model()


class _FindBestCheckpoint(TrainerCallback):
    """The folder of a run may have been moved since its checkpoints were saved, which say where the best one lay."""

    def __init__(self, run: FinetuneFolder):
        self.run = run

    def on_train_begin(self, args, state, control, **given) -> None:
        _name_best_checkpoint(self.run, state)


def _name_best_checkpoint(run: FinetuneFolder, state) -> None:
    step = state.best_global_step
    state.best_model_checkpoint = None if step is None else str(run.checkpoint(step))
