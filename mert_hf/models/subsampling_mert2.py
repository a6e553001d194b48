"""The subsampler of MERT-v2: three stages of ConvNeXt layers between the mel spectrum (100 Hz) and the Conformer (25 Hz).

Modules are numbered as in the published weights. `valid`, (batch, frames, 1) of 1 and 0, says which frames are a clip's own:
padding is zero wherever frames meet, in convolutions over time and in the norm over the whole clip, so that a padded clip
gives what it gives alone. None where there is no padding.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from .configuration_mert2 import MERT2Config

# Of the published models, and no field of their configuration.
DEPTHWISE_KERNEL, EXPANSION, STRIDE = 7, 4, 2
NORM_EPS = 1e-6


class MERT2GlobalResponseNorm(nn.Module):
    """Channels compete: each is weighed by its norm over the whole clip, relative to the mean of all (ConvNeXt V2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, channels))
        self.bias = nn.Parameter(torch.zeros(1, 1, channels))

    def forward(self, states: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, channels) -> the same."""
        heard = states if valid is None else states * valid
        norms = torch.linalg.vector_norm(heard, dim=1, keepdim=True, dtype=torch.promote_types(states.dtype, torch.float32))
        share = (norms / (norms.mean(-1, keepdim=True) + NORM_EPS)).to(states.dtype)
        return self.weight * (states * share) + self.bias + states


class MERT2ConvNeXtLayer(nn.Module):
    """A convolution over time in each channel, then two linear layers in each frame, added to what came in."""

    def __init__(self, channels: int, eps: float):
        super().__init__()
        convolution = nn.Conv1d(channels, channels, DEPTHWISE_KERNEL, padding=DEPTHWISE_KERNEL // 2, groups=channels)
        self.depthwise_block = nn.ModuleDict({"1": convolution})
        self.pointwise_block = nn.ModuleDict(
            {
                "0": nn.LayerNorm(channels, eps=eps),
                "1": nn.Linear(channels, EXPANSION * channels),
                "3": MERT2GlobalResponseNorm(EXPANSION * channels),
                "4": nn.Linear(EXPANSION * channels, channels),
            }
        )

    def forward(self, states: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, channels) -> the same."""
        heard = states if valid is None else states * valid
        norm, widen, compete, narrow = self.pointwise_block.values()
        frames = self.depthwise_block["1"](heard.mT).mT
        return states + narrow(compete(F.gelu(widen(norm(frames))), valid))


class MERT2SubsamplingStage(nn.Module):
    """Halves the frames, in the second and the third stage, and passes them through ConvNeXt layers."""

    def __init__(self, config: MERT2Config, stage: int):
        super().__init__()
        width, eps = config.subsampling_channels[stage], config.subsampling_layer_norm_eps
        self.resampling_layer = None
        if stage > 0:
            before = config.subsampling_channels[stage - 1]
            halve = nn.Conv1d(before, width, STRIDE, stride=STRIDE)
            self.resampling_layer = nn.ModuleDict({"0": nn.LayerNorm(before, eps=eps), "2": halve})
        layers = (MERT2ConvNeXtLayer(width, eps) for _ in range(config.subsampling_depths[stage]))
        self.convnext_layers = nn.ModuleList(layers)

    def halve(self, states: torch.Tensor) -> torch.Tensor:
        """(batch, frames, channels) -> (batch, frames // 2, width); the same in the first stage."""
        if self.resampling_layer is None:
            return states
        norm, convolution = self.resampling_layer.values()
        return convolution(norm(states).mT).mT

    def forward(self, states: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, frames, channels), halved, -> (batch, frames, width)."""
        for layer in self.convnext_layers:
            states = layer(states, valid)
        return states


class MERT2Subsampling(nn.ModuleList):
    """All three stages."""

    def __init__(self, config: MERT2Config):
        super().__init__(MERT2SubsamplingStage(config, stage) for stage in range(len(config.subsampling_depths)))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that the spectrum meets first."""
        return self[0].convnext_layers[0].depthwise_block["1"].weight.dtype

    def forward(self, mel: torch.Tensor, num_mel_frames: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, mel frames, bands) -> (batch, mel frames // 4, hidden); padding comes out as zeros.

        Args:
            mel: what [`MERT2MelSpectrum`] gives.
            num_mel_frames: (batch,) of each clip; what lies behind is padding. None: all.
        """
        states, frames, valid = mel.to(self.dtype), num_mel_frames, None
        for number, stage in enumerate(self):
            states = stage.halve(states)
            if frames is not None:
                frames = frames if number == 0 else frames // STRIDE
                valid = mark_frames(frames, states.shape[1]).unsqueeze(-1).to(states.dtype)
                # not by multiplication: what lies in padding may be infinite
                states = states.masked_fill(valid == 0, 0.0)
            states = stage(states, valid)
        return states if valid is None else states * valid


def mark_frames(num_frames: torch.Tensor, length: int) -> torch.Tensor:
    """(batch,) numbers of frames -> (batch, length) bool, True where a frame is a clip's own."""
    return torch.arange(length, device=num_frames.device) < num_frames.unsqueeze(-1)


__all__ = ["MERT2Subsampling", "mark_frames"]
