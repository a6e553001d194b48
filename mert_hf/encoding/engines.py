"""What [`MusicEncoder`] asks of whatever computes hidden states: a model in torch, or an ONNX file in onnxruntime."""

from typing import Any, Protocol

import torch

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
        hidden_size: numbers of a frame.
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
    hidden_size: int
    may_pad: bool
    context_seconds: float | None
    remedy: str

    def up_to(self, deepest: int | None = None) -> LayersUpTo:
        """For one call: computes the layers up to `deepest`, and more where it cannot do otherwise."""

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of what makes its features."""
