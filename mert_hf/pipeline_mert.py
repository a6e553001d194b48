"""`pipeline("feature-extraction")` for MERT: a file, bytes or a waveform in, the frames' features out."""

import base64
import io
import os
import re
from urllib.parse import urlsplit

import numpy as np
import torch
from huggingface_hub import get_session
from transformers import AutoModel
from transformers.audio_utils import load_audio
from transformers.pipelines.base import ChunkPipeline

from .audio_containers_mert import MP3_WOULD_BE_CUT, mp3_would_be_cut
from .windows_mert import DEFAULT_OVERLAP_S, DEFAULT_WINDOW_S, FrameGrid, Window, join_windows, plan_windows

try:
    import soxr
except ImportError:
    soxr = None

# Longest wait for the next bytes of a URL, as in transformers.
DOWNLOAD_TIMEOUT_S = 10.0


class MERTFeatureExtractionPipeline(ChunkPipeline):
    """Features of music, in the form in which the text pipeline returns those of a sentence.

    Input, one or a list: a path or URL of an audio file, the bytes of one, a mono waveform (samples,) at the model's rate, or
    a dict `{"array": waveform, "sampling_rate": rate}` (`"raw"` is accepted for `"array"`; channels first are averaged and
    another rate is resampled).

    Output, for each input: nested lists of shape (1, frames, hidden), a tensor with `return_tensors=True`. With
    `output_hidden_states=True` the states of all layers, (1, layers + 1, frames, hidden).

    A clip longer than `window_s` (30 s by default) passes through the model in windows that overlap by `overlap_s` (3 s), so
    that memory grows only with the result; each window is a clip of its own to the model, and of every overlap half is thrown
    away on each side. Frame i stands at i * hop / rate seconds either way. `window_s=None` gives the whole clip to the model
    at once, as the official code does. `batch_size` counts windows.

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

    def _sanitize_parameters(self, **options):
        known = {
            "window_s": "preprocess",
            "overlap_s": "preprocess",
            "output_hidden_states": "forward",
            "return_tensors": "postprocess",
        }
        unknown = sorted(options.keys() - known.keys())
        if unknown:
            raise TypeError(
                f"unknown option {', '.join(unknown)}; the feature-extraction pipeline of MERT takes {', '.join(known)}."
            )
        stages = {"preprocess": {}, "forward": {}, "postprocess": {}}
        for name, value in options.items():
            stages[known[name]][name] = value
        return tuple(stages.values())

    def preprocess(self, inputs, window_s=DEFAULT_WINDOW_S, overlap_s=DEFAULT_OVERLAP_S):
        """Read, mix down, resample and check one input; yield its windows."""
        rate = self.feature_extractor.sampling_rate
        waveform = _to_waveform(inputs, rate)
        finite = np.isfinite(waveform)
        if not finite.all():
            raise ValueError(
                f"the audio holds NaN or infinity (first at sample {int(np.argmin(finite))}); repair or leave out that audio."
            )
        windows = self._plan_windows(len(waveform), window_s, overlap_s)
        for window in windows:
            clip = waveform[window.start : window.stop]
            batch = self.feature_extractor(clip, sampling_rate=rate, return_attention_mask=True, return_tensors="pt")
            input_values = batch["input_values"].to(self.dtype)
            yield {
                "input_values": input_values,
                "attention_mask": batch["attention_mask"],
                "window": window,
                "is_last": window is windows[-1],
            }

    def _plan_windows(self, num_samples: int, window_s: float | None, overlap_s: float) -> list[Window]:
        config = self.model.config
        if not hasattr(config, "conv_kernel"):
            # a model of separate pieces cuts its input itself; it makes fewer vectors than there are samples: all are kept
            return [Window(0, num_samples, 0, num_samples, 0)]
        grid = FrameGrid.of_convolutions(config.conv_kernel, config.conv_stride, self.feature_extractor.sampling_rate)
        return plan_windows(num_samples, grid, window_s, overlap_s)

    def _forward(self, model_inputs, output_hidden_states=False):
        attention_mask = model_inputs["attention_mask"]
        outputs = self.model(
            model_inputs["input_values"],
            # without padding the model runs as it does without a mask, to the last bit
            attention_mask=None if attention_mask.all() else attention_mask,
            output_hidden_states=output_hidden_states,
        )
        features = torch.stack(outputs.hidden_states, dim=1) if output_hidden_states else outputs.last_hidden_state
        return {"features": features, "window": model_inputs["window"], "is_last": model_inputs["is_last"]}

    def postprocess(self, model_outputs, return_tensors=False):
        """Cut padding and overlaps, join the windows, and return a tensor or nested lists."""
        features = join_windows([output["window"].keep(output.pop("features")) for output in model_outputs])
        return features if return_tensors else features.tolist()


def _to_waveform(inputs, sampling_rate: int) -> np.ndarray:
    if isinstance(inputs, (bytes, bytearray)):
        return _decode(bytes(inputs), sampling_rate, "the bytes")
    if isinstance(inputs, (str, os.PathLike)):
        source = os.fspath(inputs)
        if source.startswith(("http://", "https://")):
            return _decode(_fetch(source), sampling_rate, _shown_url(source))
        if source.startswith("data:"):
            return _decode(base64.b64decode(source.partition(",")[2]), sampling_rate, "the data")
        # transformers would try to decode the name of a missing file as base64
        if not os.path.isfile(source):
            raise ValueError(f"cannot read {source} as audio: there is no such file.")
        return _decode(source, sampling_rate, source)
    if isinstance(inputs, dict):
        return waveform_from_dict(inputs, sampling_rate)
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs.float() if inputs.is_floating_point() else inputs).cpu().numpy()  # numpy has no bfloat16
    if np.ndim(inputs) != 1:
        raise ValueError(
            f"a waveform has the shape (samples,); got {np.shape(inputs)}. Average channels first, or give"
            " {'array': ..., 'sampling_rate': ...} with channels first; give several clips as a list."
        )
    return inputs


def waveform_from_dict(audio: dict, sampling_rate: int) -> np.ndarray:
    """`{"array": (samples,) or (channels, samples), "sampling_rate": rate}` as a mono waveform at `sampling_rate`.

    Raises:
        ValueError: a key is missing, the samples are integers, or the rate is no positive number.
    """
    waveform, rate = audio.get("array", audio.get("raw")), audio.get("sampling_rate")
    if waveform is None or rate is None:
        raise ValueError(f"a dict must hold 'array' (or 'raw') and 'sampling_rate'; got the keys {sorted(map(str, audio))}.")
    if isinstance(waveform, torch.Tensor):
        waveform = (waveform.float() if waveform.is_floating_point() else waveform).cpu()
    waveform = np.asarray(waveform)
    if not rate > 0:
        raise ValueError(f"'sampling_rate' must be a positive number of samples per second; got {rate!r}.")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(
            f"'array' holds {waveform.dtype} samples; floating point within [-1, 1] is needed. For 16-bit integers:"
            " array.astype('float32') / 32768."
        )
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=0)
    if waveform.ndim != 1:
        raise ValueError(f"'array' must have the shape (samples,) or (channels, samples); got {waveform.shape}.")
    if rate == sampling_rate:
        return waveform
    if soxr is None:
        raise ImportError(f"resampling from {rate} to {sampling_rate} Hz needs soxr: pip install soxr")
    return soxr.resample(waveform, rate, sampling_rate, quality="HQ")


def _fetch(url: str) -> bytes:
    try:
        response = get_session().get(url, timeout=DOWNLOAD_TIMEOUT_S)
        response.raise_for_status()
        return response.content
    except Exception as error:  # those of the HTTP library, whichever that is; their texts hold the whole URL
        answer = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"the server answered {answer}" if answer else type(error).__name__
        raise ValueError(f"cannot read {_shown_url(url)} as audio: it cannot be fetched ({reason}).") from None


def _shown_url(url: str) -> str:
    """A URL as messages name it: without user, password and query, which may be secrets, and without tokens of the Hub."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "the URL"
    return re.sub(r"hf_[A-Za-z0-9]+", "hf_...", f"{parts.scheme}://{host}{parts.path}")


