"""MERT, the self-supervised music understanding model, native to Hugging Face.

`import mert_hf` is all it takes for `AutoModel.from_pretrained` and `pipeline("feature-extraction")` to know MERT, v0 to v2. It
imports neither torch nor transformers: the models are registered as soon as transformers is imported, by whomever.
"""

import importlib
import sys
from typing import TYPE_CHECKING

from mert_hf.former_names import FormerNames
from mert_hf.late_registration import register_now_or_later

if TYPE_CHECKING:
    from mert_hf.encoding.encoder import MusicEncoder
    from mert_hf.encoding.released import find_model
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
    "find_model",
]

# where each of these names, and `register`, is defined; "" where the name is the module
_PLACES = {
    "encoding.encoder": ("MusicEncoder",),
    "encoding.released": ("find_model",),
    "models": ("",),
    "models.configuration_mert": ("MERTConfig",),
    "models.configuration_mert2": ("MERT2Config",),
    "models.configuration_multiview": ("MultiViewConfig",),
    "models.feature_extraction_mert": ("MERTFeatureExtractor",),
    "models.modeling_mert": (
        *("MERTForAudioFrameClassification", "MERTForPreTraining", "MERTForSequenceClassification", "MERTModel"),
    ),
    "models.modeling_mert2": (
        *("MERT2ForAudioFrameClassification", "MERT2ForPreTraining", "MERT2ForSequenceClassification", "MERT2Model"),
    ),
    "models.modeling_multiview": ("MultiViewModel",),
    "models.pipeline_mert": ("MERTFeatureExtractionPipeline",),
    "registration": ("", "register"),
}
_MODULE_OF = {name or module: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> object:
    """A public name, loaded when it is first asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import transformers  # noqa: F401, first, so that the registration finds no module of models/ half loaded

    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    found = module if name == _MODULE_OF[name] else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
    sys.meta_path.append(FormerNames())
register_now_or_later()
