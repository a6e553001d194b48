"""A trained model as a folder that comes with the package, or lies anywhere: page, settings, weights and results, no code."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.common.files import open_atomically, to_json, write_atomically
from mert_hf.common.reading import read_json
from mert_hf.models.remote_code_mert import CODE_FIELDS
from mert_hf.publishing.model_card import CardFacts
from mert_hf.publishing.staging import stage

# A folder that holds one of these is a model's, or waits for one; see [`release`].
OF_A_MODEL = ("config.json", "facts.yaml")
CODE = ".py"


@dataclass(frozen=True)
class Released:
    """A folder of a model, what was checked of it, a line each, and its files with their sizes in bytes."""

    folder: Path
    checks: list[str]
    files: list[tuple[str, int]]


def release(
    source: str | os.PathLike,
    folder: str | os.PathLike,
    facts: CardFacts,
    template: Path,
    half: bool = False,
    write: bool = True,
) -> Released:
    """Check a trained model as [`stage`] does and write it into a folder; in `model_cards/` it is found by the folder's name.

    The package's own code is left out, and what names it: whoever finds the model by its name has the package. Files of the
    folder that have other names stay as they are. The source may be the folder itself, to write its page anew.

    Args:
        source: folder of a run, or of a model.
        folder: a new or empty one, or one that holds a model or its facts already.
        half: see [`stage`].
        write: whether to write it; else it is only checked.

    Raises:
        InputError: the folder holds something else, or the model fails a check.
    """
    folder = Path(folder).expanduser()
    _require_place(folder)
    with tempfile.TemporaryDirectory() as staging:
        staged = stage(source, staging, folder.resolve().name, facts, template, half)
        sizes = [(name, size) for name, size in staged.files if not name.endswith(CODE)]
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            for name, _ in sizes:
                _place(staged.folder / name, folder / name)
    return Released(folder, staged.checks, sizes)


def _require_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).is_file() for name in OF_A_MODEL):
        raise InputError(f"{folder} holds other things; give a new or empty folder, or one of {' or '.join(OF_A_MODEL)}.")


def _place(file: Path, place: Path) -> None:
    if file.name.endswith("config.json"):
        settings = {name: value for name, value in read_json(file).items() if name not in CODE_FIELDS}
        write_atomically(place, to_json(settings, indent=2) + "\n")
        return
    with file.open("rb") as content, open_atomically(place) as written:
        shutil.copyfileobj(content, written)
