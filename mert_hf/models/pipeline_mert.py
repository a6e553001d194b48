"""`pipeline("feature-extraction")` for MERT: a file, bytes or a waveform in, the frames' features out."""

import os

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoModel
from transformers.pipelines.base import ChunkPipeline

from .audio_inputs_mert import EncodedAudio, items_of, read_item, require_samples
from .audio_reading_mert import read_audio
from .errors_mert import AudioError, InputError
from .views_mert import base_of, input_dtype_of, layers_of, view_of
from .windows_mert import DEFAULT_OVERLAP_S, FrameGrid, Window, join_windows, plan_windows, resolve_window_s


class MERTFeatureExtractionPipeline(ChunkPipeline):
    """Features of music, in the form in which the text pipeline returns those of a sentence.

    Input, one or several: a path or URL of an audio file, its bytes, an open file, a mono waveform (samples,) at the model's
    rate, `{"array": waveform, "sampling_rate": rate}` (channels first are averaged, another rate is resampled), or what a row
    of `datasets` holds. Several are a list, a tuple, an array of paths or a column, which give a list; or a generator, a
    `KeyDataset` or a whole dataset with one column of audio, which give an iterator that reads as it goes. All of it is
    described in `audio_inputs_mert.py`.

    Output, for each input: nested lists of shape (1, frames, hidden), a tensor with `return_tensors=True`. With
    `output_hidden_states=True` the states of all layers, (1, layers + 1, frames, hidden).

    A clip longer than `window_s` ("context": as long as what the model was trained on, where it tells, else 30 s) passes
    through the model in windows that overlap by `overlap_s` (3 s), so that memory grows only with the result; each window is a
    clip of its own to the model, and of every overlap half is thrown away on each side. Frame i stands at i * hop / rate
    seconds either way. `window_s=None` gives the whole clip to the model at once, as the official code does. `batch_size`
    counts windows.

    Raises (as it is called): ValueError, of audio that cannot be read or is too short for a frame, windows that cannot be, or
    features that are not finite; TypeError, of an unknown option.

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

    def __call__(self, inputs, *args, **options):
        """Features of one input, or of several; see [`MERTFeatureExtractionPipeline`]."""
        items = items_of(inputs)
        if items is None:
            return super().__call__(inputs, *args, **options)
        streams = isinstance(inputs, Dataset) or hasattr(inputs, "column_names") or not hasattr(inputs, "__len__")
        if not streams and len(inputs) == 0:
            raise InputError("got an empty list; give one path or waveform, or several.")
        # as a generator: lists, transformers would look through for messages of a chat
        found = super().__call__((item for item in items), *args, **options)
        return found if streams else list(found)

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
        if not isinstance(options.get("output_hidden_states", False), bool):
            raise InputError("output_hidden_states must be True or False; with True all layers are returned.")
        stages = {"preprocess": {}, "forward": {}, "postprocess": {}}
        for name, value in options.items():
            stages[known[name]][name] = value
        return tuple(stages.values())

    def preprocess(self, inputs, window_s="context", overlap_s=DEFAULT_OVERLAP_S):
        """Read, mix down, resample and check one input; yield its windows."""
        rate = self.feature_extractor.sampling_rate
        waveform = require_samples(_to_waveform(inputs, rate))
        windows = self._plan_windows(len(waveform), window_s, overlap_s)
        for window in windows:
            clip = waveform[window.start : window.stop]
            batch = self.feature_extractor(clip, sampling_rate=rate, return_attention_mask=True, return_tensors="pt")
            input_values = batch["input_values"].to(input_dtype_of(self.model))
            yield {
                "input_values": input_values,
                "attention_mask": batch["attention_mask"],
                "window": window,
                "is_last": window is windows[-1],
            }

    def _plan_windows(self, num_samples: int, window_s: float | str | None, overlap_s: float) -> list[Window]:
        config = self.model.config
        grid = FrameGrid.of(config, self.feature_extractor.sampling_rate)
        if grid is None:
            # a model of separate pieces cuts its input itself; it makes fewer vectors than there are samples: all are kept
            return [Window(0, num_samples, 0, num_samples, 0)]
        return plan_windows(num_samples, grid, resolve_window_s(window_s, config), overlap_s)

    def _forward(self, model_inputs, output_hidden_states=False):
        attention_mask = model_inputs["attention_mask"]
        model = base_of(self.model, "the model")
        if model.training:  # dropout and masks would be drawn; the model itself stays in the mode that its owner wants
            model = view_of(model, self.device)
        outputs = model(
            model_inputs["input_values"],
            # without padding the model runs as it does without a mask, to the last bit
            attention_mask=None if attention_mask.all() else attention_mask,
            output_hidden_states=output_hidden_states,
        )
        features = torch.stack(layers_of(outputs, model.config), 1) if output_hidden_states else outputs.last_hidden_state
        return {"features": features, "window": model_inputs["window"], "is_last": model_inputs["is_last"]}

    def postprocess(self, model_outputs, return_tensors=False):
        """Cut padding and overlaps, join the windows, and return a tensor or nested lists."""
        features = join_windows([_require_finite(output["window"].keep(output.pop("features"))) for output in model_outputs])
        return features if return_tensors else features.tolist()


def _to_waveform(inputs, sampling_rate: int) -> np.ndarray:
    audio = read_item(inputs)
    if not isinstance(audio, EncodedAudio):
        return audio.to_mono(sampling_rate)
    # transformers would try to decode the name of a missing file as base64
    if isinstance(audio.source, str) and not os.path.isfile(audio.source):
        raise InputError(f"cannot read {audio.name} as audio: there is no such file.")
    try:
        return read_audio(audio.source, sampling_rate)
    except AudioError as error:
        raise InputError(f"cannot read {audio.name} as audio: {error}") from None


def _require_finite(features: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(features).all():
        raise InputError(
            f"the model's features are not finite in {str(features.dtype).removeprefix('torch.')}; give pipeline(...,"
            " dtype=torch.float32), and see that the weights are finite."
        )
    return features


# set here, not where the package registers it: a pipeline that was loaded from a repository can then be saved again
MERTFeatureExtractionPipeline._registered_impl = {
    "feature-extraction": {"impl": MERTFeatureExtractionPipeline, "pt": (AutoModel,), "type": "audio"}
}

__all__ = ["MERTFeatureExtractionPipeline"]
