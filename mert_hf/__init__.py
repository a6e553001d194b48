"""MERT, the self-supervised music understanding model, native to Hugging Face.

`import mert_hf` is all it takes for `AutoModel.from_pretrained` and `pipeline("feature-extraction")` to know MERT, v0 to v2.
"""

import sys
from typing import TYPE_CHECKING

from mert_hf.former_names import FormerNames
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
from mert_hf.registration import register

if TYPE_CHECKING:
    from mert_hf.encoding.encoder import MusicEncoder

register()
sys.meta_path.append(FormerNames())

__version__ = "0.1.0"

__all__ = [
    "MERT2Config",
    "MERT2ForAudioFrameClassification",
    "MERT2ForPreTraining",
    "MERT2ForSequenceClassification",
    "MERT2Model",
    "MERTConfig",
    "MERTFeatureExtractionPipeline",
    "MERTFeatureExtractor",
    "MERTForAudioFrameClassification",
    "MERTForPreTraining",
    "MERTForSequenceClassification",
    "MERTModel",
    "MultiViewConfig",
    "MultiViewModel",
    "MusicEncoder",
]


def __getattr__(name: str) -> object:
    """`MusicEncoder`, loaded when it is first asked for."""
    if name == "MusicEncoder":
        from mert_hf.encoding.encoder import MusicEncoder

        return MusicEncoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
