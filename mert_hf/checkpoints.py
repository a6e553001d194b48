"""Reading other projects' checkpoints without running anything that is in them."""

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mert_hf.errors import InputError


def read_checkpoint(checkpoint: Path, allowed: Sequence[Any] = ()) -> Any:
    """What a `.pt` file holds, read by torch's restricted unpickler on the CPU.

    Args:
        checkpoint: the file.
        allowed: classes beyond tensors and plain values that it may name, or pairs of a stand-in and the name it replaces.

    Raises:
        InputError: there is no such file, it is damaged, or it names something that is not allowed.
    """
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint} does not exist.")
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it names {named[1]}, which" if named else "it holds something that"
        raise InputError(f"{checkpoint} is refused: {what} weights have no need of. Nothing in it was run.") from None
    except (RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError):
        # the unpickler stumbles in as many ways as there are files that are no pickles
        raise InputError(f"{checkpoint} cannot be read as a checkpoint of torch; it is damaged or something else.") from None


def require_equal_shapes(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], checkpoint: Path) -> None:
    """Refuse weights that are not exactly those a model has.

    Raises:
        InputError: the first few that are missing, unknown or of another shape.
    """
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in expected]
    problems += [
        f"{name} has the shape {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if problems:
        raise InputError(f"{checkpoint} does not fit its own configuration: {'; '.join(problems[:5])}.")
