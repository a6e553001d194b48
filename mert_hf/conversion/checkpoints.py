"""Reading other projects' checkpoints: nothing in them is run, and none takes more memory than it has bytes."""

import pickle
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mert_hf.common.errors import InputError

# How `torch.save` begins a file since torch 1.6: a zip file, stored as it is, in which weights lie beside one pickle.
ZIP_MARK = b"PK\x03\x04"
# Of the pickle alone; those of MERT-330M and of Deezer's models have some hundred kB. Its objects take up to 64 times as much.
MOST_PICKLE_BYTES = 4 * 2**20
# of an unpickler that stumbles over something that is no pickle of a checkpoint
STUMBLES = (
    *(RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, ImportError),
    *(MemoryError, OSError, struct.error, zipfile.BadZipFile),
)


def read_checkpoint(checkpoint: Path, allowed: Sequence[Any] = ()) -> Any:
    """What a `.pt` file holds, read by torch's restricted unpickler on the CPU; checksums in the file are compared.

    Args:
        allowed: classes beyond tensors and plain values that it may name, or pairs of a stand-in and the name it replaces.

    Raises:
        InputError: there is no such file, it is damaged, would take more memory than it has bytes, or names something that is
            not allowed.
    """
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint} does not exist.")
    try:
        _require_modest(checkpoint)
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]{1,100})", str(error))
        what = f"it names {named[1]}, which" if named else "it holds something that"
        raise InputError(f"{checkpoint} is refused: {what} weights have no need of. Nothing in it was run.") from None
    except STUMBLES:
        raise InputError(f"{checkpoint} cannot be read as a checkpoint of torch; it is damaged or something else.") from None


def _require_modest(checkpoint: Path) -> None:
    """Refuse, from its directory, a file that would become larger in memory than it is; then compare its checksums."""
    size = checkpoint.stat().st_size
    with checkpoint.open("rb") as file:
        if file.read(len(ZIP_MARK)) != ZIP_MARK:
            if size > MOST_PICKLE_BYTES:
                raise InputError(
                    f"{checkpoint} is no file of torch 1.6 or later; if an older one wrote it, load it and save it again."
                )
            file.seek(0)
            _require_plain_pickle(file.read(), checkpoint)
            return
    with zipfile.ZipFile(checkpoint) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise InputError(f"{checkpoint} is refused: it is compressed, which torch never does; unpack it and save it again.")
        if sum(member.file_size for member in members) > size:
            raise InputError(f"{checkpoint} is damaged: its directory names more bytes than it has.")
        for member in members:
            if member.filename.endswith(".pkl"):
                if member.file_size > MOST_PICKLE_BYTES:
                    raise InputError(
                        f"{checkpoint} is refused: beside its weights it holds {member.file_size / 1e6:.0f} MB of other things"
                        f" ({MOST_PICKLE_BYTES / 1e6:.0f} MB are accepted); keep the weights and their configuration alone."
                    )
                _require_plain_pickle(archive.read(member), checkpoint)
        if archive.testzip() is not None:
            raise InputError(f"{checkpoint} is damaged: a checksum in it differs; get it again.")


def _require_plain_pickle(content: bytes, checkpoint: Path) -> None:
    # the one function that the restricted unpickler calls which takes a size and fills so much memory
    if b"bytearray" in content:
        raise InputError(f"{checkpoint} is refused: it names bytearray, which weights have no need of. Nothing in it was run.")


def require_weights(weights: dict[str, Any], checkpoint: Path) -> dict[str, torch.Tensor]:
    """The weights by name, if all are tensors that lie in the file as they are.

    Raises:
        InputError: a name is no text, a value no tensor of numbers; or tensors claim more than the file holds, as one number
            that is repeated without end.
    """
    claimed = 0
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise InputError(f"{checkpoint} holds no weights: {str(name)[:80]} is a {type(tensor).__name__}, not a tensor.")
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.is_complex():
            raise InputError(f"{checkpoint}: {name[:80]} is no plain tensor of real numbers ({tensor.dtype}, {tensor.layout}).")
        claimed += tensor.numel() * tensor.element_size()
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"{checkpoint} is refused: {name[:80]} has the shape {tuple(tensor.shape)}, its bytes do not.")
    if claimed > checkpoint.stat().st_size:
        raise InputError(f"{checkpoint} is refused: its weights claim {claimed / 1e6:.0f} MB, more than the file has.")
    return weights


def rename(name: str, renamings: Sequence[tuple[str, Any]]) -> str:
    """A weight's name here: the first pattern that fits its beginning is replaced; as it is where none does."""
    for pattern, ours in renamings:
        renamed, count = re.subn("^" + pattern, ours, name)
        if count:
            return renamed
    return name


def require_equal_shapes(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], checkpoint: Path) -> None:
    """Refuse weights that are not exactly those a model has, which may lie on the meta device.

    Raises:
        InputError: the first few that are missing, unknown or of another shape.
    """
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name[:80]} is unknown" for name in weights if name not in expected]
    problems += [
        f"{name} has the shape {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if problems:
        raise InputError(f"{checkpoint} does not fit its own configuration: {'; '.join(problems[:5])}.")
