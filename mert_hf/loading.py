"""What may go wrong when a model is loaded, told in a line."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from mert_hf.errors import InputError

# Files that are missing, damaged or something else, and weights that do not fit; transformers lets all of these through.
LOADING_ERRORS = (
    *(OSError, ValueError, RuntimeError, KeyError, EOFError),
    *(pickle.UnpicklingError, SafetensorError, StrictDataclassError),
)


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Around what transformers loads: its errors become one line.

    Args:
        what: is loaded, as the line names it: "model.base='user/name'".

    Raises:
        InputError: "{what} cannot be loaded: ..."; one that is raised within goes through as it is.
    """
    try:
        yield
    except InputError:
        raise
    except LOADING_ERRORS as error:
        raise InputError(f"{what} cannot be loaded: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if "ignore_mismatched_sizes" in said:  # advice to programmers, below a table that transformers logs
        return "its weights have other shapes than its configuration describes."
    if isinstance(error, (KeyError, EOFError)):  # whose text alone says nothing
        return f"{type(error).__name__} {said}".strip()
    return said
