"""music2vec: data2vec on music."""

from transformers import Data2VecAudioConfig, Data2VecAudioModel, Wav2Vec2FeatureExtractor

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import seed_torch
from mert_hf.objectives import Data2Vec
from mert_hf.objectives.masking import SpanMasking
from mert_hf.pretraining.initial_weights import build_model, make_config, read_config
from mert_hf.pretraining.jobs.base import Job

# The configuration of Data2VecAudio does not say it; data2vec and music2vec hear 16 kHz.
SAMPLING_RATE = 16000


class Data2VecJob(Job):
    """A [`mert_hf.objectives.Data2Vec`] around a model of transformers, which is what is published."""

    model_class = Data2VecAudioModel
    sampling_rate = SAMPLING_RATE

    def __init__(self, settings):
        super().__init__(settings)
        given = read_config(Data2VecAudioConfig, settings.init) or {}
        self.config = make_config(Data2VecAudioConfig, settings.model, given)
        if settings.training.compile != "no":
            raise InputError("training.compile is for MERT encoders; leave it out with objective=data2vec.")
        self.description = f"moving average of the student, mean of its last {settings.data2vec.top_layers} layers"

    def build(self, device):
        """As in [`Job`]."""
        settings = self.settings
        model = build_model(self.model_class, self.config, settings)
        masking = SpanMasking(**vars(settings.masking))
        shortest = round(min(settings.data.crop_s, settings.data.min_track_s) * SAMPLING_RATE)
        masking.require_room(int(model._get_feat_extract_output_lengths(shortest)))
        seed_torch(settings.training.seed, "head")
        return Data2Vec(model, masking, **vars(settings.data2vec))

    def make_extractor(self):
        """The stock one, which scales clips as the training does."""
        return Wav2Vec2FeatureExtractor(sampling_rate=SAMPLING_RATE, do_normalize=True, return_attention_mask=True)
