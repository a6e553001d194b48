"""transformers' Data2VecAudio, which music2vec is published as."""

from transformers import Data2VecAudioConfig, Data2VecAudioModel, Wav2Vec2FeatureExtractor

from mert_hf.architectures.base import Architecture

# The configuration of Data2VecAudio does not say it; data2vec and music2vec hear 16 kHz.
SAMPLING_RATE = 16000


class Data2VecAudio(Architecture):
    """As in [`Architecture`]."""

    config_class = Data2VecAudioConfig
    model_class = Data2VecAudioModel

    def sampling_rate(self, config):
        return SAMPLING_RATE

    def make_extractor(self, config):
        """The stock one, which scales clips as the training does."""
        return Wav2Vec2FeatureExtractor(sampling_rate=SAMPLING_RATE, do_normalize=True, return_attention_mask=True)

    def count_frames(self, model, samples):
        return int(model._get_feat_extract_output_lengths(samples))

    def layers(self, model):
        return list(model.encoder.layers)
