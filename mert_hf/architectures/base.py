"""What every architecture says of itself."""

from typing import Any, ClassVar

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
        clip_classifier, frame_classifier: of the encoder with a head on labelled music; None where it has none.
        attention_projections: names of the linear layers of its attention, which LoRA adapts.
        fresh_fields: fields of the configuration that differ from its defaults where weights are fresh.
        embeds_clips: whether it gives one vector a clip.
        can_drop_frames: whether it gives that of some frames of a clip alone, for the price of those.
    """

    config_class: ClassVar[type[PreTrainedConfig]]
    model_class: ClassVar[type[PreTrainedModel]]
    pretraining_class: ClassVar[type[PreTrainedModel] | None] = None
    clip_classifier: ClassVar[type[PreTrainedModel] | None] = None
    frame_classifier: ClassVar[type[PreTrainedModel] | None] = None
    attention_projections: ClassVar[tuple[str, ...]] = ()
    fresh_fields: ClassVar[dict[str, Any]] = {}
    embeds_clips: ClassVar[bool] = False
    can_drop_frames: ClassVar[bool] = False

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

    def embed_frames(self, model: PreTrainedModel, waveforms: torch.Tensor, kept_frames: torch.Tensor) -> torch.Tensor:
        """One vector for some frames of a clip, where `can_drop_frames`.

        Args:
            waveforms: (batch, samples).
            kept_frames: (views * batch, kept) int64, in ascending order; row v * batch + i is view v of clip i.

        Returns:
            (views * batch, hidden).
        """
        raise NotImplementedError


__all__ = ["Architecture"]
