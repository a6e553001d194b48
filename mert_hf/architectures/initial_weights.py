"""The weights a run begins with: fresh ones, or those of a trained model, with the heads it has or new ones."""

import logging
from dataclasses import dataclass, fields
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import seed_torch
from mert_hf.common.settings import check_values, setting, suggest
from mert_hf.encoding.loading import list_some, load_weights, loading
from mert_hf.models.remote_code_mert import CODE_FIELDS

logger = logging.getLogger(__name__)


@dataclass
class InitSettings:
    """The weights to begin with."""

    model: str | None = setting(None, "a folder, a released model or a MERT of the Hub to go on from; fresh weights by default")
    revision: str = setting("main", "revision of the model on the Hub")
    new_heads: bool = setting(False, "agree that heads which the model does not have, or of another size, are drawn anew")

    def __post_init__(self):
        check_values(self, "init")


def read_config(config_class: type[PreTrainedConfig], init: InitSettings) -> dict[str, Any] | None:
    """Fields of the configuration of `init.model`; None where a run begins with fresh weights.

    Raises:
        InputError: it cannot be read.
    """
    if init.model is None:
        return None
    with loading(f"init.model={init.model!r}", init.model) as place:
        given = config_class.from_pretrained(place, revision=init.revision).to_dict()
    return {name: value for name, value in given.items() if name not in CODE_FIELDS}


def make_config(config_class: type[PreTrainedConfig], model: dict[str, Any], given: dict[str, Any]) -> PreTrainedConfig:
    """A configuration of the fields `model` over those that are `given`.

    Raises:
        InputError: a field there is not, or a value that is not taken.
    """
    known = sorted(field.name for field in fields(config_class) if not field.name.startswith("_"))
    for name in model:
        if name not in known:
            raise InputError(f"model.{name} is no field of {config_class.__name__}" + suggest(name, known))
    try:
        return config_class(**{**given, **model})
    except (StrictDataclassError, ValueError) as error:
        raise InputError(f"model: {' '.join(str(error.__cause__ or error).split())}") from None


def build_model(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    init: InitSettings,
    seed: int,
    attention: str = "sdpa",
    gradient_checkpointing: bool = False,
    heads: tuple[str, ...] = (),
) -> PreTrainedModel:
    """A model with the weights it begins with, in float32; what is drawn is a function of the run's seed.

    Args:
        attention: how attention is computed, where the model has any.
        gradient_checkpointing: compute activations twice instead of keeping them.
        heads: names of parts that `init.model` may lack, where `init.new_heads` agrees to draw them anew.

    Raises:
        InputError: `init.model` cannot be loaded, does not fit `config`, or lacks tensors that nobody agreed to draw anew; or
            the model does not have `training.attention`.
    """
    seed_torch(seed, "weights")
    options = {"attn_implementation": attention} if model_class._supports_sdpa else {}
    try:
        if init.model is None:
            model = model_class._from_config(config, **options)
        else:
            model = _load(model_class, config, init, heads, options)
    except (ImportError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"training.attention={attention}: {' '.join(str(error).split())}") from None
    if gradient_checkpointing:
        # the reentrant form cannot be told which weights LayerDrop left without a gradient
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return model


def _load(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    init: InitSettings,
    heads: tuple[str, ...],
    options: dict[str, str],
) -> PreTrainedModel:
    loaded = load_weights(
        model_class,
        init.model,
        f"init.model={init.model!r}",
        may_lack=heads,
        lack="does not hold the encoder that model.* describes",
        remedy="Leave out the model.* that change the size of the encoder.",
        revision=init.revision,
        config=config,
        dtype=torch.float32,
        **options,
    )
    if loaded.drawn and not init.new_heads:
        raise InputError(
            f"init.model={init.model!r} holds no heads that fit: {list_some(loaded.drawn)} would be drawn anew. Agree with"
            " --init.new_heads true, or give a folder that has them, such as one that mert-hf convert made of a fairseq"
            " checkpoint."
        )
    if loaded.left_out:
        logger.warning("Left out what the model has no place for: %s", list_some(loaded.left_out))
    logger.info("Starting from %s; drawn anew: %s", init.model, ", ".join(loaded.drawn) or "nothing")
    return loaded.model
