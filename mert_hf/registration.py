"""Makes transformers' Auto classes and pipelines know the models of this package; runs once, on `import mert_hf`."""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    AutoModelForPreTraining,
    AutoTokenizer,
    FeatureExtractionPipeline,
)
from transformers.pipelines import PIPELINE_REGISTRY

from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.configuration_multiview import MultiViewConfig
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_mert import (
    MERTForAudioFrameClassification,
    MERTForPreTraining,
    MERTForSequenceClassification,
    MERTModel,
)
from mert_hf.models.modeling_multiview import MultiViewModel
from mert_hf.models.pipeline_mert import MERTFeatureExtractionPipeline


class FeatureExtraction(FeatureExtractionPipeline):
    """The task "feature-extraction" with this package's models known: they get MERT's pipeline, all others transformers' own.

    transformers holds one implementation a task, and its own loads a tokenizer and fails on audio models. Assets are loaded
    softly (None instead of an error), because at that moment the model's kind is not known to the class.
    """

    _load_tokenizer = None
    _load_feature_extractor = None

    def __new__(cls, model, tokenizer=None, feature_extractor=None, **kwargs):
        """Return the pipeline that fits the model, not an instance of this class."""
        if isinstance(model.config, (MERTConfig, MultiViewConfig)):
            if feature_extractor is None:
                # loaded again so that its own error surfaces, and not from another revision than the model
                revision = getattr(model.config, "_commit_hash", None)
                feature_extractor = AutoFeatureExtractor.from_pretrained(model.config.name_or_path, revision=revision)
            if not isinstance(feature_extractor, MERTFeatureExtractor):
                # published repositories name Wav2Vec2FeatureExtractor: the same settings, without the checks
                feature_extractor = MERTFeatureExtractor.from_dict(feature_extractor.to_dict())
            return MERTFeatureExtractionPipeline(model=model, feature_extractor=feature_extractor, **kwargs)
        if tokenizer is None:
            revision = getattr(model.config, "_commit_hash", None)
            tokenizer = AutoTokenizer.from_pretrained(model.config.name_or_path, revision=revision)
        return FeatureExtractionPipeline(model=model, tokenizer=tokenizer, **kwargs)


def register() -> None:
    """Register the models with the Auto classes and MERT's pipeline with the task "feature-extraction"; safe to call again.

    What is saved from then on carries its code: transformers copies the files of classes that name their Auto class.
    """
    MERTConfig.register_for_auto_class("AutoConfig")
    MERTModel.register_for_auto_class("AutoModel")
    MERTForPreTraining.register_for_auto_class("AutoModelForPreTraining")
    MERTForSequenceClassification.register_for_auto_class("AutoModelForAudioClassification")
    MERTForAudioFrameClassification.register_for_auto_class("AutoModelForAudioFrameClassification")
    MERTFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
    MultiViewConfig.register_for_auto_class("AutoConfig")
    MultiViewModel.register_for_auto_class("AutoModel")
    AutoConfig.register(MERTConfig.model_type, MERTConfig, exist_ok=True)
    AutoModel.register(MERTConfig, MERTModel, exist_ok=True)
    AutoModelForPreTraining.register(MERTConfig, MERTForPreTraining, exist_ok=True)
    AutoModelForAudioClassification.register(MERTConfig, MERTForSequenceClassification, exist_ok=True)
    AutoModelForAudioFrameClassification.register(MERTConfig, MERTForAudioFrameClassification, exist_ok=True)
    AutoFeatureExtractor.register(MERTConfig, MERTFeatureExtractor, exist_ok=True)
    AutoConfig.register(MultiViewConfig.model_type, MultiViewConfig, exist_ok=True)
    AutoModel.register(MultiViewConfig, MultiViewModel, exist_ok=True)
    AutoFeatureExtractor.register(MultiViewConfig, MERTFeatureExtractor, exist_ok=True)
    # set in place: register_pipeline would warn about the task it replaces and drop the task's default model
    PIPELINE_REGISTRY.supported_tasks["feature-extraction"]["impl"] = FeatureExtraction
