"""A model of transformers as [`MusicEncoder`] computes it."""

import os

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from mert_hf.common.errors import InputError
from mert_hf.encoding.engines import Engine
from mert_hf.encoding.fingerprint import weights_fingerprint
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.encoding.licences import note_licence
from mert_hf.encoding.loading import UNUSED_WEIGHTS, load_extractor, load_model, require_repository
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.configuration_mert2 import MERT2Config
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.views_mert import blocks_of
from mert_hf.models.windows_mert import FrameGrid


class TorchEngine(Engine):
    """A model of transformers, left as it is; see [`Engine`]. Every call computes with the weights that it has then."""

    remedy = "give MusicEncoder(..., dtype=torch.float32), and see that the weights are finite"

    def __init__(self, model: PreTrainedModel, feature_extractor, title: str, device: torch.device, dtype: torch.dtype):
        _require_frames(model, title)
        self.model, self.feature_extractor, self._title = model, feature_extractor, title
        self.device, self.dtype = device, dtype
        config, frozen = model.config, self.up_to()
        self.sampling_rate, self.grid = frozen.sampling_rate, frozen.grid
        self.commit = getattr(config, "_commit_hash", None)
        self.context_seconds = getattr(config, "context_seconds", None)
        self.hidden_size = config.hidden_size
        self.may_pad = ignores_padding(config)

    @property
    def num_layers(self) -> int:
        """The deepest layer."""
        return len(blocks_of(self.model))

    def up_to(self, deepest: int | None = None) -> FrozenEncoder:
        return FrozenEncoder(self.model, self.feature_extractor, self._title, self.device, self.dtype, deepest)

    def fingerprint(self) -> str:
        return weights_fingerprint(self.model)

    @classmethod
    def load(
        cls, name: str | os.PathLike, feature_extractor, device: torch.device, dtype: torch.dtype, revision: str | None
    ) -> "TorchEngine":
        """The model of a folder or a repository, with its own feature extractor where none is given.

        Raises:
            InputError: it cannot be loaded, lacks weights, or does not tell how audio becomes frames.
        """
        require_repository(name, revision)
        model = load_model(AutoModel, name, may_lack=UNUSED_WEIGHTS, dtype=dtype, revision=revision)
        _require_frames(model, str(name))
        if feature_extractor is None:
            feature_extractor = load_extractor(name, revision=revision)
        if isinstance(model.config, (MERTConfig, MERT2Config)):
            feature_extractor = MERTFeatureExtractor.for_model(feature_extractor, model.config)
        note_licence(name)
        return cls(model.to(device).eval(), feature_extractor, str(name), device, dtype)


def ignores_padding(config: PreTrainedConfig) -> bool:
    """Whether padding leaves a clip's features as they are: always in MERT-v2, and in MERT unless `padding_invariant` is off.

    Where the first convolution is normalised over time, as in HuBERT base and wav2vec2 base, it changes all of them.
    """
    return bool(getattr(config, "padding_invariant", False)) or getattr(config, "feat_extract_norm", None) == "layer"


def _require_frames(model: PreTrainedModel, name: str) -> None:
    config = model.config
    if blocks_of(model) is None or FrameGrid.of(config, 1) is None:
        raise InputError(
            f"{name} is a {config.model_type!r} model; MusicEncoder takes those that hear raw audio through convolutions, such"
            " as MERT, HuBERT, wav2vec2, data2vec-audio and WavLM, and MERT-v2."
        )
