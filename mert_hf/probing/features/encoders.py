"""What turns audio into features: a frozen model of transformers, or a spectrum as the baseline."""

import hashlib
import json
from typing import Literal, Protocol

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

import mert_hf  # noqa: F401, makes transformers know MERT
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import seed_torch
from mert_hf.encoding.fingerprint import weights_fingerprint
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.encoding.loading import UNUSED_WEIGHTS, as_folder, load_extractor, load_model, loading, require_repository

Pooling = Literal["mean", "mean_std"]


class Encoder(Protocol):
    """Waveforms to features of every layer."""

    title: str  # in tables
    fingerprint: dict  # everything that its features depend on, as JSON can hold it
    sampling_rate: int  # of the waveforms it takes, in Hz
    frame_rate: float  # features a second
    first_frame_s: float  # time in a window that its first frame is centred on
    layers: tuple[str, ...]  # names, in the order of the features
    hidden_size: int  # numbers a frame and layer

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples), all of one length and without padding -> (batch, layers, frames, hidden) float32."""

    def pool(self, features: torch.Tensor, pooling: Pooling = "mean") -> torch.Tensor:
        """(batch, layers, frames, hidden) -> (batch, layers, pooled size): one vector a window, as a protocol asks for it."""


class FrozenModel:
    """A frozen model of transformers as an [`Encoder`], with all its layers.

    Every window goes through it unpadded: windows of one length share a batch. So a model whose features would change with
    padding (HuBERT and its family with a group norm over time) is judged as fairly as MERT.

    Args:
        model: with `output_hidden_states`; any AutoModel that takes `input_values`. It is left as it is, and its weights are
            shared: they must stay what they are.
        extractor: of transformers; its rate, and its normalisation where it says so.
        title: in tables.
        device: where the model runs; batches come and go from there.

    Raises:
        InputError: the rates of model and extractor differ, or the model does not hear raw audio.
    """

    def __init__(self, model: PreTrainedModel, extractor, title: str, device: str | torch.device = "cpu"):
        config = model.config
        self._encoder = FrozenEncoder(model, extractor, title, device)
        self.title = title
        self.sampling_rate, grid = self._encoder.sampling_rate, self._encoder.grid
        try:
            second = self(torch.zeros(1, self.sampling_rate))
        except (IndexError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{title} does not take a second of raw audio, so it cannot be judged here: {' '.join(str(error).split())}"
            ) from None
        self.layers = tuple(str(layer) for layer in range(second.shape[1]))
        self.hidden_size = second.shape[3]
        counted = self.sampling_rate / grid.hop_samples if grid else float(second.shape[2])
        self.frame_rate = getattr(config, "frame_rate", None) or counted
        self.first_frame_s = grid.first_frame_s if grid else 1 / 2 / self.sampling_rate
        self.commit = getattr(config, "_commit_hash", None)
        # in the keys of all features that were ever kept
        self.fingerprint = {
            "weights": weights_fingerprint(model),
            "config": hashlib.sha256(json.dumps(config.to_diff_dict(), sort_keys=True, default=str).encode()).hexdigest(),
            "normalises": self._encoder.normalises,
            "sampling_rate": self.sampling_rate,
        }

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._encoder(waveforms), dim=1).float()

    def pool(self, features: torch.Tensor, pooling: Pooling = "mean") -> torch.Tensor:
        """The mean over time, and the standard deviation behind it where that is asked for."""
        return mean_and_deviation(features) if pooling == "mean_std" else features.mean(dim=2)


def load_encoder(
    name: str, revision: str | None = None, device: str | torch.device = "cpu", random_seed: int | None = None
) -> FrozenModel:
    """The model of a folder (also of a run's folder, which holds `model/`), a released one, or one of the Hub.

    Args:
        name: folder, released model or `user/name`.
        revision: of the Hub.
        device: where it runs.
        random_seed: draws all weights anew from this seed: the same architecture, untrained.

    Raises:
        InputError: there is no such model, weights are missing in it, or it takes no audio.
    """
    folder = as_folder(name)
    source = name
    if folder is not None:
        source = str(folder / "model" if (folder / "model" / "config.json").is_file() else folder)
    require_repository(source, revision)
    extractor = load_extractor(source, str(name), revision=revision)
    if random_seed is None:
        # float32 as the waveforms are, whatever the weights were stored in
        options = {"may_lack": UNUSED_WEIGHTS, "revision": revision, "dtype": torch.float32}
        model = load_model(AutoModel, source, str(name), **options)
    else:
        with loading(str(name), source) as place:
            config = AutoConfig.from_pretrained(place, revision=revision)
            seed_torch(random_seed, "random weights")
            model = AutoModel.from_config(config, dtype=torch.float32)
    if model.main_input_name != "input_values" or not hasattr(extractor, "sampling_rate"):
        raise InputError(f"{name} takes {model.main_input_name}, not waveforms (input_values); it cannot be judged here.")
    title = "random weights" if random_seed is not None else folder.resolve().name if folder is not None else name
    return FrozenModel(model, extractor, title, device)


def mean_and_deviation(features: torch.Tensor) -> torch.Tensor:
    """(batch, layers, frames, hidden) -> (batch, layers, 2 hidden) over time; a single frame deviates by 0."""
    return torch.cat([features.mean(dim=2), features.std(dim=2, unbiased=False)], dim=-1)
