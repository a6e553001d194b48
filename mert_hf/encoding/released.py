"""Models that come with the package, found by their names without a network; and what a model's name means.

A released model is a folder in `model_cards/` that holds `config.json`, `preprocessor_config.json` and `model.safetensors` (in
half precision), beside its page and its results. `mert-hf publish RUN --to-folder model_cards/NAME --half` makes one.
"""

import os
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.common.places import CARDS

# What is taken where nobody names a model; a name of its own, so that what records it says which.
DEFAULT_MODEL = "mert-small"
# What makes a folder of `model_cards/` a released model; one with facts alone describes a model that lies elsewhere.
NEEDED = ("config.json", "preprocessor_config.json", "model.safetensors")
# Bytes that the weights of one may have, since every installation brings them.
LARGEST_BYTES = 30_000_000


def released_models() -> dict[str, Path]:
    """Folders of the released models by their names."""
    folders = sorted(file.parent for file in CARDS.glob(f"*/{NEEDED[0]}"))
    return {folder.name: folder for folder in folders if all((folder / name).is_file() for name in NEEDED)}


def find_model(name: str | os.PathLike = DEFAULT_MODEL) -> str:
    """Where a model is loaded from, as the Auto classes of transformers take it.

    What a name means is the same everywhere in this package: the folder of that path, if there is one (~ is the home); else
    the released model of that name; else a repository of the Hub.

    Args:
        name: a folder, the name of a released model such as "mert-small" (the default), or a repository.

    Returns:
        The path of the folder; the name as it is where it can only be a repository's.

    Raises:
        InputError: it is the default model, and this copy of the package lacks it.

    Example:
        ```python
        model = AutoModel.from_pretrained(find_model())  # mert-small
        ```
    """
    folder, missing = as_folder(name), missing_default(name)
    if missing is not None:
        raise InputError(f"{name} cannot be loaded: {missing}")
    # a folder is named as it was given, which its configuration keeps as its name
    return os.fspath(name) if folder is None or os.path.isdir(name) else str(folder)  # noqa: PTH112


def describe_model(name: str | os.PathLike) -> str:
    """A model as a line of the log names it: of the default one, which may have been taken, also where it comes from."""
    if name != DEFAULT_MODEL or local_folder(DEFAULT_MODEL) is not None:
        return str(name)
    return f"{name}, which comes with mert_hf and is small; a larger one has to be named"


def missing_default(name: object) -> str | None:
    """What is wrong with a name that can only mean the default model, where that was not brought along; None of others.

    It is told in place of a search on the Hub, which has no model of that name.
    """
    if name != DEFAULT_MODEL or as_folder(DEFAULT_MODEL) is not None:
        return None
    lacking = [file for file in NEEDED if not (CARDS / DEFAULT_MODEL / file).is_file()]
    return (
        f"it comes with mert_hf and is what is taken where no model is named, but model_cards/{DEFAULT_MODEL} lacks"
        f" {', '.join(lacking)} here; install mert_hf anew, or name another model, such as 'm-a-p/MERT-v1-95M'."
    )


def as_folder(name: str | os.PathLike) -> Path | None:
    """The folder that is meant by a model's name, see [`find_model`]; None where there is none, as of a repository."""
    return local_folder(name) or _released(name)


def local_folder(name: str | os.PathLike) -> Path | None:
    """The folder of a path, with ~ as the home; None where there is none."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, TypeError):  # a name that is too long, the home of nobody, no name at all
        return None


def _released(name: object) -> Path | None:
    return released_models().get(os.fspath(name)) if isinstance(name, str | os.PathLike) else None
