"""What turns audio into features: a frozen model of transformers, or a spectrum as the baseline."""

import hashlib
import json
from typing import Protocol

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, PreTrainedModel

import mert_hf  # noqa: F401, makes transformers know MERT
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import seed_torch
from mert_hf.encoding.loading import as_folder, loading
from mert_hf.models.spectra_mert import LogMelSpectrum
from mert_hf.models.views_mert import view_of

# drawn at random where a checkpoint lacks it, and read by masking alone, which does not happen here
UNUSED_WEIGHTS = ("masked_spec_embed",)


class Encoder(Protocol):
    """Waveforms to features of every layer.

    Attributes:
        title: in tables.
        fingerprint: everything that its features depend on, as JSON can hold it.
        sampling_rate: of the waveforms it takes, in Hz.
        frame_rate: features a second.
        first_frame_s: time in a window that its first frame is centred on.
        layers: names of the layers, in the order of the features.
        hidden_size: numbers a frame and layer.
    """

    title: str
    fingerprint: dict
    sampling_rate: int
    frame_rate: float
    first_frame_s: float
    layers: tuple[str, ...]
    hidden_size: int

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples), all of one length and without padding -> (batch, layers, frames, hidden) float32."""

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, layers, frames, hidden) -> (batch, layers, pooled size): one vector a window."""


class FrozenModel:
    """A model of transformers in eval mode: masks, dropout and LayerDrop are off, nothing of it is trained.

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
        rate = getattr(config, "sample_rate", None) or getattr(config, "sampling_rate", None)
        if rate not in (None, extractor.sampling_rate):
            raise InputError(
                f"{title}: the model was made for {rate} Hz, its feature extractor says {extractor.sampling_rate} Hz; mend"
                " preprocessor_config.json."
            )
        self.title = title
        self.sampling_rate = extractor.sampling_rate
        self.device = torch.device(device)
        self._model = view_of(model, self.device)
        self._normalises = bool(getattr(extractor, "do_normalize", False))
        strides, kernels = getattr(config, "conv_stride", ()), getattr(config, "conv_kernel", ())
        self.hop_samples = int(np.prod(strides)) if strides else 0
        reach = 1
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            reach = (reach - 1) * stride + kernel
        self.first_frame_s = reach / 2 / self.sampling_rate
        try:
            second = self(torch.zeros(1, self.sampling_rate, device=self.device))
        except (IndexError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{title} does not take a second of raw audio, so it cannot be judged here: {' '.join(str(error).split())}"
            ) from None
        self.layers = tuple(str(layer) for layer in range(second.shape[1]))
        self.hidden_size = second.shape[3]
        counted = self.sampling_rate / self.hop_samples if self.hop_samples else float(second.shape[2])
        self.frame_rate = getattr(config, "frame_rate", None) or counted
        self.commit = getattr(config, "_commit_hash", None)
        self.fingerprint = {
            "weights": weights_fingerprint(model),
            "config": hashlib.sha256(json.dumps(config.to_diff_dict(), sort_keys=True, default=str).encode()).hexdigest(),
            "normalises": self._normalises,
            "sampling_rate": self.sampling_rate,
        }

    @torch.no_grad()
    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """See [`Encoder`]."""
        waveforms = waveforms.to(self.device, torch.float32)
        if self._normalises:  # as Wav2Vec2FeatureExtractor does, clip by clip
            deviation = waveforms.var(dim=-1, unbiased=False, keepdim=True) + 1e-7
            waveforms = (waveforms - waveforms.mean(dim=-1, keepdim=True)) / deviation.sqrt()
        outputs = self._model(waveforms.to(self._model.dtype), output_hidden_states=True)
        states = getattr(outputs, "hidden_states", None) or (outputs.last_hidden_state,)
        return torch.stack(states, dim=1).float()

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """The mean over time."""
        return features.mean(dim=2)


def load_encoder(
    name: str, revision: str | None = None, device: str | torch.device = "cpu", random_seed: int | None = None
) -> FrozenModel:
    """The model of a folder (also of a run's folder, which holds `model/`) or of the Hub.

    Args:
        name: folder or `user/name`.
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
    with loading(str(name), source):
        extractor = AutoFeatureExtractor.from_pretrained(source, revision=revision)
        config = AutoConfig.from_pretrained(source, revision=revision)
        if random_seed is None:
            # float32 as the waveforms are, whatever the weights were stored in
            model, info = AutoModel.from_pretrained(source, revision=revision, dtype=torch.float32, output_loading_info=True)
            _require_weights(name, info)
        else:
            seed_torch(random_seed, "random weights")
            model = AutoModel.from_config(config, dtype=torch.float32)
    if model.main_input_name != "input_values" or not hasattr(extractor, "sampling_rate"):
        raise InputError(f"{name} takes {model.main_input_name}, not waveforms (input_values); it cannot be judged here.")
    title = "random weights" if random_seed is not None else folder.resolve().name if folder is not None else name
    return FrozenModel(model, extractor, title, device)


def weights_fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 of all weights and their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _require_weights(name: str, info: dict) -> None:
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(UNUSED_WEIGHTS))
    wrong = sorted(str(key) for key in info["mismatched_keys"])
    if missing or wrong:
        named = (missing + wrong)[0]
        raise InputError(
            f"{name} lacks {len(missing)} weights and has {len(wrong)} of another shape, such as {named}; they would be drawn"
            " at random, so this model is not judged."
        )


class LogMel:
    """The baseline of a listener who learnt nothing: the log-mel spectrum, as mean and deviation over a window.

    Args:
        sampling_rate: of the waveforms, in Hz.
        bins: mel bands.
    """

    title = "log-mel mean + std"
    layers = ("log-mel",)
    first_frame_s = 0.0

    def __init__(self, sampling_rate: int = 24000, bins: int = 64):
        self.sampling_rate = sampling_rate
        self.frame_rate = 75.0
        self._spectrum = LogMelSpectrum(sampling_rate, round(sampling_rate / self.frame_rate), bins)
        self.hidden_size = 2 * bins
        self.fingerprint = {"log_mel": bins, "sampling_rate": sampling_rate}

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """See [`Encoder`]; a frame holds the spectrum's mean and deviation over itself and two frames to each side."""
        frames = self._spectrum(waveforms.float())
        around = torch.nn.functional.pad(frames.mT, (2, 2), mode="replicate").unfold(-1, 5, 1)
        both = torch.cat([around.mean(dim=-1), around.std(dim=-1)], dim=1)
        return both.mT.unsqueeze(1)

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Mean and deviation over time of the smoothed spectrum."""
        bands = features[..., : features.shape[-1] // 2]
        return torch.cat([bands.mean(dim=2), bands.std(dim=2)], dim=-1)
