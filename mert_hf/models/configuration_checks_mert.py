"""What configurations refuse, and how they say it: values that no model can be built from, or none that fits a machine.

transformers makes configurations with huggingface_hub's strict dataclasses: `MERTConfig(...)` with a value that is not taken
raises their `StrictDataclassError`, which is no `ValueError`, or a `ValueError` for the few fields that transformers reads
before it checks any. `from_dict` and `from_pretrained` raise a `ValueError` of one line in all cases.
"""

import math
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from .remote_code_mert import name_code

# Far beyond every published encoder of audio (the largest, XLS-R 2B, has 2.1e9): 40 GB in float32.
MOST_PARAMETERS = 10**10
# Classes of a head on labelled music; AudioSet, the largest of such tasks, has 527.
MOST_LABELS = 2**20
MOST_CODEBOOKS, MOST_CODES = 256, 2**20
LONGEST_MESSAGE = 500
# Of the magnitudes that the constant-Q head predicts; see `spectra_mert.py`.
COMPRESSIONS = ("none", "sqrt", "log")


def require(config: Any, condition: bool, name: str, accepted: str, given: Any = None) -> None:
    """Refuse a field; `given` is shown in place of its value.

    Raises:
        ValueError: the condition does not hold.
    """
    if not condition:
        shown = reprlib.repr(getattr(config, name, None) if given is None else given)
        raise ValueError(f"{type(config).__name__} got {name}={shown}; accepted: {accepted}.")


def require_counts(config: Any, largest: Mapping[str, int], smallest: int = 1) -> None:
    """Fields that are whole numbers, each from `smallest` to its largest value."""
    for name, most in largest.items():
        value = getattr(config, name)
        is_count = isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= most
        require(config, is_count, name, f"a whole number from {smallest} to {most}")


def require_numbers(config: Any, names: tuple[str, ...], accepted: str, low: float, high: float, open_at: str = "") -> None:
    """Fields that are finite numbers from `low` to `high`; `open_at` "low" or "high" leaves that end out."""
    for name in names:
        value = getattr(config, name)
        inside = math.isfinite(value) and low <= value <= high
        inside = inside and not (open_at == "low" and value == low) and not (open_at == "high" and value == high)
        require(config, inside, name, accepted)


def require_codebooks(config: Any) -> None:
    """Refuse `codebook_sizes` and a `code_offset` that no head can be made of."""
    require_counts(config, {"code_offset": MOST_CODES}, smallest=0)
    sizes = list(config.codebook_sizes)
    is_books = 0 < len(sizes) <= MOST_CODEBOOKS and all(2 <= size <= MOST_CODES for size in sizes)
    require(config, is_books, "codebook_sizes", f"at least one codebook, each with 2 or more classes (up to {MOST_CODES})")
    offset_fits = config.code_offset < min(sizes)
    require(config, offset_fits, "code_offset", f"0 or more and smaller than every codebook ({min(sizes)} classes)")


def require_constant_q(config: Any) -> None:
    """Refuse a description of the constant-Q target that is none."""
    known = config.cqt_compression in COMPRESSIONS
    require(config, known, "cqt_compression", " or ".join(map(repr, COMPRESSIONS)))
    require_numbers(config, ("cqt_log_level",), "a positive magnitude, at most 1e6", 0, 1e6, open_at="low")


def require_parameters(config: Any, count: int) -> None:
    """Refuse a model that is larger than any machine."""
    if count > MOST_PARAMETERS:
        raise ValueError(f"{type(config).__name__} describes a model of {count:.3g} parameters; at most {MOST_PARAMETERS:.0e}.")


def require_dict(config_class: type, content: Any) -> None:
    """Refuse what is no configuration.

    Raises:
        ValueError: it is no dict of names.
    """
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{config_class.__name__} is read from a dict of fields; got {reprlib.repr(content)}.")


@contextmanager
def in_one_line() -> Iterator[None]:
    """Around reading a configuration: what the strict dataclass refuses, with whole values and over several lines.

    Raises:
        ValueError: it refused one.
    """
    try:
        yield
    except StrictDataclassError as error:
        said = " ".join(str(error).split())
        raise ValueError(said if len(said) <= LONGEST_MESSAGE else f"{said[:LONGEST_MESSAGE]}...") from None


class CheckedConfig:
    """What the configurations of this package have in common; stands before the class of transformers that they extend.

    Attributes:
        code_map: `auto_map` of what is saved.
    """

    code_map = {}

    def __post_init__(self, **kwargs):
        require_common_fields(self, kwargs)
        super().__post_init__(**kwargs)

    @classmethod
    def _dict_from_json_file(cls, json_file):
        content = super()._dict_from_json_file(json_file)
        require_dict(cls, content)  # before transformers looks for names in a number
        return content

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """Read a configuration.

        Raises:
            ValueError: it is no dict, or holds a value that is not taken.
        """
        require_dict(cls, config_dict)
        if __name__.startswith("mert_hf."):
            # a saved folder names its own pipeline; beside the package, which brings the same one, it would only make
            # transformers ask for trust_remote_code
            config_dict = {key: value for key, value in config_dict.items() if key != "custom_pipelines"}
        with in_one_line():
            return super().from_dict(config_dict, **kwargs)

    def save_pretrained(self, *args, **kwargs):
        """Save as everywhere in transformers; what is saved names this code alone, whatever the configuration came with."""
        name_code(self, self.code_map)
        super().save_pretrained(*args, **kwargs)


def require_common_fields(config: Any, others: Mapping[str, Any]) -> None:
    """What transformers makes use of before it checks anything; called at the beginning of `__post_init__`."""
    for name, value in (("dtype", config.dtype), ("torch_dtype", others.get("torch_dtype"))):
        known = getattr(torch, value, None) if isinstance(value, str) else value
        require(config, value is None or isinstance(known, torch.dtype), name, "a type of torch, such as 'float32'", value)
    for name, table in (("id2label", config.id2label), ("label2id", config.label2id)):
        is_table = table is None or (isinstance(table, dict) and 0 < len(table) <= MOST_LABELS)
        require(config, is_table, name, f"a dict of 1 to {MOST_LABELS} labels", table)
    labels = others.get("num_labels")
    is_count = isinstance(labels, int) and not isinstance(labels, bool) and 0 < labels <= MOST_LABELS
    require(config, labels is None or is_count, "num_labels", f"a whole number from 1 to {MOST_LABELS}", labels)
