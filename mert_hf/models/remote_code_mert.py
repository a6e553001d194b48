"""What a saved folder says about its code, so that it loads with nothing but transformers and `trust_remote_code=True`.

It is written anew whenever something is saved, never taken over from what was loaded: a base may name the code of another
repository, which would run on the machine of whoever reads what is made of it. transformers copies the file that defines what
is saved, and all files it imports, beside the weights: the modelling files import the others, and that is how they all travel.
"""

# Auto class -> class; complete in every checkpoint: transformers alone would name only the class that was saved, and
# AutoModel would then not find its way into a checkpoint of MERTForPreTraining.
AUTO_MAP = {
    "AutoConfig": "configuration_mert.MERTConfig",
    "AutoFeatureExtractor": "feature_extraction_mert.MERTFeatureExtractor",
    "AutoModel": "modeling_mert.MERTModel",
    "AutoModelForPreTraining": "modeling_mert.MERTForPreTraining",
    "AutoModelForAudioClassification": "modeling_mert.MERTForSequenceClassification",
    "AutoModelForAudioFrameClassification": "modeling_mert.MERTForAudioFrameClassification",
}
MERT2_AUTO_MAP = {
    "AutoConfig": "configuration_mert2.MERT2Config",
    "AutoFeatureExtractor": "feature_extraction_mert.MERTFeatureExtractor",
    "AutoModel": "modeling_mert2.MERT2Model",
    "AutoModelForPreTraining": "modeling_mert2.MERT2ForPreTraining",
    "AutoModelForAudioClassification": "modeling_mert2.MERT2ForSequenceClassification",
    "AutoModelForAudioFrameClassification": "modeling_mert2.MERT2ForAudioFrameClassification",
}
MULTIVIEW_AUTO_MAP = {
    "AutoConfig": "configuration_multiview.MultiViewConfig",
    "AutoFeatureExtractor": "feature_extraction_mert.MERTFeatureExtractor",
    "AutoModel": "modeling_multiview.MultiViewModel",
}
AUTO_MAPS = (AUTO_MAP, MERT2_AUTO_MAP, MULTIVIEW_AUTO_MAP)

# task -> pipeline, in the form of config.json
CUSTOM_PIPELINES = {
    "feature-extraction": {"impl": "pipeline_mert.MERTFeatureExtractionPipeline", "pt": ["AutoModel"], "type": "audio"}
}

# Fields by which saved files name code; transformers keeps them of whatever it has loaded.
CODE_FIELDS = ("auto_map", "custom_pipelines", "processor_class")


def name_code(config, auto_map: dict[str, str]) -> None:
    """Let a configuration that is being saved name this code, and nothing else."""
    config.auto_map = dict(auto_map)
    config.custom_pipelines = {task: dict(entry) for task, entry in CUSTOM_PIPELINES.items()}
