"""Music in sentence-transformers: the first module of a SentenceTransformer, which hears as MusicEncoder does."""

import math
import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.encoding.chosen_layers import ChosenLayers
from mert_hf.encoding.clips import Clip, Reader
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.licences import weights_licence
from mert_hf.encoding.released import DEFAULT_MODEL
from mert_hf.integrations.vectors import STATISTICS, require_vector_pool
from mert_hf.models.views_mert import input_dtype_of, layers_of
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S, Window

require_packages("sentence-transformers", "sentence_transformers")

from sentence_transformers.base.modules import InputModule  # noqa: E402 (after it is asked for)

# Added to a variance before its root is taken, whose slope is infinite at 0.
VARIANCE_FLOOR = 1e-12
# LayerDrop leaves out layers, and one of them is read here; SpecAugment draws from numpy, which the losses that compute a batch
# twice (GradCache) do not bring back.
OFF_IN_TRAINING = {"layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}


class MERTModule(InputModule):
    """MERT, or any model that [`MusicEncoder`] takes, as the first module of a `SentenceTransformer`.

    `encode` gives what `MusicEncoder.encode` gives: whole songs, window by window. While it is trained, a song that is longer
    than `train_s` is heard in a random stretch of that length, another one each time: two columns with the same paths are a
    contrastive training without labels.

    Inputs are paths (also of formats that sentence-transformers does not know for audio), URLs, bytes, `{"array": ...,
    "sampling_rate": ...}`, and what rows of `datasets` hold; waveforms alone with `encode(..., sampling_rate=...)`. The songs
    of one batch are in memory as a whole, as long as the longest of them: 32 of 5 minutes take 0.9 GB. Give `encode` a smaller
    `batch_size` for longer ones; the model itself hears `windows` of them at a time, whatever it is.

    LayerDrop and SpecAugment of the model are switched off in its configuration; dropout is as it says. The card that
    sentence-transformers writes after a training shows rows of the data: paths as they were given.

    Saved, the folder is one of transformers as well, which `AutoModel` and `MusicEncoder` load. To load it as a
    SentenceTransformer takes `trust_remote_code=True`, as sentence-transformers asks for every module that is not its own, and
    this package installed.

    Args:
        model: a folder, a released model, a repository of the Hub, or a loaded model, which is then trained in place.
        feature_extractor: of a loaded model.
        layers: one layer, or a dict of layer to weight; the default of [`MusicEncoder.encode`] otherwise. Layers behind it are
            not trained.
        pool: "mean" or "mean_std".
        normalize: scale vectors to length 1.
        window_s, overlap_s: as in [`MusicEncoder.encode`].
        windows: that pass through the model at once, out of training.
        train_s: the longest stretch, in seconds, that is heard in training; MERT was pre-trained on clips of 5 s.
        dtype: of the weights of a model that is loaded here.

    Raises:
        InputError: as [`MusicEncoder`]; several layers, another pooling.

    Example:
        ```python
        model = SentenceTransformer(modules=[MERTModule()])
        vectors = model.encode(["a.mp3", "b.flac"])  # (2, 256)
        pairs = Dataset.from_dict({"anchor": paths, "positive": paths})  # two stretches of a song, beside those of others
        SentenceTransformerTrainer(model, train_dataset=pairs, loss=MultipleNegativesRankingLoss(model)).train()
        ```
    """

    config_file_name = "sentence_mert_config.json"
    config_keys = ["layers", "pool", "normalize", "window_s", "overlap_s", "windows", "train_s"]
    forward_kwargs = {"sampling_rate"}  # what encode() lets through

    def __init__(
        self,
        model: str | os.PathLike | PreTrainedModel = DEFAULT_MODEL,
        feature_extractor=None,
        *,
        layers: int | Mapping[int, float] | None = None,
        pool: str = "mean",
        normalize: bool = True,
        window_s: float | str | None = "context",
        overlap_s: float = DEFAULT_OVERLAP_S,
        windows: int = 8,
        train_s: float = 5.0,
        dtype: torch.dtype | str = torch.float32,
    ):
        super().__init__()
        if not isinstance(model, (str, os.PathLike, PreTrainedModel)):
            raise InputError(
                f"model={type(model).__name__} is neither a name nor a model of transformers; of one that is wrapped, by PEFT"
                " or torch.compile, give what it wraps, and wrap the SentenceTransformer."
            )
        encoder = MusicEncoder(model, feature_extractor, device="cpu", dtype=dtype)
        self.model, self.feature_extractor = encoder.model, encoder.feature_extractor
        for name, off in OFF_IN_TRAINING.items():
            if hasattr(self.model.config, name):
                setattr(self.model.config, name, off)
        self.layers = encoder.default_layer if layers is None else layers
        if not isinstance(self.layers, (int, Mapping)):
            raise InputError(
                f"layers={reprlib.repr(layers)}: a SentenceTransformer has one vector a song; give one layer, or a dict of"
                " weights."
            )
        self._chosen = ChosenLayers(self.layers, encoder.num_layers, normalize)
        require_vector_pool(pool)
        self.pool, self.normalize = pool, normalize
        self.window_s, self.overlap_s, self.windows = window_s, overlap_s, windows
        self.sampling_rate, self.grid = encoder.sampling_rate, encoder.grid
        is_number = isinstance(train_s, (int, float)) and math.isfinite(train_s)
        if not is_number or train_s * self.sampling_rate < self.grid.shortest_samples:
            shortest_s = self.grid.shortest_samples / self.sampling_rate
            raise InputError(
                f"train_s={reprlib.repr(train_s)} must be a number of seconds, at least {shortest_s:.4f} (one frame)."
            )
        self.train_s = train_s
        self._licence = weights_licence(model) if isinstance(model, (str, os.PathLike)) else None

    @property
    def modalities(self) -> list[str]:
        """Audio, and the ways in which sentence-transformers sees audio that it does not know for it.

        To it, a path with an ending such as m4a, or to a file that is missing, is text, one that ends in mp4 is a video, and a
        batch of several of these is a message. All of them are read as audio here, or refused with the reason.
        """
        return ["audio", "text", "video", "message"]

    def get_embedding_dimension(self) -> int:
        """Length of a vector."""
        return self.model.config.hidden_size * len(STATISTICS[self.pool])

    def on_model_ready(self, model: Any) -> None:
        """Tell the card that it is music, and the licence of the weights, which those trained from them inherit."""
        card = model.model_card_data
        if self._licence is not None and card.license is None:
            card.license = self._licence
        card.pipeline_tag = "feature-extraction"
        card.tags = [tag for tag in card.tags if tag != "sentence-similarity"]
        card.add_tags(["music", "audio"])
        card.usage_examples = card.usage_examples or ["one.mp3", "two.flac"]
        card.generate_widget_examples = False  # they would be paths on this machine

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, sampling_rate: int | None = None, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Read and resample a batch; in training only the stretches that are heard.

        Args:
            inputs: one piece of music each.
            sampling_rate: of waveforms that do not bring their own, in Hz.

        Returns:
            `input_values` (batch, samples) float32 at the model's rate, padded with zeros, and `num_samples` (batch,).

        Raises:
            InputError: a prompt, or audio that cannot be used.
        """
        if prompt:
            raise InputError(f"music takes no prompt; got {reprlib.repr(prompt)}.")
        encoder, waveforms, reader = self._encoder(), [], Reader()
        try:
            for number, item in enumerate(inputs):
                if isinstance(item, Mapping) and item.keys() == {"audio"}:
                    item = item["audio"]
                clip = encoder.open_clip(item, number, sampling_rate)
                window = self._stretch(clip) if self.training else Window(0, clip.num_samples, 0, 0, 0)
                waveforms.append(torch.from_numpy(reader.read(clip, window)))
        finally:
            reader.close()
        return {
            "input_values": torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True),
            "num_samples": torch.tensor([len(waveform) for waveform in waveforms]),
        }

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds `sentence_embedding` (batch, hidden), float32.

        In `train()`, and wherever gradients are wanted, all of a clip passes at once.

        Args:
            features: as [`MERTModule.preprocess`] makes them.
        """
        values = features["input_values"]
        clips = [clip[:length] for clip, length in zip(values, features["num_samples"].tolist(), strict=True)]
        if self.training:
            clips = [self._cut(clip) for clip in clips]
        if self.training or torch.is_grad_enabled():
            vectors = self._embed(clips)
        else:
            encoded = self._encoder().encode(
                [clip.cpu().numpy() for clip in clips],
                self.layers,
                self.pool,
                self.windows,
                self.normalize,
                sampling_rate=self.sampling_rate,
                window_s=self.window_s,
                overlap_s=self.overlap_s,
                progress=False,
            )
            vectors = torch.from_numpy(encoded).to(values.device)
        return {**features, "sentence_embedding": vectors}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the model, its feature extractor and the settings of this module."""
        self.model.save_pretrained(output_path)
        self.feature_extractor.save_pretrained(output_path)
        self.save_config(output_path)

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", model_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> "MERTModule":
        """Load what [`MERTModule.save`] wrote, from a folder or the Hub.

        Raises:
            InputError: as [`MERTModule`]; options for the model other than its type.
        """
        names = ("token", "cache_folder", "revision", "local_files_only")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **hub)
        if isinstance(config.get("layers"), Mapping):  # JSON has no numbers for names
            config["layers"] = {int(layer): weight for layer, weight in config["layers"].items()}
        for name, value in (model_kwargs or {}).items():
            if name not in ("dtype", "torch_dtype"):
                raise InputError(f"model_kwargs has {name!r}; MERTModule takes 'dtype' there.")
            config["dtype"] = value
        return cls(cls.load_dir_path(model_name_or_path, subfolder=subfolder, **hub), **config)

    def __reduce__(self) -> tuple:
        """For the processes of `encode_multi_process`: torch refuses to pickle the normalised weights of a convolution."""
        model, rest = (type(self.model), self.model.config, self.model.state_dict()), (self.feature_extractor, self._licence)
        return _restore, (model, *rest, self.get_config_dict(), self.training)

    def _encoder(self) -> MusicEncoder:
        """An encoder of the weights as they are now, and where they are."""
        return MusicEncoder(self.model, self.feature_extractor, device=self.model.device, dtype=self.model.dtype)

    def _start(self, num_samples: int) -> tuple[int, int]:
        """Where the stretch of a clip begins and ends that is heard this time."""
        length = min(int(self.train_s * self.sampling_rate), num_samples)
        # torch's, which losses that compute a batch twice bring back
        start = int(torch.randint(num_samples - length + 1, ()))
        return start, start + length

    def _stretch(self, clip: Clip) -> Window:
        return Window(*self._start(clip.num_samples), 0, 0, 0)

    def _cut(self, clip: torch.Tensor) -> torch.Tensor:
        """A clip that was read out of training, as the first batch after an evaluation is."""
        start, stop = self._start(len(clip))
        return clip[start:stop]

    def _embed(self, clips: list[torch.Tensor]) -> torch.Tensor:
        """(batch, hidden) with gradients. Clips of one length pass together: padding would be heard by some models."""
        by_length: dict[int, list[int]] = {}
        for number, clip in enumerate(clips):
            by_length.setdefault(len(clip), []).append(number)
        vectors: dict[int, torch.Tensor] = {}
        for numbers in by_length.values():
            vectors |= zip(numbers, self._pool(self._hear([clips[number] for number in numbers])), strict=True)
        stacked = torch.stack([vectors[number] for number in range(len(clips))])
        return torch.nn.functional.normalize(stacked, eps=np.finfo(np.float32).tiny) if self.normalize else stacked

    def _hear(self, clips: list[torch.Tensor]) -> torch.Tensor:
        """(batch, frames, hidden) float32 of the layer that is asked for, or of the weighted sum."""
        extracted = self.feature_extractor(
            [clip.cpu().numpy() for clip in clips], sampling_rate=self.sampling_rate, return_tensors="pt"
        )
        values = extracted["input_values"].to(self.model.device, input_dtype_of(self.model))
        states = layers_of(self.model(values, output_hidden_states=True), self.model.config)
        weights = [1.0] if self._chosen.weights is None else self._chosen.weights.tolist()
        return sum(weight * states[layer].float() for layer, weight in zip(self._chosen.layers, weights, strict=True))

    def _pool(self, frames: torch.Tensor) -> torch.Tensor:
        mean = frames.mean(dim=1)
        if self.pool == "mean":
            return mean
        deviation = (frames.var(dim=1, unbiased=False) + VARIANCE_FLOOR).sqrt()
        return torch.cat([mean, deviation], dim=-1)


def _restore(model: tuple, feature_extractor, licence: str | None, config: dict[str, Any], training: bool) -> MERTModule:
    model_class, model_config, weights = model
    restored = model_class(model_config)
    restored.load_state_dict(weights, assign=True)  # those of another process are shared with it
    module = MERTModule(restored, feature_extractor, **config)
    module._licence = licence
    return module.train(training)
