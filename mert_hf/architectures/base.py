"""What every architecture says of itself."""

from typing import ClassVar

import torch
import torch.nn as nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin


class Architecture:
    """A kind of encoder: its classes, its rate, its feature extractor, its layers. Made once, for all models of the kind.

    Attributes:
        config_class: of its configurations.
        model_class: of the encoder alone.
        pretraining_class: of the encoder with the heads of masked prediction; None where it has none.
    """

    config_class: ClassVar[type[PreTrainedConfig]]
    model_class: ClassVar[type[PreTrainedModel]]
    pretraining_class: ClassVar[type[PreTrainedModel] | None] = None

    def sampling_rate(self, config: PreTrainedConfig) -> int:
        """Samples per second of the audio that a model hears."""
        raise NotImplementedError

    def make_extractor(self, config: PreTrainedConfig) -> FeatureExtractionMixin:
        """The feature extractor that a model is published with."""
        raise NotImplementedError

    def count_frames(self, model: PreTrainedModel, samples: int) -> int:
        """Frames of a clip."""
        raise NotImplementedError

    def layers(self, model: PreTrainedModel) -> list[nn.Module]:
        """The blocks that repeat: compiled one by one, and kept together where weights are sharded. [] where there are none."""
        return []

    def embed(self, model: PreTrainedModel, waveforms: torch.Tensor) -> torch.Tensor:
        """One vector a clip: (batch, samples) -> (batch, hidden)."""
        raise NotImplementedError


__all__ = ["Architecture"]
