"""The ResNet of Deezer's comparison, which gives one vector a clip."""

from mert_hf.architectures.base import Architecture
from mert_hf.models.configuration_multiview import MultiViewConfig
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_multiview import MultiViewModel


class ResNet(Architecture):
    """As in [`Architecture`]."""

    config_class = MultiViewConfig
    model_class = MultiViewModel
    fresh_fields = {"peak_normalize": True}  # loudness tells tracks apart too easily: Deezer scales whole tracks
    embeds_clips = True

    def sampling_rate(self, config):
        return config.sample_rate

    def make_extractor(self, config):
        """As in [`Architecture`]; clips of any length are taken."""
        return MERTFeatureExtractor(sampling_rate=config.sample_rate, min_samples=1)

    def embed(self, model, waveforms):
        """Its only output."""
        return model(waveforms).pooler_output
