"""Where the files lie that are no code: beside the package in a clone, inside it in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _place(in_clone: str, in_wheel: str) -> Path:
    clone = _PACKAGE.parent / in_clone
    # a wheel has neither of these beside it; a folder of that name may lie there by chance
    return clone if (_PACKAGE.parent / "pyproject.toml").is_file() and clone.is_dir() else _PACKAGE / in_wheel


# as pyproject.toml maps them
RECIPES = _place("training/recipes", "recipes")
FINETUNE_RECIPES = RECIPES / "finetune"
CARDS = _place("model_cards", "model_cards")

__all__ = ["CARDS", "FINETUNE_RECIPES", "RECIPES"]
