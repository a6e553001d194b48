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
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.pipelines import PIPELINE_REGISTRY

from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.configuration_mert2 import MERT2Config
from mert_hf.models.configuration_multiview import MultiViewConfig
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_mert import (
    MERTForAudioFrameClassification,
    MERTForPreTraining,
    MERTForSequenceClassification,
    MERTModel,
)
from mert_hf.models.modeling_mert2 import (
    MERT2ForAudioFrameClassification,
    MERT2ForPreTraining,
    MERT2ForSequenceClassification,
    MERT2Model,
)
from mert_hf.models.modeling_multiview import MultiViewModel
from mert_hf.models.pipeline_mert import MERTFeatureExtractionPipeline

# What is registered of every family: its configuration, and the class that each Auto class gives.
MODELS: dict[type[PreTrainedConfig], dict[type, type[PreTrainedModel]]] = {
    MERTConfig: {
        AutoModel: MERTModel,
        AutoModelForPreTraining: MERTForPreTraining,
        AutoModelForAudioClassification: MERTForSequenceClassification,
        AutoModelForAudioFrameClassification: MERTForAudioFrameClassification,
    },
    MERT2Config: {
        AutoModel: MERT2Model,
        AutoModelForPreTraining: MERT2ForPreTraining,
        AutoModelForAudioClassification: MERT2ForSequenceClassification,
        AutoModelForAudioFrameClassification: MERT2ForAudioFrameClassification,
    },
    MultiViewConfig: {AutoModel: MultiViewModel},
}


class FeatureExtraction(FeatureExtractionPipeline):
    """The task "feature-extraction" with this package's models known: they get MERT's pipeline, all others transformers' own.

    transformers holds one implementation a task, and its own loads a tokenizer and fails on audio models. Assets are loaded
    softly (None instead of an error), because at that moment the model's kind is not known to the class.
    """

    _load_tokenizer = None
    _load_feature_extractor = None

    def __new__(cls, model, tokenizer=None, feature_extractor=None, **kwargs):
        """Return the pipeline that fits the model, not an instance of this class."""
        if isinstance(model.config, tuple(MODELS)):
            if feature_extractor is None:
                # loaded again so that its own error surfaces, and not from another revision than the model
                revision = getattr(model.config, "_commit_hash", None)
                feature_extractor = AutoFeatureExtractor.from_pretrained(model.config.name_or_path, revision=revision)
            feature_extractor = MERTFeatureExtractor.for_model(feature_extractor, model.config)
            return MERTFeatureExtractionPipeline(model=model, feature_extractor=feature_extractor, **kwargs)
        if tokenizer is None:
            revision = getattr(model.config, "_commit_hash", None)
            tokenizer = AutoTokenizer.from_pretrained(model.config.name_or_path, revision=revision)
        return FeatureExtractionPipeline(model=model, tokenizer=tokenizer, **kwargs)


def register() -> None:
    """Register the models with the Auto classes and MERT's pipeline with the task "feature-extraction"; safe to call again.

    What is saved from then on carries its code: transformers copies the files of classes that name their Auto class.
    """
    for config_class, models in MODELS.items():
        config_class.register_for_auto_class("AutoConfig")
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        AutoFeatureExtractor.register(config_class, MERTFeatureExtractor, exist_ok=True)
        for auto_class, model_class in models.items():
            model_class.register_for_auto_class(auto_class.__name__)
            auto_class.register(config_class, model_class, exist_ok=True)
    MERTFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
    # set in place: register_pipeline would warn about the task it replaces and drop the task's default model
    PIPELINE_REGISTRY.supported_tasks["feature-extraction"]["impl"] = FeatureExtraction
