"""What a saved folder says about its code, so that it loads with nothing but transformers and `trust_remote_code=True`.

transformers copies the file that defines a saved model, and all files it imports, beside the weights. The modelling file
imports this one and this one imports the others: that is how they all travel.
"""

from .configuration_mert import MERTConfig
from .feature_extraction_mert import MERTFeatureExtractor
from .pipeline_mert import MERTFeatureExtractionPipeline


def _reference(cls: type) -> str:
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


# Auto class -> class; complete in every checkpoint: transformers alone would name only the class that was saved, and
# AutoModel would then not find its way into a checkpoint of MERTForPreTraining.
AUTO_MAP = {
    "AutoConfig": _reference(MERTConfig),
    "AutoFeatureExtractor": _reference(MERTFeatureExtractor),
    "AutoModel": "modeling_mert.MERTModel",
    "AutoModelForPreTraining": "modeling_mert.MERTForPreTraining",
    "AutoModelForAudioClassification": "modeling_mert.MERTForSequenceClassification",
    "AutoModelForAudioFrameClassification": "modeling_mert.MERTForAudioFrameClassification",
}

# task -> pipeline, in the form of config.json
CUSTOM_PIPELINES = {
    task: {**entry, "impl": _reference(entry["impl"]), "pt": [cls.__name__ for cls in entry["pt"]]}
    for task, entry in MERTFeatureExtractionPipeline._registered_impl.items()
}
