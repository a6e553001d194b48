"""What may go wrong when a model is loaded, told in a line."""

import os
import pickle
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_json

# Files that are missing, damaged or something else, and weights that do not fit; transformers lets all of these through.
LOADING_ERRORS = (
    *(OSError, ValueError, RuntimeError, KeyError, EOFError),
    *(pickle.UnpicklingError, SafetensorError, StrictDataclassError),
)
# Characters that are shown of a model's name, and of what transformers says.
LONGEST_NAME, LONGEST_REASON = 300, 1000


@contextmanager
def loading(what: str, source: str | os.PathLike) -> Iterator[None]:
    """Around what transformers loads: its errors become one line, and what cannot be a model is told before it is tried.

    Args:
        what: is loaded, as the line names it: "model.base='user/name'".
        source: what is given to transformers, a folder or the name of a repository.

    Raises:
        InputError: "{what} cannot be loaded: ..."; one that is raised within goes through as it is.
    """
    what = what if len(what) <= LONGEST_NAME else f"{what[:LONGEST_NAME]}..."
    fault = _fault(source)
    if fault is not None:
        raise InputError(f"{what} cannot be loaded: {fault}")
    with telling(what):
        yield


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Around what transformers makes or loads: its errors become one line; see [`loading`]."""
    try:
        yield
    except InputError:
        raise
    except LOADING_ERRORS as error:
        raise InputError(f"{what} cannot be loaded: {_reason(error)}") from None


def as_folder(name: str | os.PathLike) -> Path | None:
    """The folder that is meant by a model's name, with ~ as the home; None where there is none, as of a repository."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, TypeError):  # a name that is too long, the home of nobody, no name at all
        return None


def _fault(source: str | os.PathLike) -> str | None:
    """Why it is neither a model's folder nor a name, as far as can be seen from outside."""
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        return f"{reprlib.repr(source)} is no model; give a folder, or a repository such as 'm-a-p/MERT-v1-95M'."
    if os.path.isfile(source):  # noqa: PTH113 (a name that is too long is no file to it, and an error to Path)
        return "it is a file; give the folder of a model, which holds config.json and model.safetensors."
    place = as_folder(source)
    if place is None:
        return None
    if (place / "config.json").is_file():
        return _fault_of_config(place / "config.json")
    if (place / "model" / "config.json").is_file():
        return f"it is the folder of a run; did you mean {place / 'model'}?"
    if (place / "adapter_config.json").is_file():  # of PEFT, which names its base
        return None
    return "the folder holds no model: there is no config.json in it."


def _fault_of_config(file: Path) -> str | None:
    try:
        kind = read_json(file).get("model_type", "")
    except InputError as error:
        return str(error)
    return None if isinstance(kind, str) else f"its config.json has the model_type {reprlib.repr(kind)}."


def _reason(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if "ignore_mismatched_sizes" in said:  # advice to programmers, below a table that transformers logs
        return "its weights have other shapes than its configuration describes."
    if isinstance(error, (KeyError, EOFError)):  # whose text alone says nothing
        return f"{type(error).__name__} {said}".strip()
    return said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}..."
