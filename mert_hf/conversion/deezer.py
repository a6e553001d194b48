"""Deezer's released multi-view checkpoints (`weights.zip` of deezer/multi-view-ssl-benchmark) to Hugging Face folders."""

import os
import re
from pathlib import Path

import numpy as np
import torch

from mert_hf.common.errors import InputError
from mert_hf.conversion.checkpoints import read_checkpoint, rename, require_equal_shapes, require_weights
from mert_hf.models.configuration_multiview import MultiViewConfig
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_multiview import MultiViewModel

# Of the model that was trained: byol and clustering hold a student and a teacher, the others one model.
PREFIXES = ("student.module.backbone.", "module.backbone.")
# theirs -> ours, on names without prefix
RENAMINGS = (
    (r"embedding\.layer(\d)\.(\d+)\.downsample\.0\.", lambda match: f"stages.{int(match[1]) - 1}.{match[2]}.skip.1."),
    (r"embedding\.layer(\d)\.(\d+)\.downsample\.1\.", lambda match: f"stages.{int(match[1]) - 1}.{match[2]}.skip.2."),
    (r"embedding\.layer(\d)\.", lambda match: f"stages.{int(match[1]) - 1}."),
    (r"embedding\.attnpool\.", "pooling."),
    (r"embedding\.", ""),
)
# Tables of the front end, which follow from the configuration.
FRONT_END = "spec."
FILTERS = "spec.spec.mel_scale.fb"
# Channels of no model; Deezer's have up to 2048.
LARGEST_SIZE = 2**16
# Numbers of numpy, which a training state may hold beside the weights.
PLAIN_NUMBERS = (
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
)


def convert_deezer_checkpoint(checkpoint: str | os.PathLike, output_dir: str | os.PathLike) -> MultiViewModel:
    """Turn `contrastive.pt`, `byol.pt`, `clustering.pt`, `barlow_twins.pt` or `feature_stats.pt` (VICReg) into a folder.

    The file is read by torch's restricted unpickler; nothing in it is run. The encoder alone is kept, of student and teacher
    that of the student. Deezer scales whole tracks to a peak of 1 before they are cut; do so too.

    Args:
        checkpoint: file with `model`.
        output_dir: folder to write: configuration, weights (safetensors), feature extractor.

    Raises:
        InputError: the file is no such checkpoint, holds something that is not allowed, or another model.
    """
    file = Path(checkpoint)
    state = read_checkpoint(file, PLAIN_NUMBERS)
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise InputError(f"{file} is none of Deezer's checkpoints: it holds no dictionary with 'model'.")
    theirs = _strip_prefix(require_weights(state["model"], file), file)
    weights = {rename(name, RENAMINGS): tensor for name, tensor in theirs.items() if not name.startswith(FRONT_END)}
    config = _read_config(weights, file)
    with torch.device("meta"):  # shapes without memory
        expected = MultiViewModel(config).state_dict()
    require_equal_shapes(weights, expected, file)
    model = MultiViewModel(config)
    if FILTERS in theirs:
        _check_filters(theirs[FILTERS], model, file)
    model.load_state_dict(weights)
    model.eval().save_pretrained(output_dir)
    MERTFeatureExtractor(sampling_rate=config.sample_rate, min_samples=1).save_pretrained(output_dir)
    return model


def _strip_prefix(model: dict[str, torch.Tensor], file: Path) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES:
        found = {name.removeprefix(prefix): tensor for name, tensor in model.items() if name.startswith(prefix)}
        if found:
            return found
    raise InputError(f"{file} is none of Deezer's checkpoints: no weight's name begins with {' or '.join(PREFIXES)}.")


def _read_config(weights: dict[str, torch.Tensor], file: Path) -> MultiViewConfig:
    for name, axes in (("conv1.weight", 4), ("conv3.weight", 4), ("pooling.c_proj.weight", 2)):
        if name not in weights:
            raise InputError(f"{file} does not hold Deezer's ResNet: {name} is missing.")
        if weights[name].ndim != axes or max(weights[name].shape) > LARGEST_SIZE:
            raise InputError(f"{file} does not hold Deezer's ResNet: {name} has the shape {tuple(weights[name].shape)}.")
    channels = weights["conv1.weight"].shape[1]
    hidden_size, width = len(weights["pooling.c_proj.weight"]), len(weights["conv3.weight"])
    if channels != 1:
        raise InputError(f"{file} was trained on {channels} channels; MultiViewModel is mono.")
    blocks = [1, 1, 1, 1]
    for name in weights:
        if place := re.match(r"stages\.([0-3])\.([0-9]{1,2})\.", name):
            stage, block = int(place[1]), int(place[2])
            blocks[stage] = max(blocks[stage], block + 1)
    try:
        return MultiViewConfig(width=width, hidden_size=hidden_size, blocks=blocks)
    except ValueError as error:
        raise InputError(f"{file} holds a model that MultiViewModel cannot be: {error}") from None


def _check_filters(filters: torch.Tensor, model: MultiViewModel, file: Path) -> None:
    """The stored mel filters (frequencies, bins) must be those that the model computes."""
    ours = model.spectrum.filters(filters.device)
    if filters.shape != ours.shape or not torch.allclose(filters.float(), ours, atol=1e-5):
        raise InputError(f"{file} was trained with another mel spectrum than 128 bands up to 11025 Hz at 16 kHz.")
