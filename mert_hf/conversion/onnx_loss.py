"""What an ONNX file loses beside the model in torch, measured on a piece of music."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.encoding.layer_differences import LayerDifference, compare_layers
from mert_hf.encoding.onnx_engine import ERRORS_ALONE
from mert_hf.models.sampling_rates_mert import resample
from mert_hf.models.views_mert import base_of, view_of
from mert_hf.synthetic import generate_piece

# Cosine of means below which a layer is said to be far from the model's: between pieces of music it is often above that.
FAR_COSINE = 0.9
# What is measured on where no music is given, and most of what is taken of some that is.
SYNTHETIC_S, LONGEST_S = 10.0, 30.0


@dataclass(frozen=True)
class OnnxLoss:
    """What a file's outputs are beside those of the model in float32.

    Attributes:
        layers: of `hidden_states`, or of `last_hidden_state` where that is all there is; empty of a classifier without layers.
        logits: largest difference and largest value, of a classifier.
    """

    layers: list[LayerDifference]
    logits: tuple[float, float] | None

    @property
    def far(self) -> list[int]:
        """Layers that are not finite, or whose mean is far from the model's."""
        return [row.layer for row in self.layers if not (np.isfinite(row.frames) and row.mean_cosine >= FAR_COSINE)]

    @property
    def warning(self) -> str | None:
        """In words, what had better not be used; None where all is near."""
        logits_are_finite = self.logits is None or bool(np.isfinite(self.logits).all())
        if not self.far and logits_are_finite:
            return None
        named = f"layers {', '.join(map(str, self.far))}" if self.far else "logits"
        return (
            f"{named} of this file are not finite, or far from the model's (cosine of means below {FAR_COSINE}): do not use"
            " them, or export with --dtype float32."
        )


def make_music(sampling_rate: int) -> NDArray[np.float32]:
    """(samples,), 10 s of a synthetic piece, always the same one."""
    piece = generate_piece(0, SYNTHETIC_S, 24_000)
    return resample(piece.waveform, piece.sampling_rate, sampling_rate).astype(np.float32)


@torch.no_grad()
def measure_loss(
    file: str | os.PathLike, model: PreTrainedModel, feature_extractor: Wav2Vec2FeatureExtractor, waveform: NDArray[np.float32]
) -> OnnxLoss:
    """Run a file that [`export_onnx`] wrote on a CPU, and compare it with the model that it was written from.

    Args:
        waveform: (samples,) at the model's rate; it passes as a whole: take 30 s or less.

    Raises:
        InputError: it is too short for a frame.
    """
    require_packages("onnx", "onnxruntime")
    import onnxruntime

    frozen = FrozenEncoder(base_of(model), feature_extractor, type(model).__name__, "cpu", torch.float32)
    least = frozen.grid.shortest_samples
    if len(waveform) < least:
        raise InputError(f"{len(waveform)} samples are too short to be compared; one frame needs {least}.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ALONE
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = {"input_values": waveform[None].astype(np.float32)}
    if "attention_mask" in [put.name for put in session.get_inputs()]:
        given["attention_mask"] = np.ones(given["input_values"].shape, np.int64)
    found = dict(zip(names, session.run(names, given), strict=True))
    clips = torch.from_numpy(given["input_values"])
    layers, logits = [], None
    if "hidden_states" in found or "last_hidden_state" in found:
        right = [states[0].numpy() for states in frozen(clips)]
        shown = found["hidden_states"][0] if "hidden_states" in found else found["last_hidden_state"]
        layers = compare_layers(right[-len(shown) :], shown, len(right) - len(shown))
    if "logits" in found:
        heard = feature_extractor(list(clips.numpy()), sampling_rate=frozen.sampling_rate, return_tensors="pt")["input_values"]
        right = view_of(model, "cpu", torch.float32)(heard).logits.numpy()
        logits = float(np.abs(found["logits"] - right).max()), float(np.abs(right).max())
    return OnnxLoss(layers, logits)
