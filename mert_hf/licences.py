"""What is known, without asking the network, about the licence of weights."""

import json
import logging
import os
from pathlib import Path

from huggingface_hub import ModelCard, try_to_load_from_cache

logger = logging.getLogger(__name__)

# All MERT weights of this owner (v0, v1 and their fairseq files) are CC-BY-NC-4.0, as their pages say.
MERT_OWNER, MERT_LICENCE = "m-a-p", "cc-by-nc-4.0"

_said: set[str] = set()


def weights_licence(name: str | os.PathLike) -> str | None:
    """Licence of a model: that of m-a-p's, or what the card in its folder or in the Hub's cache says; None if unknown.

    Of a run's model folder without a card: what the run's results say of the weights it began with.
    """
    name = os.fspath(name)
    card, results = Path(name) / "README.md", Path(name).resolve().parent / "results.json"
    if not Path(name).is_dir():
        if name.split("/")[0] == MERT_OWNER and "MERT" in name:
            return MERT_LICENCE
        cached = try_to_load_from_cache(name, "README.md") if name.count("/") <= 1 and name else None
        card = Path(cached) if isinstance(cached, str) else card
    if not card.is_file():
        local = Path(name).is_dir() and results.is_file()
        return json.loads(results.read_text(encoding="utf-8")).get("base_licence") if local else None
    return ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.get("license")


def note_licence(name: str | os.PathLike) -> str | None:
    """Say once a process that a model's weights may not be used commercially; return their licence if it is known."""
    licence = weights_licence(name)
    if licence is not None and "-nc" in licence.lower() and os.fspath(name) not in _said:
        _said.add(os.fspath(name))
        logger.warning(
            "The weights of %s are licensed %s: no commercial use, and none of what is trained from them", name, licence
        )
    return licence
