"""What computes hidden states for [`MusicEncoder`]: a model in torch, or an ONNX file in onnxruntime."""

import os
import reprlib
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn as nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from mert_hf.common.errors import InputError
from mert_hf.encoding.fingerprint import weights_fingerprint
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.encoding.licences import note_licence
from mert_hf.encoding.loading import UNUSED_WEIGHTS, as_folder, load_extractor, load_model
from mert_hf.encoding.onnx_engine import OnnxEngine
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.configuration_mert2 import MERT2Config
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.views_mert import base_of, blocks_of
from mert_hf.models.windows_mert import FrameGrid


class LayersUpTo(Protocol):
    """Something that computes hidden states up to a layer."""

    def run(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Every layer's (batch, frames, hidden) of (batch, samples); `attention_mask` is 0 where there is padding."""


class Engine(Protocol):
    """A model, wherever it computes.

    Attributes:
        model: what computes.
        feature_extractor: makes batches of clips for it.
        device, dtype: of the computation.
        commit: of the repository that the model came from, where it is known.
        sampling_rate: of the clips, in Hz.
        grid: of the frames.
        num_layers: the deepest layer.
        may_pad: whether a clip with padding has the features that it has alone.
        context_seconds: length of the clips that the model was trained on, where it is known.
        remedy: what may help where features are not finite.
    """

    model: Any
    feature_extractor: Any
    device: torch.device
    dtype: torch.dtype
    commit: str | None
    sampling_rate: int
    grid: FrameGrid
    num_layers: int
    may_pad: bool
    context_seconds: float | None
    remedy: str

    def up_to(self, deepest: int | None = None) -> LayersUpTo:
        """For one call: computes the layers up to `deepest`, and more where it cannot do otherwise."""

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of what makes its features."""


class TorchEngine:
    """A model of transformers, left as it is; see [`Engine`]. Every call computes with the weights that it has then."""

    remedy = "give MusicEncoder(..., dtype=torch.float32), and see that the weights are finite"

    def __init__(self, model: PreTrainedModel, feature_extractor, title: str, device: torch.device, dtype: torch.dtype):
        _require_frames(model, title)
        self.model, self.feature_extractor, self._title = model, feature_extractor, title
        self.device, self.dtype = device, dtype
        config, frozen = model.config, self.up_to()
        self.sampling_rate, self.grid = frozen.sampling_rate, frozen.grid
        self.commit = getattr(config, "_commit_hash", None)
        self.context_seconds = getattr(config, "context_seconds", None)
        self.may_pad = ignores_padding(config)

    @property
    def num_layers(self) -> int:
        return len(blocks_of(self.model))

    def up_to(self, deepest: int | None = None) -> FrozenEncoder:
        return FrozenEncoder(self.model, self.feature_extractor, self._title, self.device, self.dtype, deepest)

    def fingerprint(self) -> str:
        return weights_fingerprint(self.model)


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
    dtype, device = _dtype(dtype), _device(device)
    if isinstance(model, nn.Module):
        if feature_extractor is None:
            raise InputError("a loaded model needs its feature extractor: MusicEncoder(model, feature_extractor).")
        title = type(model).__name__
        return TorchEngine(base_of(model, title), feature_extractor, title, device or fastest_device(), dtype)
    if _is_onnx(model):
        if feature_extractor is not None or revision is not None:
            raise InputError(f"{model} holds all that is to know of it; leave feature_extractor and revision out.")
        return OnnxEngine(model, device, dtype)
    loaded, feature_extractor = _load(model, feature_extractor, dtype, revision)
    device = device or fastest_device()
    return TorchEngine(loaded.to(device).eval(), feature_extractor, str(model), device, dtype)


def ignores_padding(config: PreTrainedConfig) -> bool:
    """Whether padding leaves a clip's features as they are: always in MERT-v2, and in MERT unless `padding_invariant` is off.

    Where the first convolution is normalised over time, as in HuBERT base and wav2vec2 base, it changes all of them.
    """
    return bool(getattr(config, "padding_invariant", False)) or getattr(config, "feat_extract_norm", None) == "layer"


def fastest_device() -> torch.device:
    """Of those that torch finds."""
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def _is_onnx(model: object) -> bool:
    return isinstance(model, (str, os.PathLike)) and Path(model).suffix.lower() == ".onnx" and as_folder(model) is None


def _dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise InputError(f"dtype={reprlib.repr(dtype)} is no floating-point type of torch; give float32, bfloat16 or float16.")
    return found


def _device(device: str | torch.device | None) -> torch.device | None:
    try:
        return None if device is None else torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f'device={reprlib.repr(device)} is none that torch knows; give "cpu", "cuda" or "mps".') from None


def _require_frames(model: PreTrainedModel, name: str) -> None:
    config = model.config
    if blocks_of(model) is None or FrameGrid.of(config, 1) is None:
        raise InputError(
            f"{name} is a {config.model_type!r} model; MusicEncoder takes those that hear raw audio through convolutions, such"
            " as MERT, HuBERT, wav2vec2, data2vec-audio and WavLM, and MERT-v2."
        )


def _load(name, feature_extractor, dtype: torch.dtype, revision: str | None):
    model = load_model(AutoModel, name, may_lack=UNUSED_WEIGHTS, dtype=dtype, revision=revision)
    _require_frames(model, name)
    if feature_extractor is None:
        feature_extractor = load_extractor(name, revision=revision)
    if isinstance(model.config, (MERTConfig, MERT2Config)):
        feature_extractor = MERTFeatureExtractor.for_model(feature_extractor, model.config)
    note_licence(name)
    return model, feature_extractor
