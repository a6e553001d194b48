"""Official fairseq checkpoints to Hugging Face folders, heads included, without running anything that a checkpoint holds."""

import os
import re
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mert_hf.common.errors import InputError
from mert_hf.common.reading import shown, to_dataclass
from mert_hf.common.seeding import generator
from mert_hf.conversion.checkpoints import read_checkpoint, rename, require_equal_shapes, require_weights
from mert_hf.encoding.loading import telling
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_mert import MERTForPreTraining
from mert_hf.objectives.masking import draw_span_mask

# (fairseq, ours); the first pattern that fits the beginning of a name renames it (mert_fairseq, scripts/convert_MERT_HF.py)
RENAMINGS = (
    (r"mask_emb$", "mert.masked_spec_embed"),
    (r"layer_norm\.", "mert.feature_projection.layer_norm."),
    (r"post_extract_proj\.", "mert.feature_projection.projection."),
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"mert.feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?", r"mert.feature_extractor.conv_layers.\1.layer_norm."),
    (r"encoder\.pos_conv\.0\.weight_g$", "mert.encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"encoder\.pos_conv\.0\.weight_v$", "mert.encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"encoder\.pos_conv\.0\.", "mert.encoder.pos_conv_embed.conv."),
    (r"encoder\.layers\.(\d+)\.self_attn\.", r"mert.encoder.layers.\1.attention."),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"mert.encoder.layers.\1.layer_norm."),
    (r"encoder\.layers\.(\d+)\.fc1\.", r"mert.encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"encoder\.layers\.(\d+)\.fc2\.", r"mert.encoder.layers.\1.feed_forward.output_dense."),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.", r"mert.encoder.layers.\1.final_layer_norm."),
    (r"encoder\.layer_norm\.", "mert.encoder.layer_norm."),
    (r"final_proj\.", "code_head.projection."),
    (r"label_embs_concat$", "code_head.code_embeddings"),
    (r"encoder_cqt_model\.fc\.", "cqt_head."),
)
# kernels that follow from the configuration, and the mel head, which no recipe trains
LEFT_OUT = ("encoder_cqt_model.spec_layer.", "encoder_mel_model.", "feature_extractor_cqt.")

# ours, fairseq's in cfg.model
CONFIG_FIELDS = {
    "hidden_size": "encoder_embed_dim",
    "num_hidden_layers": "encoder_layers",
    "intermediate_size": "encoder_ffn_embed_dim",
    "num_attention_heads": "encoder_attention_heads",
    "hidden_act": "activation_fn",
    "do_stable_layer_norm": "layer_norm_first",
    "hidden_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "layerdrop": "encoder_layerdrop",
    "feat_proj_dropout": "dropout_input",
    "conv_bias": "conv_bias",
    "num_conv_pos_embeddings": "conv_pos",
    "num_conv_pos_embedding_groups": "conv_pos_groups",
    "code_dim": "final_dim",
    "logit_temperature": "logit_temp",
    "feature_grad_mult": "feature_grad_mult",
    "cqt_bins": "audio_cqt_bins",
    "deepnorm": "deepnorm",
    "attention_relax": "attention_relax",
    "feature_extractor_cqt": "feature_extractor_cqt",
    "feature_extractor_cqt_bins": "feature_extractor_cqt_bins",
}
# What no model of this kind has (330M: 24 layers, seven convolutions, sizes up to 4096); who says more is damaged.
MOST_LAYERS, MOST_CONVOLUTIONS, LARGEST_SIZE = 100, 100, 2**16
# Of cfg.model.conv_feature_layers: characters, and one of the lists that are added up, which may be repeated.
MOST_LAYERS_TEXT = 1000
LAYERS_TERM = re.compile(r"\[(?P<list>(\(\d{1,6},\d{1,6},\d{1,6}\)(,|(?=\])))+)\](\*(?P<times>\d{1,3}))?")


@dataclass
class FairseqModel:
    """What is read of `cfg.model` of a checkpoint, as fairseq names it; what is missing has the defaults of MERT-v1-95M."""

    encoder_layers: int
    encoder_embed_dim: int
    encoder_ffn_embed_dim: int
    encoder_attention_heads: int
    final_dim: int
    conv_feature_layers: str
    activation_fn: str | None = None
    layer_norm_first: bool | None = None
    dropout: float | None = None
    attention_dropout: float | None = None
    activation_dropout: float | None = None
    encoder_layerdrop: float | None = None
    dropout_input: float | None = None
    conv_bias: bool | None = None
    conv_pos: int | None = None
    conv_pos_groups: int | None = None
    logit_temp: float | None = None
    feature_grad_mult: float | None = None
    audio_cqt_bins: int | None = None
    deepnorm: bool | None = None
    attention_relax: float | None = None
    feature_extractor_cqt: bool | None = None
    feature_extractor_cqt_bins: int | None = None
    extractor_mode: str = "default"
    untie_final_proj: bool = True
    learnable_temp: bool = False
    subln: bool = False
    target_glu: bool = False


