"""From a checkpoint to a model in Hugging Face format, as the run saves it behind its last update."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mert_hf.common.errors import InputError
from mert_hf.common.settings import read_settings
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.updates import AVERAGE
from mert_hf.pretraining.settings import pretrain_settings
from mert_hf.pretraining.setup import Setup


def export_checkpoint(folder: str | os.PathLike, output: str | os.PathLike, step: int | None = None) -> Path:
    """Write the model of a checkpoint, and its feature extractor, into a folder. Nothing is trained, no audio is read.

    With `training.ema_decay` it is the moving average of the weights, as behind the last update.

    Args:
        output: folder to write; made where it does not exist.
        step: updates that the checkpoint had seen; the newest by default.

    Returns:
        The checkpoint.

    Raises:
        InputError: no run, no such checkpoint, one that is damaged (also where an older one is whole: which model is published
            is not decided here), that was saved in shards, or that does not hold the model of the recipe.
    """
    run = RunFolder(folder)
    if not run.recipe.is_file():
        raise InputError(f"{run.folder} holds no run ({run.recipe.name} is missing); give the output_dir of one.")
    settings = read_settings(pretrain_settings(), str(run.recipe), run.folder)
    data, validation = replace(settings.data, labels=None), replace(settings.validation, labels=None)  # they may be gone
    setup = Setup(replace(settings, data=data, validation=validation))
    checkpoint = _find_checkpoint(run, step)
    weights, prefix = _read_weights(checkpoint), setup.objective.model_prefix
    if settings.training.ema_decay > 0:
        weights |= _read_tensors(checkpoint / AVERAGE)
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    model = setup.model_class._from_config(setup.config)
    expected = model.state_dict()
    wrong = sorted(
        name
        for name in expected.keys() | own.keys()
        if name not in expected or name not in own or own[name].shape != expected[name].shape
    )
    if wrong:
        raise InputError(
            f"{checkpoint} does not hold the model of {run.recipe}; missing, unknown or of another size:"
            f" {', '.join(wrong[:6])}" + (f" and {len(wrong) - 6} more." if len(wrong) > 6 else ".")
        )
    model.save_pretrained(output, state_dict=own)
    setup.make_extractor().save_pretrained(output)
    return checkpoint


def _find_checkpoint(run: RunFolder, step: int | None) -> Path:
    there = run.list_checkpoints()
    if not there:
        raise InputError(f"{run.folder} holds no checkpoint.")
    steps = [int(found.name.removeprefix("step_")) for found in there]
    if step is not None and step not in steps:
        raise InputError(f"{run.folder} holds no checkpoint of step {step}; there are {', '.join(map(str, steps))}.")
    checkpoint = there[-1] if step is None else run.checkpoint(step)
    damage = run.find_damage(checkpoint)
    if damage is not None:
        others = ", ".join(str(other) for other in steps if run.checkpoint(other) != checkpoint)
        raise InputError(
            f"{checkpoint} cannot be exported: {damage}. "
            + (f"Give the --step of another checkpoint: {others}." if others else "There is no other checkpoint.")
        )
    return checkpoint


def _read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    file = checkpoint / "model.safetensors"
    if not file.is_file():
        raise InputError(
            f"{checkpoint} holds no {file.name}: it was saved in shards, by FSDP or DeepSpeed, which are not read here. Go on"
            " with the run as it was launched; its model is written behind the last update."
        )
    return _read_tensors(file)


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} is damaged: {error}.") from None
