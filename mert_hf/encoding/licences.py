"""What is known, without asking the network, about the licence of weights."""

import logging
import os
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from mert_hf.common.errors import InputError
from mert_hf.common.licence_terms import NON_COMMERCIAL
from mert_hf.common.reading import read_json, read_text
from mert_hf.encoding.released import as_folder

logger = logging.getLogger(__name__)

# All MERT weights of this owner (v0, v1 and their fairseq files) are CC-BY-NC-4.0, as their pages say.
MERT_OWNER, MERT_LICENCE = "m-a-p", "cc-by-nc-4.0"

_said: set[str] = set()


def weights_licence(name: str | os.PathLike) -> str | None:
    """Licence of a model: that of m-a-p's, or what the card in its folder or in the Hub's cache says; None if unknown.

    Of a run's model folder without a card: what the run's results say of the weights it began with.
    """
    name, folder = os.fspath(name), as_folder(name)
    if folder is not None:
        card = folder / "README.md"
    else:
        if name.split("/")[0] == MERT_OWNER and "MERT" in name:
            return MERT_LICENCE
        try:
            cached = try_to_load_from_cache(name, "README.md")
        except HFValidationError:  # neither a folder nor a repository
            return None
        if not isinstance(cached, str):
            return None
        card = Path(cached)
    if not card.is_file():
        results = None if folder is None else folder.resolve().parent / "results.json"
        licence = read_json(results).get("base_licence") if results is not None and results.is_file() else None
    else:
        try:
            licence = ModelCard(read_text(card), ignore_metadata_errors=True).data.get("license")
        # YAML that is none, or of another kind than the metadata of a card
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{card} is damaged: its metadata cannot be read.") from None
    return licence if isinstance(licence, str) else None


def note_licence(name: str | os.PathLike) -> str | None:
    """Say once a process that a model's weights may not be used commercially; return their licence if it is known."""
    licence = weights_licence(name)
    warn_of_licence(name, licence)
    return licence


def warn_of_licence(name: str | os.PathLike, licence: str | None) -> None:
    """Say once a process that weights may not be used commercially, where their licence says so."""
    if licence is not None and NON_COMMERCIAL in licence.lower() and os.fspath(name) not in _said:
        _said.add(os.fspath(name))
        logger.warning("Weights of %s are licensed %s: no commercial use, and none of what is trained from them", name, licence)
