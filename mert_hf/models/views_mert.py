"""Computing with somebody's model without touching it."""

import copy

import torch
import torch.nn as nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from .errors_mert import InputError


def view_of(
    model: PreTrainedModel,
    device: str | torch.device,
    dtype: torch.dtype | None = None,
    num_layers: int | None = None,
) -> PreTrainedModel:
    """A model that shares all weights with another one, and has a mode, a depth and hooks of its own.

    What is done with the view leaves the model as it was: it computes in `eval()`, on `device` and in `dtype`, and what
    transformers and others install in it while it runs goes with it. Weights are copied only where device or type differ.

    Args:
        model: whose weights are used; they may not change while the view is in use.
        device: where the view computes.
        dtype: in which; as the model by default.
        num_layers: of its encoder, the first so many; all by default. Hidden states are then those of the layers that are left,
            none of them normalised for what follows the last layer of the whole model.
    """
    # whatever deepcopy meets under these numbers is not copied: in its place stands what is given here
    given: dict[int, object] = {
        id(weights): nn.Parameter(weights.detach(), requires_grad=False) for weights in model.parameters()
    }
    given |= {id(buffer): buffer for buffer in model.buffers()}
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):  # kept by a hook, perhaps with a graph, which cannot be copied
                given[id(value)] = value
            elif name.endswith("_hooks") and isinstance(value, dict):  # methods of objects that must stay one
                given |= {id(hook): hook for hook in value.values()}
    left = None if num_layers is None else max(num_layers, 1)  # the input of the first layer is seen where it enters
    blocks = blocks_of(model)
    cut = left is not None and blocks is not None and left < len(blocks)
    if cut:
        given |= {id(layer): nn.Identity() for layer in blocks[left:]}
    for module in reversed(
        list(model.modules())
    ):  # parts that torch.compile wraps, inner ones first: compiled anew, they cost minutes
        if "_orig_mod" in module._modules:
            given[id(module)] = copy.deepcopy(module._orig_mod, given)
    view = copy.deepcopy(model, given)
    if cut:
        del blocks_of(view)[left:]
        view.config.tie_last_hidden_states = False
    return view.to(device=device, dtype=dtype).eval()


def blocks_of(model: PreTrainedModel) -> nn.ModuleList | None:
    """The layers of an encoder, which lie in it or in a part of it; None where there are none."""
    for owner in (model, getattr(model, "encoder", None)):
        if isinstance(getattr(owner, "layers", None), nn.ModuleList):
            return owner.layers
    return None


def layers_of(outputs: ModelOutput, config: PreTrainedConfig) -> tuple[torch.Tensor, ...]:
    """Hidden states from layer 0, the input of the first layer, on: as `output_hidden_states=True` returned them.

    MERT-v2 leaves that one out of its tuple, as its official code does.
    """
    states = outputs.hidden_states
    begins_late = getattr(config, "hidden_states_include_input", None) is False
    return (outputs.extract_features, *states) if begins_late else states


def input_dtype_of(model: PreTrainedModel) -> torch.dtype:
    """Type of the waveforms that a model is given: its own, or the one that it asks for whatever its weights are in."""
    return getattr(model, "input_dtype", model.dtype)


def base_of(model: nn.Module, name: str = "the model") -> PreTrainedModel:
    """The encoder in a model with a head, a PEFT model (adapters included), a compiled or a parallel one.

    Raises:
        InputError: it holds no model of transformers, or adds something before it that the encoder alone would lack.
    """
    while not isinstance(model, PreTrainedModel):
        if hasattr(model, "_orig_mod"):  # torch.compile
            model = model._orig_mod
        elif hasattr(model, "get_base_model"):  # PEFT
            if getattr(model.active_peft_config, "is_prompt_learning", False):
                raise InputError(f"{name} learns prompts, which its encoder alone would lack; adapters such as LoRA are taken.")
            model = model.get_base_model()
        elif isinstance(getattr(model, "module", None), nn.Module):  # DataParallel and its kind
            model = model.module
        else:
            raise InputError(f"{name} is a {type(model).__name__}; a model of transformers is needed.")
    return model.base_model


__all__ = ["base_of", "blocks_of", "input_dtype_of", "layers_of", "view_of"]
