"""MERT as an ONNX file, for runtimes without Python or torch."""

import logging
import os
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel, Wav2Vec2FeatureExtractor

from mert_hf.architectures import architecture_of
from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.encoding.loading import UNUSED_WEIGHTS, load_extractor, load_model, loading
from mert_hf.encoding.normalisation import normalise_clips
from mert_hf.models.views_mert import layers_of, view_of

logger = logging.getLogger(__name__)


class _Exported(torch.nn.Module):
    """From the waveforms that a feature extractor is given to the tensors of the model's output that a runtime is given."""

    def __init__(self, model: PreTrainedModel, normalises: bool, all_layers: bool):
        super().__init__()
        self.model = model
        self.normalises = normalises
        self.all_layers = all_layers

    def forward(self, input_values: torch.Tensor):
        if self.normalises:
            input_values = normalise_clips(input_values)
        outputs = self.model(input_values, output_hidden_states=self.all_layers)
        first = outputs.logits if hasattr(outputs, "logits") else outputs.last_hidden_state
        return (first, torch.stack(layers_of(outputs, self.model.config), dim=1)) if self.all_layers else first


def load_for_export(name: str | os.PathLike) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor]:
    """The model of a folder or repository (a classifier with its head, anything else as the encoder alone), and its extractor.

    Raises:
        InputError: one of them cannot be loaded, weights are missing, or the model is no MERT.
    """
    with loading(str(name), name):
        config = AutoConfig.from_pretrained(name)
    architecture = architecture_of(config)
    if architecture is None or architecture.clip_classifier is None:
        raise InputError(f"{name} is a {config.model_type!r} model; MERT models can be exported.")
    saved = (config.architectures or [""])[0]
    classifiers = (architecture.clip_classifier, architecture.frame_classifier)
    # a classifier with its head, everything else as its encoder
    model_class = next((found for found in classifiers if found.__name__ == saved), architecture.model_class)
    return load_model(model_class, name, may_lack=UNUSED_WEIGHTS, dtype=torch.float32), load_extractor(name)


def export_onnx(
    model: PreTrainedModel,
    feature_extractor: Wav2Vec2FeatureExtractor,
    file: str | os.PathLike,
    all_layers: bool = False,
) -> None:
    """Write a model as ONNX, for batches of any size and clips of any length of at least one frame.

    The file's input is `input_values` (batch, samples) float32, mono, at `config.sample_rate`, as a feature extractor is given
    them: where it says `do_normalize`, the file itself scales every clip to zero mean and unit variance. Clips of one batch
    have one length: there is no attention mask, since a runtime can run clips of other lengths one by one. Its first output is
    `last_hidden_state` (batch, frames, hidden), or `logits` of a model with a classifier.

    Args:
        model: an encoder or a classifier, in float32.
        file: where to write, ending in `.onnx`; weights beyond 2 GB, ONNX's limit, go to a file beside it.
        all_layers: whether the second output is `hidden_states` (batch, layers + 1, frames, hidden).

    Raises:
        InputError: another ending, or the packages of the extra `onnx` are missing.
    """
    file = Path(file)
    if file.suffix != ".onnx":
        raise InputError(f"{file} must end in .onnx.")
    require_packages("onnx", "onnx", "onnxscript")  # torch's exporter needs them, and says so less clearly
    file.parent.mkdir(parents=True, exist_ok=True)
    exported = _Exported(view_of(model, model.device), feature_extractor.do_normalize, all_layers).eval()
    first = "logits" if hasattr(model, "classifier") else "last_hidden_state"
    with torch.no_grad():
        # two clips of half a second: sizes of 1 would be taken for fixed
        program = torch.onnx.export(
            exported,
            (torch.randn(2, model.config.sample_rate // 2),),
            dynamo=True,
            dynamic_shapes={"input_values": {0: "batch", 1: "samples"}},
            input_names=["input_values"],
            output_names=[first, *(["hidden_states"] if all_layers else [])],
            verbose=False,
        )
    program.save(file)
    logger.info("Wrote %s", file)
