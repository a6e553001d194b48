"""MERT as an ONNX file, for runtimes without Python or torch."""

import logging
import os
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel, Wav2Vec2FeatureExtractor

from mert_hf.architectures import architecture_of
from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.conversion.onnx_files import LARGEST_INLINE_BYTES, data_beside, describe, quantise, write_in_place
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.encoding.licences import weights_licence
from mert_hf.encoding.loading import UNUSED_WEIGHTS, as_folder, load_extractor, load_model, loading
from mert_hf.encoding.normalisation import normalise_clips, normalise_padded_clips
from mert_hf.encoding.onnx_engine import DTYPES
from mert_hf.encoding.onnx_facts import OnnxFacts
from mert_hf.encoding.torch_engine import ignores_padding
from mert_hf.models.classification_heads_mert import ClipClassification, FrameClassification
from mert_hf.models.views_mert import base_of, input_dtype_of, layers_of, view_of

logger = logging.getLogger(__name__)

# Of inputs and outputs, in their order.
AXES = {
    "input_values": ("batch", "samples"),
    "attention_mask": ("batch", "samples"),
    "last_hidden_state": ("batch", "frames", "hidden"),
    "hidden_states": ("batch", "layers", "frames", "hidden"),
    "frame_mask": ("batch", "frames"),
}


class _Exported(torch.nn.Module):
    """From the waveforms that a feature extractor is given to the tensors of the model's output that a runtime is given."""

    def __init__(self, model: PreTrainedModel, normalises: bool, outputs: list[str]):
        super().__init__()
        self.model = model
        self.normalises = normalises
        self.outputs = outputs

    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None):
        if attention_mask is None:
            heard = normalise_clips(input_values) if self.normalises else input_values
        else:
            audible = attention_mask != 0
            heard = normalise_padded_clips(input_values, audible) if self.normalises else input_values.where(audible, 0.0)
        options = {"output_hidden_states": "hidden_states" in self.outputs}
        outputs = self.model(heard.to(input_dtype_of(self.model)), attention_mask, **options)
        return tuple(self._output(name, outputs, attention_mask) for name in self.outputs)

    def _output(self, name: str, outputs, attention_mask: torch.Tensor | None) -> torch.Tensor:
        if name == "frame_mask":
            framed = outputs.hidden_states[-1] if "hidden_states" in self.outputs else getattr(outputs, self.outputs[0])
            return self.model._get_feature_vector_attention_mask(framed.shape[1], attention_mask)
        if name == "hidden_states":
            return torch.stack(layers_of(outputs, self.model.config), dim=1).float()
        return getattr(outputs, name).float()


