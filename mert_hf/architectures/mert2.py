"""MERT-v2, which hears music at 25 frames a second."""

from mert_hf.architectures.base import Architecture
from mert_hf.models.configuration_mert2 import MERT2Config
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_mert2 import (
    MERT2ForAudioFrameClassification,
    MERT2ForPreTraining,
    MERT2ForSequenceClassification,
    MERT2Model,
)

SMALL = MERT2Config.small()


class MERT2(Architecture):
    """A Conformer on a mel spectrum, 25 frames a second; a clip's vector is the mean of its frames."""

    config_class = MERT2Config
    model_class = MERT2Model
    pretraining_class = MERT2ForPreTraining
    clip_classifier = MERT2ForSequenceClassification
    frame_classifier = MERT2ForAudioFrameClassification
    attention_projections = ("query_proj", "key_proj", "value_proj", "out_proj")
    # without statistics of music, the decibels of quiet bands would be all that is heard
    fresh_fields = {"mel_mean_db": SMALL.mel_mean_db, "mel_std_db": SMALL.mel_std_db}
    embeds_clips = True
    can_drop_frames = True

    def sampling_rate(self, config):
        return config.sampling_rate

    def make_extractor(self, config):
        return MERTFeatureExtractor(sampling_rate=config.sampling_rate, min_samples=config.minimum_input_samples)

    def count_frames(self, model, samples):
        return model.count_frames(samples)

    def layers(self, model):
        return list(model.base_model.layers)

    def embed(self, model, waveforms):
        return model(waveforms).last_hidden_state.mean(1)

    def embed_frames(self, model, waveforms, kept_frames):
        return model(waveforms, kept_frames=kept_frames).last_hidden_state.mean(1)
