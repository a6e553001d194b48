"""Configurations: damaged dictionaries and files, and the models of those that are accepted."""

import json

import numpy as np
from fuzzing import damage_bytes, damage_values
from support.small_runs import MODEL
from transformers import AutoConfig

from mert_hf import MERTConfig, MERTForPreTraining
from mert_hf.encoding.loading import loading
from mert_hf.models.configuration_multiview import MultiViewConfig
from mert_hf.models.modeling_multiview import MultiViewModel

# OSError of a file that transformers cannot read as JSON
DOCUMENTED = (ValueError, OSError)

KINDS = (
    (MERTConfig(**MODEL), MERTForPreTraining),
    (MultiViewConfig(width=2, blocks=(1, 1, 1, 1), num_attention_heads=2, hidden_size=8), MultiViewModel),
)


def prepare(folder):
    """Half of the inputs are values, half the bytes of a file."""

    def strike(rng: np.random.Generator):
        config, model_class = KINDS[int(rng.integers(2))]
        settings = config.to_dict()
        if rng.random() < 0.5:
            found = type(config).from_dict(damage_values(rng, settings))
        else:
            content = json.dumps(damage_values(rng, settings) if rng.random() < 0.5 else settings).encode()
            (folder / "config.json").write_bytes(damage_bytes(rng, content) if rng.random() < 0.5 else content)
            if rng.random() < 0.5:
                found = type(config).from_pretrained(folder)
            else:
                with loading("the model", folder):
                    found = AutoConfig.from_pretrained(folder)
        if type(found) is type(config):
            model_class(found)

    return strike