def load_for_export(name: str | os.PathLike) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor]:
    """The model of a folder or repository (a classifier with its head, anything else as the encoder alone), and its extractor.

    Raises:
        InputError: one of them cannot be loaded, weights are missing, or the model is no MERT.
    """
    with loading(str(name), name) as place:
        config = AutoConfig.from_pretrained(place)
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
    mask: bool = False,
    dtype: str = "float32",
) -> OnnxFacts:
    """Write a model as ONNX, for batches of any size and clips of any length of at least one frame.

    The file's input is `input_values` (batch, samples) float32, mono, at `config.sample_rate`, as a feature extractor is given
    them: where it says `do_normalize`, the file itself scales every clip to zero mean and unit variance. Clips of one batch
    have one length, unless the file takes a mask. Its first output is `last_hidden_state` (batch, frames, hidden), or `logits`
    of a model with a classifier. The file tells all this of itself ([`OnnxFacts`]), and names its axes.

    Args:
        model: an encoder or a classifier, in float32.
        file: where to write, ending in `.onnx`; weights beyond 1.5 GiB go to a file beside it, named like it with `.data`
            behind, and the two belong together.
        all_layers: whether the second output is `hidden_states` (batch, layers + 1, frames, hidden), which MusicEncoder needs.
        mask: whether a second input is `attention_mask` (batch, samples) int64, 1 for audio and 0 for padding on the right:
            every clip then has the features that it has alone. The last output is `frame_mask` (batch, frames) bool, True
            where a frame is audio, unless there is one decision a clip; what the other frames hold means nothing.
        dtype: of the weights: "float32"; "float16", half the size, computed in float16 where the runtime can; "int8", about a
            third, where matrices of weights alone are in 8 bits, and what they meet is quantised while it runs. Inputs and
            outputs are float32 whatever it is. [`mert_hf.conversion.onnx_loss.measure_loss`] tells what it costs.

    Returns:
        What the file tells of itself.

    Raises:
        InputError: another ending or type, rates of model and extractor that differ, a mask for a model whose features change
            with padding, or the packages of the extra `onnx` are missing.
    """
    file = Path(file)
    if file.suffix != ".onnx":
        raise InputError(f"{file} must end in .onnx.")
    if file.is_dir():
        raise InputError(f"{file} is a folder; give the name of a file.")
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r} is unknown; there are {', '.join(DTYPES)}.")
    if mask and not ignores_padding(model.config):
        raise InputError("padding changes the features of this model (padding_invariant is false): export it without a mask.")
    require_packages("onnx", "onnx", "onnxscript")  # torch's exporter needs them, and says so less clearly
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = _facts_of(model, feature_extractor, all_layers, dtype)
    outputs = _outputs_of(model, all_layers, mask)
    view = view_of(model, "cpu", torch.float16 if dtype == "float16" else torch.float32)
    program = _trace(_Exported(view, facts.normalises, outputs).eval(), mask, model.config.sample_rate)
    size = sum(weights.numel() * weights.element_size() for weights in view.state_dict().values())
    with write_in_place(file) as written:
        exported = written.with_name(f"float32_{written.name}") if dtype == "int8" else written
        program.save(exported, external_data=size > LARGEST_INLINE_BYTES)
        if dtype == "int8":
            quantise(exported, written)
            exported.unlink()
            data_beside(exported).unlink(missing_ok=True)
        frames = ("frames",) if isinstance(model, FrameClassification) else ()
        describe(written, facts.to_metadata(), AXES | {"logits": ("batch", *frames, "classes")})
    logger.info("Wrote %s", file)
    return facts


def _outputs_of(model: PreTrainedModel, all_layers: bool, mask: bool) -> list[str]:
    of_clips = isinstance(model, ClipClassification)
    first = "logits" if hasattr(model, "classifier") else "last_hidden_state"
    return [
        first,
        *(["hidden_states"] if all_layers else []),
        *(["frame_mask"] if mask and (all_layers or not of_clips) else []),
    ]


def _trace(exported: _Exported, mask: bool, sampling_rate: int):
    # two clips of half a second: sizes of 1 would be taken for fixed
    clips = torch.randn(2, sampling_rate // 2)
    given = {"input_values": clips} | ({"attention_mask": torch.ones(clips.shape, dtype=torch.int64)} if mask else {})
    with torch.no_grad():
        return torch.onnx.export(
            exported,
            tuple(given.values()),
            dynamo=True,
            dynamic_shapes={name: dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC) for name in given},
            input_names=list(given),
            output_names=exported.outputs,
            verbose=False,
        )


def _facts_of(model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor, all_layers: bool, dtype: str) -> OnnxFacts:
    config, source = model.config, model.name_or_path
    folder = as_folder(source) if source else None
    frozen = FrozenEncoder(base_of(model), extractor, source or type(model).__name__)  # refuses rates that differ
    return OnnxFacts(
        grid=frozen.grid,
        normalises=frozen.normalises,
        layers=tuple(map(str, range(config.num_hidden_layers + 1))) if all_layers else (),
        dtype=dtype,
        context_seconds=getattr(config, "context_seconds", None),
        # of a folder its name alone: where it lies on this machine is nobody's business
        model=(folder.resolve().name if folder else source) or None,
        revision=getattr(config, "_commit_hash", None),
        licence=weights_licence(source) if source else None,
    )
