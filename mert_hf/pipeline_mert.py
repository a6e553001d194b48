"""`pipeline("feature-extraction")` for MERT: a file, bytes or a waveform in, the frames' features out."""

import base64
import os

import numpy as np
import torch
from transformers import AutoModel, Pipeline
from transformers.audio_utils import load_audio

try:
    import soxr
except ImportError:
    soxr = None


class MERTFeatureExtractionPipeline(Pipeline):
    """Features of music, in the form in which the text pipeline returns those of a sentence.

    Input, one or a list: a path or URL of an audio file, the bytes of one, a mono waveform (samples,) at the model's rate, or
    a dict `{"array": waveform, "sampling_rate": rate}` (`"raw"` is accepted for `"array"`; channels first are averaged and
    another rate is resampled).

    Output, for each input: nested lists of shape (1, frames, hidden), a tensor with `return_tensors=True`. With
    `output_hidden_states=True` the states of all layers, (1, layers + 1, frames, hidden).

    Example:
        ```python
        import mert_hf
        from transformers import pipeline

        extract = pipeline("feature-extraction", model=folder)
        features = extract("song.mp3", return_tensors=True)
        ```
    """

    _load_feature_extractor = True
    _load_tokenizer = False
    _load_processor = False
    _load_image_processor = False

    def _sanitize_parameters(self, return_tensors=None, output_hidden_states=None, **unknown):
        if unknown:
            raise TypeError(
                f"unknown option {', '.join(sorted(unknown))}; the feature-extraction pipeline of MERT takes return_tensors and"
                " output_hidden_states."
            )
        forward = {} if output_hidden_states is None else {"output_hidden_states": output_hidden_states}
        postprocess = {} if return_tensors is None else {"return_tensors": return_tensors}
        return {}, forward, postprocess

    def preprocess(self, inputs):
        """Read, mix down, resample and check one input."""
        waveform = _to_waveform(inputs, self.feature_extractor.sampling_rate)
        batch = self.feature_extractor(
            waveform,
            sampling_rate=self.feature_extractor.sampling_rate,
            return_attention_mask=True,
            return_tensors="pt",
        )
        batch["input_values"] = batch["input_values"].to(self.dtype)
        return batch

    def _forward(self, model_inputs, output_hidden_states=False):
        attention_mask = model_inputs["attention_mask"]
        num_samples = attention_mask.sum(-1)
        outputs = self.model(
            model_inputs["input_values"],
            # without padding the model runs as it does without a mask, to the last bit
            attention_mask=None if attention_mask.all() else attention_mask,
            output_hidden_states=output_hidden_states,
        )
        features = torch.stack(outputs.hidden_states, dim=1) if output_hidden_states else outputs.last_hidden_state
        return {"features": features, "num_frames": self.model._get_feat_extract_output_lengths(num_samples)}

    def postprocess(self, model_outputs, return_tensors=False):
        """Cut the frames that stand for padding and return a tensor or nested lists."""
        num_frames = int(model_outputs["num_frames"].squeeze())
        features = model_outputs["features"][..., :num_frames, :]
        return features if return_tensors else features.tolist()


def _to_waveform(inputs, sampling_rate: int) -> np.ndarray:
    if isinstance(inputs, (bytes, bytearray)):
        if not inputs:
            raise ValueError("cannot read the bytes as audio: there are none.")
        encoded = "data:audio/unknown;base64," + base64.b64encode(inputs).decode("ascii")
        return _load(encoded, sampling_rate, "the bytes")
    if isinstance(inputs, (str, os.PathLike)):
        source = os.fspath(inputs)
        # transformers would try to decode the name of a missing file as base64
        if not source.startswith(("http://", "https://", "data:")) and not os.path.isfile(source):
            raise ValueError(f"cannot read {source} as audio: there is no such file.")
        return _load(source, sampling_rate, source)
    if not isinstance(inputs, dict):
        if np.ndim(inputs) != 1:
            raise ValueError(
                f"a waveform has the shape (samples,); got {np.shape(inputs)}. Average channels first, or give"
                " {'array': ..., 'sampling_rate': ...} with channels first; give several clips as a list."
            )
        return inputs
    waveform = inputs.get("array", inputs.get("raw"))
    rate = inputs.get("sampling_rate")
    if waveform is None or rate is None:
        raise ValueError(f"a dict must hold 'array' (or 'raw') and 'sampling_rate'; got the keys {sorted(map(str, inputs))}.")
    waveform = np.asarray(waveform)
    if not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(
            f"'array' holds {waveform.dtype} samples; floating point within [-1, 1] is needed. For 16-bit integers:"
            " array.astype('float32') / 32768."
        )
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=0)
    if rate == sampling_rate:
        return waveform
    if soxr is None:
        raise ImportError(f"resampling from {rate} to {sampling_rate} Hz needs soxr: pip install soxr")
    return soxr.resample(waveform, rate, sampling_rate, quality="HQ")


def _load(source: str, sampling_rate: int, name: str) -> np.ndarray:
    # soundfile first: the features of a file must not depend on whether FFmpeg, with its own resampler, is installed
    try:
        return load_audio(source, sampling_rate=sampling_rate, backend="soundfile")
    except RuntimeError as unreadable:
        try:
            return load_audio(source, sampling_rate=sampling_rate, backend="torchcodec")
        except (ImportError, RuntimeError):
            reason = "" if source.startswith("data:") else f": {unreadable}"
            raise ValueError(f"cannot read {name} as audio{reason}") from None


# set here, not where the package registers it: a pipeline that was loaded from a repository can then be saved again
MERTFeatureExtractionPipeline._registered_impl = {
    "feature-extraction": {"impl": MERTFeatureExtractionPipeline, "pt": (AutoModel,), "type": "audio"}
}

__all__ = ["MERTFeatureExtractionPipeline"]
