"""Music in mteb: MusicEncoder behind the interface of its encoders, for its tasks on audio."""

import hashlib
import math
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
from huggingface_hub import snapshot_download

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_file
from mert_hf.common.packages import require_packages
from mert_hf.encoding.chosen_layers import Layers
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.licences import weights_licence
from mert_hf.encoding.loading import as_folder, loading
from mert_hf.encoding.released import DEFAULT_MODEL
from mert_hf.integrations.vectors import require_vector_pool, vector_shape
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S

require_packages("mteb", "mteb", "datasets")

from mteb.models import ModelMeta  # noqa: E402 (after it is asked for)
from mteb.models.abs_encoder import AbsEncoder  # noqa: E402
from mteb.types import Licenses  # noqa: E402

# Clips whose files are in memory at a time.
CLIPS_AT_A_TIME = 64
# Where a licence is none that mteb knows (it takes these and addresses).
UNKNOWN_LICENCE = "not specified"


class MtebMusicEncoder(AbsEncoder):
    """[`MusicEncoder.encode`] for mteb: classification, clustering, pairs, and retrieval of audio by audio.

    Audio is read and resampled as everywhere in this package, not by mteb. Results of every layer and pooling lie apart in
    mteb's cache, and so do those of a folder whose weights have changed.

    Args:
        model_name: a folder, a released model, or a repository of the Hub.
        revision: of a repository; of a folder a name for the results, by default a hash of its weights.
        device, dtype: as in [`MusicEncoder`].
        layers, pool, normalize, window_s, overlap_s: as in [`MusicEncoder.encode`], `pool` "mean" or "mean_std". Several
            layers are joined.

    Raises:
        InputError: as [`MusicEncoder`]; a layer that does not exist, or a pooling that makes several vectors of a clip.

    Example:
        ```python
        encoder = MtebMusicEncoder()
        results = mteb.evaluate(encoder, mteb.get_tasks(tasks=["GTZANGenreClustering"]))
        ```
    """

    def __init__(
        self,
        model_name: str | os.PathLike = DEFAULT_MODEL,
        revision: str | None = None,
        *,
        device: str | None = None,
        dtype: str = "float32",
        layers: Layers | None = None,
        pool: str = "mean",
        normalize: bool = True,
        window_s: float | str | None = "context",
        overlap_s: float = DEFAULT_OVERLAP_S,
    ):
        require_vector_pool(pool)
        folder = as_folder(model_name)
        source = model_name
        if folder is None and revision is not None:
            with loading(f"{model_name} at {revision}", model_name):
                source = snapshot_download(str(model_name), revision=revision)
        self.model = MusicEncoder(source, device=device, dtype=dtype)
        layers = self.model.default_layer if layers is None else layers
        self._options = dict(layers=layers, pool=pool, normalize=normalize, window_s=window_s, overlap_s=overlap_s)
        self.mteb_model_meta = self._describe(model_name, folder, revision)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """The clips of a task, (clips, features) float32.

        Args:
            inputs: mteb's DataLoader; its dataset is read, and its batches and what it would do with them are left out.
            task_metadata, hf_split, hf_subset, prompt_type: of the task, which change nothing.
            kwargs: `batch_size`: windows that pass through the model at a time; `show_progress_bar`.

        Raises:
            InputError: the task has no audio, or also has what cannot be heard; audio that cannot be used.
        """
        dataset = inputs.dataset
        others = {"text", "image", "video"} & set(dataset.features)
        if "audio" not in dataset.features or others:
            raise InputError(
                f"{self.mteb_model_meta.name} hears audio alone; {task_metadata.name} has the columns"
                f" {', '.join(dataset.features)}."
            )
        batch_size, progress = kwargs.get("batch_size", 8), kwargs.get("show_progress_bar", False)
        audio, vectors = dataset.select_columns(["audio"]), []
        for start in range(0, len(audio), CLIPS_AT_A_TIME):
            part = audio.select(range(start, min(start + CLIPS_AT_A_TIME, len(audio))))
            vectors.append(self.model.encode(part, batch_size=batch_size, progress=progress, **self._options))
        return np.concatenate(vectors).reshape(len(audio), -1)

    def _describe(self, name: str | os.PathLike, folder: Path | None, revision: str | None) -> ModelMeta:
        model, options = self.model.model, self._options
        layers = options["layers"]
        told = {
            "name": str(name) if folder is None else f"local/{folder.resolve().name}",
            "revision": revision if folder is None or revision is not None else _hash_weights(folder),
            "n_parameters": sum(weights.numel() for weights in model.parameters()),
            "embed_dim": math.prod(vector_shape(self.model, layers, options["pool"])),
            "license": _licence(name),
            "open_weights": True,
            "framework": ["PyTorch"],
            "similarity_fn_name": "cosine",
            "use_instructions": False,
            "modalities": ["audio"],
            "experiment_kwargs": {**options, "layers": layers if isinstance(layers, (int, str)) else str(layers)},
        }
        unknown = set(ModelMeta.model_fields) - set(told)
        nothing = {field: None for field in unknown if ModelMeta.model_fields[field].is_required()}
        return ModelMeta(**nothing, **told)


def _licence(name: str | os.PathLike) -> str:
    known = {licence for part in get_args(Licenses) for licence in (get_args(part) or (part,))}
    licence = (weights_licence(name) or "").lower()
    return licence if licence in known else UNKNOWN_LICENCE


def _hash_weights(folder: Path) -> str:
    """Of the files of weights, so that the results of other weights are others to mteb's cache."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    return hashlib.sha256("".join(map(digest_file, files)).encode()).hexdigest()[:16]
