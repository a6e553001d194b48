"""Audio in columns of `datasets`, which are files to our reader where nobody asked for another rate: no FFmpeg is needed."""

from collections.abc import Iterator
from typing import Any

from .errors_mert import InputError


def audio_columns(features: Any) -> list[str]:
    """The names of the columns that are declared as `Audio`."""
    return [name for name, kind in features.items() if type(kind).__name__ == "Audio"]


def find_column(inputs: Any) -> tuple[Any, str] | None:
    """Dataset and name of a column of `Audio` (`dataset["audio"]`, `KeyDataset(dataset, "audio")`); None of anything else."""
    for holder, key in (("source", "column_name"), ("dataset", "key")):
        dataset, column = getattr(inputs, holder, None), getattr(inputs, key, None)
        features = getattr(dataset, "features", None)
        if isinstance(column, str) and hasattr(dataset, "select_columns") and features and column in audio_columns(features):
            return dataset, column
    return None


def read_column(dataset: Any, column: str, decode: bool) -> Iterator[Any]:
    """The rows of a column of `Audio`.

    Args:
        dataset: a `Dataset` or `IterableDataset`.
        decode: whether rows are waveforms as `datasets` decodes them; else they are files (`{"path", "bytes"}`), unless the
            column declares a rate, channels or a stream, or a transform makes its rows: these are what `datasets` gives.

    Raises:
        InputError: `datasets` must decode, and its decoder (torchcodec) finds no FFmpeg.
    """
    kind = dataset.features[column]
    transforms = getattr(dataset, "format", {}).get("type") == "custom"
    if not transforms:
        dataset = dataset.select_columns([column])
    declares_nothing = kind in (type(kind)(), type(kind)(decode=False))
    if not decode and declares_nothing and not transforms:
        dataset = dataset.cast_column(column, type(kind)(decode=False))
    rows = iter(dataset)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except (ImportError, RuntimeError) as error:
            if "torchcodec" not in str(error):
                raise
            raise InputError(
                f"`datasets` decodes the column {column!r} by torchcodec, which needs FFmpeg's libraries: install FFmpeg, or"
                " give MusicEncoder or the pipeline the column as Audio(decode=False)."
            ) from None
        yield row[column]
