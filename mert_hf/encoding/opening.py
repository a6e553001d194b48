"""The engine that computes what somebody gives to [`MusicEncoder`]."""

import os
import reprlib
from pathlib import Path

import torch
import torch.nn as nn

from mert_hf.common.errors import InputError
from mert_hf.encoding.engines import Engine
from mert_hf.encoding.loading import as_folder
from mert_hf.encoding.onnx_engine import OnnxEngine
from mert_hf.encoding.torch_engine import TorchEngine
from mert_hf.models.views_mert import base_of


def open_engine(
    model: str | os.PathLike | nn.Module,
    feature_extractor=None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str = torch.float32,
    revision: str | None = None,
) -> Engine:
    """What computes a model; takes what [`MusicEncoder`] does.

    Raises:
        InputError: as [`MusicEncoder`].
    """
    if _is_onnx(model):
        if feature_extractor is not None or revision is not None:
            raise InputError(f"{model} holds all that is to know of it; leave feature_extractor and revision out.")
        return OnnxEngine(model, None if device is None else find_device(device), dtype)
    dtype, device = _dtype(dtype), find_device(device)
    if isinstance(model, nn.Module):
        if feature_extractor is None:
            raise InputError("a loaded model needs its feature extractor: MusicEncoder(model, feature_extractor).")
        title = type(model).__name__
        return TorchEngine(base_of(model, title), feature_extractor, title, device, dtype)
    return TorchEngine.load(model, feature_extractor, device, dtype, revision)


def find_device(device: str | torch.device | None = None) -> torch.device:
    """The one that is named, or the fastest there is; InputError where torch knows none of that name."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f'device={reprlib.repr(device)} is none that torch knows; give "cpu", "cuda" or "mps".') from None


def _is_onnx(model: object) -> bool:
    return isinstance(model, (str, os.PathLike)) and Path(model).suffix.lower() == ".onnx" and as_folder(model) is None


def _dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise InputError(f"dtype={reprlib.repr(dtype)} is no floating-point type of torch; give float32, bfloat16 or float16.")
    return found
