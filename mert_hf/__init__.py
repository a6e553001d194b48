"""MERT, the self-supervised music understanding model, native to Hugging Face.

`import mert_hf` is all it takes for `AutoModel.from_pretrained` and `pipeline("feature-extraction")` to know MERT.
"""

from mert_hf.configuration_mert import MERTConfig
from mert_hf.configuration_multiview import MultiViewConfig
from mert_hf.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.modeling_mert import (
    MERTForAudioFrameClassification,
    MERTForPreTraining,
    MERTForSequenceClassification,
    MERTModel,
)
from mert_hf.modeling_multiview import MultiViewModel
from mert_hf.pipeline_mert import MERTFeatureExtractionPipeline
from mert_hf.registration import register

register()

__version__ = "0.1.0"

__all__ = [
    "MERTConfig",
    "MERTFeatureExtractionPipeline",
    "MERTFeatureExtractor",
    "MERTForAudioFrameClassification",
    "MERTForPreTraining",
    "MERTForSequenceClassification",
    "MERTModel",
    "MultiViewConfig",
    "MultiViewModel",
]
