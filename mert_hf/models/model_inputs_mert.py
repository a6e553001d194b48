"""What the models of this package are given, checked: tensors of waveforms and of masks, and what they are asked for."""

import torch
from transformers import PreTrainedConfig


def require_waveforms(input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
    """Refuse what is no batch of waveforms with, or without, its mask.

    Raises:
        ValueError: arrays or lists, integers, another number of axes, no clips, or a mask of another shape.
    """
    if input_values is None:
        raise ValueError("input_values is missing; MERTFeatureExtractor(..., return_tensors='pt') makes them.")
    require_tensor("input_values", input_values)
    require_tensor("attention_mask", attention_mask)
    if input_values.ndim != 2 or not input_values.is_floating_point() or input_values.shape[0] == 0:
        raise ValueError(
            f"input_values must be floating point of shape (batch, samples), mono; got {input_values.dtype} of shape"
            f" {tuple(input_values.shape)}. Average channels first; MERTFeatureExtractor makes such a batch."
        )
    if attention_mask is None:
        return
    if attention_mask.shape != input_values.shape:
        raise ValueError(
            f"attention_mask must have the shape of input_values, {tuple(input_values.shape)} (samples, not frames); got"
            f" {tuple(attention_mask.shape)}."
        )


def require_right_padding(attention_mask: torch.Tensor) -> int:
    """Refuse padding that would change the features of what is there in silence; returns the samples of the shortest clip.

    Raises:
        ValueError: anything but 1 for audio, then 0 for padding.
    """
    audible = (attention_mask != 0).sum(-1)
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    is_prefix = attention_mask == (places < audible.unsqueeze(-1))
    shortest, is_prefix = torch.stack([audible.min().long(), is_prefix.all().long()]).tolist()
    if not is_prefix:
        raise ValueError("attention_mask must be 1 for audio and 0 for padding, which lies on the right of every clip.")
    return shortest


def require_exact_attention(config: PreTrainedConfig, device: torch.device) -> None:
    """Refuse an implementation of attention that is known to be wrong on this processor.

    Raises:
        ValueError: flex_attention on a CPU with AVX2 and without AVX-512, for which torch 2.14 compiles a kernel that gives
            other numbers or NaN.
    """
    wrong = config._attn_implementation == "flex_attention" and device.type == "cpu"
    if wrong and torch.backends.cpu.get_cpu_capability() == "AVX2":
        raise ValueError(
            "torch's flex_attention gives wrong numbers on this CPU (AVX2); set_attn_implementation('sdpa') is exact."
        )


def require_tensor(name: str, given: object) -> None:
    """Refuse what is neither a tensor nor left out.

    Raises:
        ValueError: it is an array, a list or something else.
    """
    if given is not None and not isinstance(given, torch.Tensor):
        raise ValueError(
            f"{name} must be a tensor; got {type(given).__name__}. torch.as_tensor, or MERTFeatureExtractor(...,"
            " return_tensors='pt'), makes one."
        )


def fit_to_frames(name: str, labels: torch.Tensor, frames_shape: torch.Size, width: int, of: str) -> torch.Tensor:
    """Cut (batch, label frames, width) to the model's frames, or say what does not fit."""
    batch, num_frames = frames_shape
    if labels.ndim != 3 or labels.shape[0] != batch or labels.shape[2] != width:
        layout = "(batch, codebooks, frames)" if of == "codebooks" else "(batch, frames, bins)"
        given = tuple(labels.mT.shape) if of == "codebooks" and labels.ndim == 3 else tuple(labels.shape)
        raise ValueError(f"{name} must have the shape {layout} with batch {batch} and {width} {of}; got {given}.")
    if labels.shape[1] < num_frames:
        raise ValueError(
            f"{name} has {labels.shape[1]} frames, fewer than the {num_frames} of the model; give labels of the whole clip"
            " (longer ones are cut)."
        )
    return labels[:, :num_frames]


def repeat_for_masks(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(batch, ...) -> (masks * batch, ...), as many copies, one behind the other, as `mask` has rows for every clip.

    What is heard before frames are hidden is computed once and meets several masks here. Without a mask, or with one row a
    clip, the values are what is given; so they are where the rows are no multiple of the clips, which whoever hides frames
    refuses.
    """
    if mask is None or mask.ndim != 2 or mask.shape[0] == values.shape[0] or mask.shape[0] % values.shape[0]:
        return values
    return torch.cat([values] * (mask.shape[0] // values.shape[0]))


def wants_hidden_states(asked: bool | None, config: PreTrainedConfig) -> bool:
    """Whether hidden states are to be returned: as the call says, or else the configuration."""
    return bool(config.output_hidden_states if asked is None else asked)


__all__ = [
    "fit_to_frames",
    "repeat_for_masks",
    "require_exact_attention",
    "require_right_padding",
    "require_tensor",
    "require_waveforms",
    "wants_hidden_states",
]