@dataclass
class FairseqTask:
    """What is read of `cfg.task`."""

    sample_rate: float = 24000
    normalize: bool = False


@dataclass
class FairseqCriterion:
    """What is read of `cfg.criterion`."""

    loss_weights: list[float] | None = None


class _Stub:
    """Stands in for a class of fairseq: takes its state as plain attributes and does nothing."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


def convert_fairseq_checkpoint(
    checkpoint: str | os.PathLike, output_dir: str | os.PathLike, code_offset: int = 4
) -> MERTForPreTraining:
    """Turn a fairseq `.pt` of MERT into a folder for `AutoModel` and `MERTForPreTraining`.

    The file is read by torch's restricted unpickler; the few classes of fairseq that a checkpoint names are replaced by empty
    stand-ins. Code in a checkpoint is never run.

    Args:
        checkpoint: file with `model` and `cfg`.
        output_dir: folder to write: configuration, weights (safetensors), feature extractor.
        code_offset: how far a teacher's code lies behind its row of the label table: 4 where the labels went through fairseq's
            dictionary (4 special symbols), 0 where they did not. For the published checkpoints nobody has said;
            [`measure_code_offset`] tells which fits.

    Raises:
        InputError: the file is no such checkpoint, holds a class that is not allowed, or a model that MERT cannot be.
    """
    file = Path(checkpoint)
    allowed = [(_Stub, "fairseq.data.dictionary.Dictionary"), (Namespace, "argparse.Namespace")]
    state = read_checkpoint(file, allowed)
    if not isinstance(state, dict):
        raise InputError(f"{checkpoint} is no fairseq checkpoint of MERT: it holds a {type(state).__name__}.")
    for name in ("model", "cfg"):
        if not isinstance(state.get(name), dict):
            held = ", ".join(sorted(str(key)[:80] for key in state)[:10])
            raise InputError(f"{checkpoint} is no fairseq checkpoint of MERT: it has no {name!r}; it has {held}.")
    theirs = require_weights(state["model"], file)
    weights = {rename(name, RENAMINGS): tensor for name, tensor in theirs.items() if not name.startswith(LEFT_OUT)}
    config, normalize = _read_config(state["cfg"], weights, code_offset, file)
    with torch.device("meta"):  # shapes without memory
        expected = MERTForPreTraining(config).state_dict()
    require_equal_shapes(weights, expected, file)
    model = MERTForPreTraining(config)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    model.eval().save_pretrained(output_dir)
    MERTFeatureExtractor(sampling_rate=config.sample_rate, do_normalize=normalize).save_pretrained(output_dir)
    return model


@torch.no_grad()
def measure_code_offset(
    model: MERTForPreTraining, code_teacher, clips: Iterable[torch.Tensor], offsets: tuple[int, ...] = (0, 4), seed: int = 0
) -> dict[int, float]:
    """Masked accuracy under each assumption of where a code lies in the label table; the right one is far above chance.

    Args:
        model: with heads; its own `code_offset` is not used.
        code_teacher: the teacher it was trained with (EnCodec at 6 kbit/s for MERT-v1).
        clips: waveforms (samples,) at the model's rate, a few seconds each.

    Returns:
        Mean accuracy over codebooks and masked frames, 0 to 1, for each offset.
    """
    config, books = model.config, len(code_teacher.codebook_sizes)
    given = (code_teacher.sampling_rate, code_teacher.frame_rate, books)
    if given != (config.sample_rate, config.frame_rate, len(config.codebook_sizes)):
        raise InputError(
            f"the teacher gives {books} codebooks at {given[0]} Hz and {given[1]:g} frames per second, the model was trained on"
            f" {len(config.codebook_sizes)} at {config.sample_rate} Hz and {config.frame_rate:g}: another teacher."
        )
    right, count = dict.fromkeys(offsets, 0), 0
    for number, clip in enumerate(clips):
        frames = model.count_frames(len(clip))
        mask = draw_span_mask(1, frames, generator(seed, "code offset", number))
        states = model.mert(clip[None], mask_time_indices=mask).last_hidden_state[mask]
        best = torch.stack([logits.argmax(-1) for logits in model.code_head(states)])
        codes = code_teacher(clip[None])[0][:, :frames][:, mask[0]]
        count += codes.numel()
        for offset in offsets:
            right[offset] += int((best == codes + offset).sum())
    if count == 0:
        raise InputError("no clip was given; the offset is measured on music.")
    return {offset: hits / count for offset, hits in right.items()}


def _read_config(cfg: dict, weights: dict[str, torch.Tensor], code_offset: int, file: Path) -> tuple[MERTConfig, bool]:
    """The model's configuration, and whether its input is normalised."""
    if not isinstance(cfg.get("model"), dict) or "encoder_layers" not in cfg["model"]:
        raise InputError(f"{file}: its configuration does not describe a MERT model (cfg.model.encoder_layers is missing).")
    parts = (("model", FairseqModel), ("task", FairseqTask), ("criterion", FairseqCriterion))
    model, task, criterion = (_read_part(schema, cfg.get(part) or {}, f"{file}: cfg.{part}") for part, schema in parts)
    for name, meant in (("untie_final_proj", True), ("learnable_temp", False), ("subln", False), ("target_glu", False)):
        if getattr(model, name) != meant:
            raise InputError(f"{file} was trained with {name}={not meant}, which MERTForPreTraining does not have.")
    _require_sizes(model, file)
    layers = _read_layers(model.conv_feature_layers)
    penalty, cqt_weight = (list(criterion.loss_weights or [10, 1]) + [1])[:2]
    for name in ("code_head.code_embeddings", "code_head.projection.weight"):
        if name not in weights:
            raise InputError(f"{file} holds no pre-training heads ({name} is missing).")
        if weights[name].ndim != 2:
            raise InputError(f"{file}: {name} has the shape {tuple(weights[name].shape)}; expected a matrix.")
    rows, books = len(weights["code_head.code_embeddings"]), len(weights["code_head.projection.weight"]) // model.final_dim
    if not 1 <= books <= rows or rows % books:
        raise InputError(f"{file}: the {rows} rows of label_embs_concat do not divide into {books} codebooks of equal size.")
    given = {ours: getattr(model, theirs) for ours, theirs in CONFIG_FIELDS.items()}
    with telling(f"the configuration in {file}"):
        config = MERTConfig(
            **{name: value for name, value in given.items() if value is not None},
            conv_dim=[layer[0] for layer in layers],
            conv_kernel=[layer[1] for layer in layers],
            conv_stride=[layer[2] for layer in layers],
            feat_extract_norm="layer" if model.extractor_mode == "layer_norm" else "group",
            sample_rate=int(task.sample_rate),
            codebook_sizes=[rows // books] * books,
            code_offset=code_offset,
            feature_penalty_weight=penalty,
            cqt_loss_weight=cqt_weight,
        )
    return config, task.normalize


def _read_part(schema: type, part: Any, where: str) -> Any:
    """The fields of a part of the configuration that are needed; it holds many more."""
    if not isinstance(part, dict):
        raise InputError(f"{where} is damaged: it holds {type(part).__name__}.")
    needed = {field.name for field in fields(schema)}
    return to_dataclass(schema, {name: value for name, value in part.items() if name in needed}, where)


def _require_sizes(model: FairseqModel, file: Path) -> None:
    for field in fields(model):
        value = getattr(model, field.name)
        most = MOST_LAYERS if field.name == "encoder_layers" else LARGEST_SIZE
        if isinstance(value, int) and not isinstance(value, bool) and not -1 <= value <= most:
            raise InputError(f"{file}: {field.name}={value:.6g}; models have up to {most:,}.")
    if model.final_dim < 1:
        raise InputError(f"{file}: final_dim={model.final_dim}; 1 or more is needed.")


def _read_layers(text: str) -> list[tuple[int, int, int]]:
    """Read "[(512,10,5)] + [(512,3,2)] * 4" without evaluating it as code."""
    refusal = InputError(
        f"conv_feature_layers {shown(text)} is no list of up to {MOST_CONVOLUTIONS} convolutions (channels, kernel, stride)."
    )
    terms = [LAYERS_TERM.fullmatch(term) for term in re.sub(r"\s", "", text).split("+")]
    if len(text) > MOST_LAYERS_TEXT or not all(terms):
        raise refusal
    layers: list[tuple[int, int, int]] = []
    for term in terms:
        sizes = re.findall(r"(\d+),(\d+),(\d+)", term["list"])
        layers += [(int(channels), int(kernel), int(stride)) for channels, kernel, stride in sizes] * int(term["times"] or 1)
    if not 0 < len(layers) <= MOST_CONVOLUTIONS or not all(1 <= size <= LARGEST_SIZE for layer in layers for size in layer):
        raise refusal
    return layers
