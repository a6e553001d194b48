"""Music in scikit-learn: paths and waveforms to a matrix of features, as the first step of a pipeline."""

import os
from typing import Any

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.encoding.chosen_layers import ChosenLayers, Layers
from mert_hf.encoding.released import DEFAULT_MODEL
from mert_hf.integrations.lazy_encoder import LazyEncoder
from mert_hf.integrations.vectors import STATISTICS, require_vector_pool
from mert_hf.models.audio_inputs_mert import items_of
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S

require_packages("train", "sklearn")

from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402 (after it is asked for)


class MusicFeatures(TransformerMixin, BaseEstimator):
    """Features of music by [`MusicEncoder.encode`], as a transformer of scikit-learn.

    Nothing is learned: `fit` only looks at the parameters. The model is loaded when the first music is transformed; `clone`
    and pickles hold its name, not its weights. Whoever searches over what follows spares much with
    `make_pipeline(MusicFeatures(), ..., memory="cache")`.

    Args:
        model: a folder, a released model or a repository of the Hub.
        layers, pool, batch_size, normalize, sampling_rate, window_s, overlap_s: as in [`MusicEncoder.encode`]. `pool` is "mean"
            or "mean_std"; several layers are joined to one row.
        device, dtype: as in [`MusicEncoder`].
        progress: show a progress bar.

    Example:
        ```python
        classifier = make_pipeline(MusicFeatures(), LogisticRegression())
        classifier.fit(["a.mp3", "b.flac"], ["jazz", "rock"]).predict(["c.ogg"])
        ```
    """

    def __init__(
        self,
        model: str | os.PathLike = DEFAULT_MODEL,
        *,
        layers: Layers | None = None,
        pool: str = "mean",
        batch_size: int = 8,
        normalize: bool = True,
        sampling_rate: int | None = None,
        window_s: float | str | None = "context",
        overlap_s: float = DEFAULT_OVERLAP_S,
        device: str | None = None,
        dtype: str = "float32",
        progress: bool = False,
    ):
        self.model = model
        self.layers = layers
        self.pool = pool
        self.batch_size = batch_size
        self.normalize = normalize
        self.sampling_rate = sampling_rate
        self.window_s = window_s
        self.overlap_s = overlap_s
        self.device = device
        self.dtype = dtype
        self.progress = progress

    def fit(self, X: Any = None, y: Any = None) -> "MusicFeatures":  # noqa: N803 (scikit-learn's name)
        """Look at the parameters that need no model; there is nothing to learn.

        Raises:
            InputError: a pooling that makes no row of a clip, or a model that is no name.
        """
        self._prepare()
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Features of several pieces of music.

        Args:
            X: as in [`MusicEncoder.encode`]; also an array (clips, samples) at `sampling_rate`.

        Returns:
            (clips, features) float32.

        Raises:
            InputError: one piece alone, or as [`MusicEncoder`] and its `encode`.
        """
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f":
            X = list(X)  # noqa: N806
        if items_of(X) is None:
            raise InputError("MusicFeatures transforms several pieces of music to rows; give a list, also of one.")
        encoder = self._prepare().load()
        vectors = encoder.encode(
            X,
            self.layers,
            self.pool,
            self.batch_size,
            self.normalize,
            sampling_rate=self.sampling_rate,
            window_s=self.window_s,
            overlap_s=self.overlap_s,
            progress=self.progress,
        )
        return vectors.reshape(len(vectors), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names such as "layer7_mean_0"; of weighted layers "weighted_mean_0". They ask for the model's configuration."""
        encoder = self._prepare().load()
        layers = encoder.default_layer if self.layers is None else self.layers
        chosen = ChosenLayers(layers, encoder.num_layers, self.normalize)
        parts = ["weighted"] if chosen.weights is not None else [f"layer{layer}" for layer in chosen.layers]
        hidden = range(encoder.hidden_size)
        names = [f"{part}_{of}_{i}" for part in parts for of in STATISTICS[self.pool] for i in hidden]
        return np.array(names, dtype=object)

    def _prepare(self) -> LazyEncoder:
        """What loads the model that the parameters name now; they may have changed."""
        require_vector_pool(self.pool)
        wanted = LazyEncoder(self.model, self.device, self.dtype)
        if getattr(self, "_encoder", None) != wanted:
            self._encoder = wanted
        return self._encoder

    def __sklearn_is_fitted__(self) -> bool:  # noqa: N807
        return True

    def __sklearn_tags__(self):  # noqa: N807
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
