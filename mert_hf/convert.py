"""Official fairseq checkpoints to Hugging Face folders, heads included, without running anything that a checkpoint holds."""

import ast
import os
import re
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from mert_hf.checkpoints import read_checkpoint, require_equal_shapes
from mert_hf.configuration_mert import MERTConfig
from mert_hf.errors import InputError
from mert_hf.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.masking import draw_span_mask
from mert_hf.modeling_mert import MERTForPreTraining
from mert_hf.seeding import generator

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
    state = _load(Path(checkpoint))
    for name in ("model", "cfg"):
        if not isinstance(state.get(name), dict):
            raise InputError(f"{checkpoint} is no fairseq checkpoint of MERT: it has no {name!r}; it has {sorted(state)}.")
    weights = {_rename(name): tensor.float() for name, tensor in state["model"].items() if not name.startswith(LEFT_OUT)}
    config = _read_config(state["cfg"], weights, code_offset)
    model = MERTForPreTraining(config)
    require_equal_shapes(weights, model.state_dict(), Path(checkpoint))
    model.load_state_dict(weights)
    model.eval().save_pretrained(output_dir)
    normalize = bool(state["cfg"].get("task", {}).get("normalize", False))
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
        offsets: to compare.
        seed: of the masks.

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


def _load(checkpoint: Path) -> dict:
    allowed = [(_Stub, "fairseq.data.dictionary.Dictionary"), (Namespace, "argparse.Namespace")]
    state = read_checkpoint(checkpoint, allowed)
    if not isinstance(state, dict):
        raise InputError(f"{checkpoint} is no fairseq checkpoint of MERT: it holds a {type(state).__name__}.")
    return state


def _rename(name: str) -> str:
    for pattern, ours in RENAMINGS:
        renamed, count = re.subn("^" + pattern, ours, name)
        if count:
            return renamed
    return name


def _read_config(cfg: dict, weights: dict[str, torch.Tensor], code_offset: int) -> MERTConfig:
    model, task, criterion = (cfg.get(part) or {} for part in ("model", "task", "criterion"))
    if not isinstance(model, dict) or "encoder_layers" not in model:
        raise InputError("the checkpoint's configuration does not describe a MERT model (cfg.model.encoder_layers is missing).")
    for name, meant in (("untie_final_proj", True), ("learnable_temp", False), ("subln", False), ("target_glu", False)):
        if bool(model.get(name, meant)) != meant:
            raise InputError(f"the checkpoint was trained with {name}={model[name]}, which MERTForPreTraining does not have.")
    fields = {ours: model[theirs] for ours, theirs in CONFIG_FIELDS.items() if theirs in model}
    layers = _read_layers(model["conv_feature_layers"])
    penalty, cqt_weight = (list(criterion.get("loss_weights") or [10, 1]) + [1])[:2]
    try:
        table, projection = weights["code_head.code_embeddings"], weights["code_head.projection.weight"]
    except KeyError as missing:
        raise InputError(f"the checkpoint holds no pre-training heads ({missing.args[0]} is missing).") from None
    books = projection.shape[0] // fields["code_dim"]
    if table.shape[0] % books:
        raise InputError(f"the {table.shape[0]} rows of label_embs_concat do not divide into {books} codebooks of equal size.")
    return MERTConfig(
        **fields,
        conv_dim=[layer[0] for layer in layers],
        conv_kernel=[layer[1] for layer in layers],
        conv_stride=[layer[2] for layer in layers],
        feat_extract_norm="layer" if model.get("extractor_mode") == "layer_norm" else "group",
        sample_rate=int(task.get("sample_rate", 24000)),
        codebook_sizes=[table.shape[0] // books] * books,
        code_offset=code_offset,
        feature_penalty_weight=penalty,
        cqt_loss_weight=cqt_weight,
    )


def _read_layers(text: str) -> list[tuple[int, int, int]]:
    """Read "[(512,10,5)] + [(512,3,2)] * 4" without evaluating it as code."""

    def read(node: ast.expr):
        match node:
            case ast.BinOp(left, ast.Add(), right):
                return read(left) + read(right)
            case ast.BinOp(left, ast.Mult(), right):
                return read(left) * read(right)
            case ast.List(items):
                return [read(item) for item in items]
            case ast.Tuple(items):
                return tuple(read(item) for item in items)
            case ast.Constant(int(value)):
                return value
        raise InputError(f"conv_feature_layers {text!r} is no list of (channels, kernel, stride).")

    try:
        return read(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError):
        raise InputError(f"conv_feature_layers {text!r} is no list of (channels, kernel, stride).") from None