def _decode(source: str | bytes, sampling_rate: int, name: str) -> np.ndarray:
    """The audio of a file, given by its path or as bytes, (samples,) at `sampling_rate`."""
    encoded = isinstance(source, bytes)
    if encoded and not source:
        raise ValueError(f"cannot read {name} as audio: there are none.")
    if mp3_would_be_cut(io.BytesIO(source) if encoded else source):
        raise ValueError(f"cannot read {name} as audio: {MP3_WOULD_BE_CUT}.")
    if encoded:
        source = "data:audio/unknown;base64," + base64.b64encode(source).decode("ascii")
    # soundfile first: the features of a file must not depend on whether FFmpeg, with its own resampler, is installed
    try:
        return load_audio(source, sampling_rate=sampling_rate, backend="soundfile")
    except RuntimeError as unreadable:
        try:
            return load_audio(source, sampling_rate=sampling_rate, backend="torchcodec")
        except (ImportError, RuntimeError):
            reason = "" if encoded else f": {unreadable}"
            raise ValueError(f"cannot read {name} as audio{reason}") from None


# set here, not where the package registers it: a pipeline that was loaded from a repository can then be saved again
MERTFeatureExtractionPipeline._registered_impl = {
    "feature-extraction": {"impl": MERTFeatureExtractionPipeline, "pt": (AutoModel,), "type": "audio"}
}

__all__ = ["MERTFeatureExtractionPipeline", "waveform_from_dict"]
