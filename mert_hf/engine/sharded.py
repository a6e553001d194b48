"""Checkpoints in shards (`torch.distributed.checkpoint`): torch reads them by running pickles, so they are checked first."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from mert_hf.common.errors import InputError

# What the index of shards is made of; nothing else is ever called.
INDEX_NAMES = (
    *("Metadata", "TensorStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING", "ChunkStorageMetadata"),
    *("BytesStorageMetadata", "MetadataIndex", "StorageMeta"),
)
ALLOWED = {
    *(("torch.distributed.checkpoint.metadata", name) for name in INDEX_NAMES),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    *(("pathlib", name) for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
}

# A damaged pickle makes the unpickler stumble in as many ways as there are files.
STUMBLES = (pickle.UnpicklingError, OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError)


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if dtype or (module, name) in ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def require_plain_shards(checkpoint: Path) -> None:
    """Refuse a checkpoint whose shards would run something when torch loads them. One without shards has nothing to refuse.

    Raises:
        InputError: it names what weights have no need of, or is damaged; nothing in it was run.
    """
    for index in sorted(checkpoint.rglob(".metadata")):
        try:
            with index.open("rb") as file:
                metadata = _IndexUnpickler(file).load()
            plain = {name for name, kind in metadata.state_dict_metadata.items() if isinstance(kind, BytesStorageMetadata)}
            for place, stored in metadata.storage_data.items():
                if place.fqn in plain:
                    _read_value(index.parent / stored.relative_path, stored.offset, stored.length)
        except STUMBLES as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"{index} is refused: {said}. Nothing in it was run.") from None


def _read_value(shard: Path, offset: int, length: int) -> None:
    """Read one value that is no tensor, such as a learning rate, by the restricted unpickler."""
    with shard.open("rb") as file:
        file.seek(offset)
        torch.load(io.BytesIO(file.read(length)), map_location="cpu", weights_only=True)
