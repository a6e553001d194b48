"""MERT."""

import torch

from mert_hf.architectures.base import Architecture
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_mert import (
    MERTForAudioFrameClassification,
    MERTForPreTraining,
    MERTForSequenceClassification,
    MERTModel,
)


class MERT(Architecture):
    """As in [`Architecture`]."""

    config_class = MERTConfig
    model_class = MERTModel
    pretraining_class = MERTForPreTraining
    clip_classifier = MERTForSequenceClassification
    frame_classifier = MERTForAudioFrameClassification
    attention_projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    fresh_fields = {"feature_extractor_cqt_tolerance": 1e-3}  # the input's spectrum as the teacher's
    embeds_clips = True

    def sampling_rate(self, config):
        return config.sample_rate

    def make_extractor(self, config):
        return MERTFeatureExtractor(sampling_rate=config.sample_rate)

    def count_frames(self, model, samples):
        return model.count_frames(samples)

    def layers(self, model):
        return list(model.base_model.encoder.layers)

    def embed(self, model, waveforms):
        """The mean of the frames."""
        frames = model.count_frames(waveforms.shape[1])
        # an empty mask: without one, HuBERT would draw its own from numpy's global state
        mask = torch.zeros(len(waveforms), frames, dtype=torch.bool, device=waveforms.device)
        return model(waveforms, mask_time_indices=mask).last_hidden_state.mean(1)
