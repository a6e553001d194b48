"""Models of transformers, loaded whole or refused; what may go wrong is told in a line."""

import difflib
import os
import pickle
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoFeatureExtractor, PreTrainedModel

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_json
from mert_hf.common.suggestions import suggest_any
from mert_hf.encoding.released import as_folder, find_model, missing_default, released_models

# Files that are missing, damaged or something else, and weights that do not fit; transformers lets all of these through.
LOADING_ERRORS = (
    *(OSError, ValueError, RuntimeError, KeyError, EOFError),
    *(pickle.UnpicklingError, SafetensorError, StrictDataclassError),
)
# Characters that are shown of a model's name, and of what transformers says.
LONGEST_NAME, LONGEST_REASON = 300, 1000
# Hides frames in pre-training, and does nothing in a frozen model; some checkpoints leave it out.
UNUSED_WEIGHTS = ("masked_spec_embed",)
# Names of weights that a message lists.
MOST_LISTED = 6


@dataclass(frozen=True)
class LoadedWeights:
    """A model, and how its weights fitted.

    Attributes:
        model: in the mode that transformers leaves it in.
        drawn: names of weights that were drawn at random, as had been agreed.
        left_out: names of weights that the model has no place for.
    """

    model: PreTrainedModel
    drawn: list[str]
    left_out: list[str]


def load_model(model_class: type, source: str | os.PathLike, what: str | None = None, **options) -> PreTrainedModel:
    """A model with all its weights; see [`load_weights`], which takes the same and tells more."""
    return load_weights(model_class, source, what, **options).model


def load_weights(
    model_class: type,
    source: str | os.PathLike,
    what: str | None = None,
    *,
    may_lack: tuple[str, ...] = (),
    lack: str | None = None,
    remedy: str = "",
    **options: Any,
) -> LoadedWeights:
    """Load a model; what the checkpoint lacks, or holds in another shape, is refused by name and never drawn at random.

    Args:
        model_class: an Auto class or a class of models.
        source: a folder, a released model's name or a repository; see [`mert_hf.encoding.released.find_model`].
        what: is loaded, as an error names it; `source` by default.
        may_lack: names of weights or of parts (`"code_head"`) that may be drawn at random.
        lack: what an error says of the others, such as "does not hold the encoder that model.* describes".
        remedy: a sentence that the error ends with.
        options: of `from_pretrained`, such as `revision` (of a repository), `config` and `dtype`.

    Raises:
        InputError: it cannot be loaded, or not whole.
    """
    what = str(source) if what is None else what
    with loading(what, source) as place:
        # shapes that differ are reported in place of raised, to be refused by name
        options |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
        model, report = model_class.from_pretrained(place, **options)
    mismatched = {name for name, *_ in report["mismatched_keys"]}
    drawn = sorted({*report["missing_keys"], *mismatched})
    refused = [name for name in drawn if not set(may_lack) & set(name.split("."))]
    if refused:
        if lack is None and mismatched.issuperset(refused):
            lack = "cannot be loaded: its weights have other shapes than its configuration describes"
        lack = lack or f"lacks weights of {type(model).__name__}"
        said = f"{shorten(what)} {lack}: {list_some(refused)} would be random."
        raise InputError(f"{said} {remedy}".strip())
    return LoadedWeights(model, drawn, sorted(report["unexpected_keys"]))


def load_extractor(source: str | os.PathLike, what: str | None = None, **options):
    """The feature extractor of a model; takes what [`load_weights`] does.

    Raises:
        InputError: it cannot be loaded.
    """
    with loading(str(source) if what is None else what, source) as place:
        return AutoFeatureExtractor.from_pretrained(place, **options)


def require_repository(source: str | os.PathLike, revision: str | None) -> None:
    """A folder has no revisions: another model than the one that was asked for would be loaded without a word.

    Raises:
        InputError: a revision of a folder, or of a model that comes with the package.
    """
    if revision is not None and as_folder(source) is not None:
        raise InputError(
            f"revision={revision!r} is of a repository on the Hub, and {shorten(str(source))} is a folder or comes with"
            " mert_hf; leave it out, or name the repository."
        )


def list_some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def shorten(what: str) -> str:
    """A name that fits into a line."""
    return what if len(what) <= LONGEST_NAME else f"{what[:LONGEST_NAME]}..."


@contextmanager
def loading(what: str, source: str | os.PathLike) -> Iterator[str]:
    """Around what transformers loads: its errors become one line, and what cannot be a model is told before it is tried.

    Args:
        what: is loaded, as the line names it: "model.base='user/name'".
        source: of the model, as somebody named it.

    Yields:
        What is to be given to transformers: see [`mert_hf.encoding.released.find_model`].

    Raises:
        InputError: "{what} cannot be loaded: ..."; one that is raised within goes through as it is.
    """
    what = shorten(what)
    fault = _fault(source)
    if fault is not None:
        raise InputError(f"{what} cannot be loaded: {fault}")
    with telling(what):
        yield find_model(source)


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Around what transformers makes or loads: its errors become one line; see [`loading`]."""
    try:
        yield
    except InputError:
        raise
    except LOADING_ERRORS as error:
        raise InputError(f"{what} cannot be loaded: {_reason(error)}") from None


def _fault(source: str | os.PathLike) -> str | None:
    """Why it is neither a model's folder nor a name, as far as can be seen from outside."""
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        return f"{reprlib.repr(source)} is no model; give a folder, or a repository such as 'm-a-p/MERT-v1-95M'."
    if os.path.isfile(source):  # noqa: PTH113 (a name that is too long is no file to it, and an error to Path)
        return "it is a file; give the folder of a model, which holds config.json and model.safetensors."
    place = as_folder(source)
    if place is None:
        name = os.fspath(source)
        # "user/name" alone may be a repository's; its other rules are told by the Hub's client
        is_place = isinstance(name, str) and (name[0] in "/~." or "\\" in name or name.count("/") > 1)
        if is_place:
            return "there is no such folder; give one, or a repository such as 'm-a-p/MERT-v1-95M'."
        missing = missing_default(name)
        if missing is not None:
            return missing
        near = difflib.get_close_matches(str(name), released_models(), cutoff=0.8) if "/" not in str(name) else []
        return f"there is no such folder, and no such model comes with mert_hf{suggest_any(near)}" if near else None
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
    if isinstance(error, (KeyError, EOFError)):  # whose text alone says nothing
        return f"{type(error).__name__} {said}".strip()
    return said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}..."
