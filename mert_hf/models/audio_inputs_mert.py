"""What people hand over as audio, for encoder, pipeline and feature extractor: one place that tells files from waveforms.

One item is
- a file: its path, its URL (http, https or data), its bytes, or an open binary file, which is read from its beginning and left
  where it stood (one that cannot seek is read from where it stands), or `{"path": ..., "bytes": ...}` as `datasets` gives with
  `Audio(decode=False)`;
- a waveform: an array, a tensor or a list (samples,) of floats; `{"array": waveform, "sampling_rate": rate}` (`"raw"` is taken
  for `"array"`), (samples,) or (channels, samples); or a decoder as `datasets` gives with `Audio()`: anything with
  `get_all_samples()` whose result has `data` and `sample_rate`;
- a row of a dataset with one column of these.

Several items are a list, a tuple, a generator, an array or a pandas series of paths, a column of a dataset, transformers'
`KeyDataset`, or a dataset of `datasets` with one column of audio.
"""

import base64
import binascii
import os
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from huggingface_hub import get_session
from huggingface_hub.errors import HTTPError

from .dataset_columns_mert import audio_columns, find_column, read_column
from .errors_mert import InputError
from .sampling_rates_mert import require_sampling_rate, resample

# Longest wait for the next bytes of a URL, as in transformers.
DOWNLOAD_TIMEOUT_S = 10.0
# Samples beyond what integers of 32 bits reach, scaled by nobody, are damage or another quantity. In float32 the squares that
# normalisations take of them overflow from 1e18 on: features would be finite, and wrong.
LOUDEST = 2.0**31
# Bytes of a file's name, on Linux, macOS and Windows alike.
LONGEST_NAME = 255

_KINDS = "a path, bytes, a waveform or a dict"


@dataclass(frozen=True)
class EncodedAudio:
    """A file that has yet to be decoded.

    Attributes:
        source: its path, or its bytes.
        name: what messages call it.
    """

    source: str | bytes
    name: str


@dataclass(frozen=True)
class Waveform:
    """Samples as they were handed over.

    Attributes:
        samples: (samples,) or (channels, samples), floating point.
        sampling_rate: samples per second, where they bring it.
    """

    samples: np.ndarray
    sampling_rate: int | None = None

    def to_mono(self, sampling_rate: int) -> np.ndarray:
        """(samples,) float32 at `sampling_rate`; channels are averaged. Without a rate of its own it is at that one.

        Raises:
            InputError: it holds NaN, infinity, or numbers that are no samples.
            ImportError: it must be resampled, and soxr is not installed.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
            samples = self.samples.mean(axis=0, dtype=np.float32) if self.samples.ndim == 2 else self.samples
        mono = require_samples(samples)
        return mono if self.sampling_rate is None else resample(mono, self.sampling_rate, sampling_rate)


def items_of(inputs: Any, decode: bool = False) -> Iterable | None:
    """What a collection holds, in its order; None where `inputs` is one item.

    Args:
        inputs: what was handed over.
        decode: whether columns of `datasets` are decoded by `datasets`; else they are files wherever they can be.

    Raises:
        InputError: it is nothing that could be audio, or a dataset without one column of audio.
    """
    if isinstance(inputs, Mapping) and hasattr(inputs, "column_names"):
        raise InputError(f"the splits {', '.join(map(str, inputs))} are several datasets; give one of them.")
    if isinstance(inputs, (str, os.PathLike, bytes, bytearray, memoryview, Mapping, torch.Tensor)):
        return None
    if hasattr(inputs, "read") or hasattr(inputs, "get_all_samples"):
        return None
    if isinstance(inputs, np.ndarray):
        # of text or objects it holds paths, of numbers it is a waveform
        return list(inputs) if inputs.dtype.kind in "OSU" and inputs.ndim == 1 else None
    if hasattr(inputs, "column_names") and getattr(inputs, "features", None):
        return read_column(inputs, _only_column(audio_columns(inputs.features), inputs.features), decode)
    column = find_column(inputs)
    if column is not None:
        return read_column(*column, decode)
    if hasattr(inputs, "iloc") and hasattr(inputs, "columns"):
        raise InputError("a table has many columns; give the one that holds the audio.")
    if isinstance(inputs, (set, frozenset)):
        raise InputError("a set has no order, so nobody could tell which result is whose; give a list.")
    if hasattr(inputs, "__iter__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")):
        return inputs
    raise InputError(f"{_KINDS} is needed, or several of them; got {type(inputs).__name__}.")


def read_item(item: Any) -> EncodedAudio | Waveform:
    """One item as a file or a waveform; URLs are fetched and open files read.

    Raises:
        InputError: it is neither, or cannot be fetched or read.
    """
    item = _of_row(item)
    waveform = as_waveform(item)
    if waveform is not None:
        return waveform
    if isinstance(item, Mapping):
        # as in `datasets`, bytes go before the path they were read from
        content, path = item.get("bytes"), item.get("path")
        if content is None and not isinstance(path, (str, os.PathLike)):
            raise InputError(f"a dict with 'path' and 'bytes' must hold one of them; got {_shown(dict(item))}.")
        return read_item(path if content is None else content)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return EncodedAudio(bytes(item), "the bytes")
    if hasattr(item, "read"):
        return EncodedAudio(_read_file(item), f"the file {_shown(getattr(item, 'name', type(item).__name__))}")
    source = os.fsdecode(item)
    if source.startswith(("http://", "https://")):
        return EncodedAudio(_fetch(source), _without_secrets(source))
    if source.startswith("data:"):
        return EncodedAudio(_decode_data_url(source), "the data")
    _require_path(source)
    return EncodedAudio(source, source)


def as_waveform(item: Any) -> Waveform | None:
    """One item as a waveform; None where it is a file.

    Raises:
        InputError: it is neither.
    """
    item = _of_row(item)
    if isinstance(item, Mapping) and ("array" in item or "raw" in item):
        return _of_mapping(item)
    if hasattr(item, "get_all_samples"):
        return _of_decoder(item)
    if isinstance(item, (str, os.PathLike, bytes, bytearray, memoryview, Mapping)) or hasattr(item, "read"):
        return None
    if not isinstance(item, (np.ndarray, torch.Tensor, list, tuple)):
        raise InputError(f"{_KINDS} is needed; got {type(item).__name__}.")
    samples = _to_samples(item)
    if samples.ndim != 1:
        raise InputError(
            f"a waveform has the shape (samples,); got {samples.shape}. Average the channels first, or give {{'array': ...,"
            " 'sampling_rate': ...} with channels first; give several clips as a list."
        )
    return Waveform(samples)


def require_samples(samples: np.ndarray) -> np.ndarray:
    """(samples,) in float32.

    Raises:
        InputError: they are NaN, infinite, or too large to be samples.
    """
    with np.errstate(over="ignore"):  # what overflows is refused
        samples = samples.astype(np.float32, copy=False)
    finite = np.isfinite(samples)
    if not finite.all():
        raise InputError(
            f"the audio holds NaN or infinity (first at sample {int(np.argmin(finite))}); repair or leave out that audio."
        )
    peak = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))
    if peak > LOUDEST:
        raise InputError(f"the audio reaches {peak:.3g}; samples lie within [-1, 1]. Repair or leave out that audio.")
    return samples


def _of_row(item: Any) -> Any:
    """What the column of audio holds, of a row; anything else as it is."""
    if not isinstance(item, Mapping) or _is_audio(item):
        return item
    return item[_only_column([name for name, value in item.items() if _is_audio(value)], item)]


def _of_mapping(item: Mapping) -> Waveform:
    samples, rate = item.get("array", item.get("raw")), item.get("sampling_rate")
    if samples is None or rate is None:
        raise InputError(
            f"a dict of a waveform must hold 'array' (or 'raw') and 'sampling_rate'; got the keys {_shown(list(item))}."
        )
    return _with_channels(samples, require_sampling_rate(rate, "'sampling_rate'"))


def _of_decoder(decoder: Any) -> Waveform:
    try:
        samples = decoder.get_all_samples()
    except (RuntimeError, ValueError, OSError) as error:  # torchcodec's own are RuntimeErrors
        raise InputError(f"the decoder cannot read it: {_one_line(error)}") from None
    return _with_channels(samples.data, require_sampling_rate(samples.sample_rate, "the decoder's sample_rate"))


def _with_channels(given: Any, sampling_rate: int) -> Waveform:
    samples = _to_samples(given)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[0] <= samples.shape[1]):
        raise InputError(f"'array' must have the shape (samples,) or (channels, samples); got {samples.shape}.")
    return Waveform(samples, sampling_rate)


def _to_samples(given: Any) -> np.ndarray:
    """An array of floats, as it was handed over."""
    try:
        if isinstance(given, torch.Tensor):
            given = (given.float() if given.dtype == torch.bfloat16 else given).detach().cpu().numpy()
        array = np.asarray(given)
    except (TypeError, ValueError, OverflowError, RuntimeError, NotImplementedError) as error:
        # lists of different lengths, tensors that are sparse, quantised or on no device
        raise InputError(f"no waveform can be made of a {type(given).__name__}: {_one_line(error)}") from None
    if array.dtype.kind != "f":
        advice = " For 16-bit integers: array.astype('float32') / 32768." if array.dtype.kind in "iu" else ""
        raise InputError(f"'array' holds {array.dtype} samples; floating point within [-1, 1] is needed.{advice}")
    return array


def _only_column(found: list, columns: Iterable) -> Any:
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"the columns {', '.join(map(repr, found))} hold audio; give one of them.")
    raise InputError(
        f"none of {_shown(list(columns))} holds audio; a dict must hold 'array' (or 'raw') and 'sampling_rate', or 'path' or"
        " 'bytes', a dataset one column of them."
    )


def _is_audio(value: Any) -> bool:
    keys = {"array", "raw", "path", "bytes"}
    return hasattr(value, "get_all_samples") or (isinstance(value, Mapping) and not keys.isdisjoint(value))


def _require_path(source: str) -> None:
    try:
        longest = max(len(part) for part in os.fsencode(source).split(b"/"))
    except UnicodeEncodeError:
        longest = LONGEST_NAME + 1
    if not 0 < longest <= LONGEST_NAME or "\0" in source:
        raise InputError(f"{_shown(source)} is no path of a file.")


def _read_file(file: Any) -> bytes:
    try:
        place = file.tell() if file.seekable() else None
        if place is not None:
            file.seek(0)
        content = file.read()
        if place is not None:
            file.seek(place)
    except (OSError, ValueError) as error:  # ValueError of a closed one
        raise InputError(f"the open file cannot be read: {_one_line(error)}") from None
    if not isinstance(content, bytes):
        raise InputError("the file is open as text; open it with open(path, 'rb').")
    return content


def _decode_data_url(url: str) -> bytes:
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the data: URL holds no base64.") from None


def _fetch(url: str) -> bytes:
    shown = _without_secrets(url)
    try:
        response = get_session().get(url, timeout=DOWNLOAD_TIMEOUT_S)
        response.raise_for_status()
    except (HTTPError, OSError, ValueError) as error:  # OSError of a session that is offline, ValueError of no host
        status = getattr(getattr(error, "response", None), "status_code", type(error).__name__)
        raise InputError(f"{shown} cannot be fetched: {status}.") from None
    return response.content


def _without_secrets(url: str) -> str:
    """A URL as a message may show it: no password, and nothing behind the path, where tokens are; refused if it is none."""
    try:
        parts = urlsplit(url)
        is_url = bool(re.fullmatch(r"[\w.:-]+", parts.hostname or "")) and parts.port != 0 and url.isprintable()
    except ValueError:
        is_url = False
    if not is_url:
        raise InputError("the URL names no host.")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _shown(value: Any) -> str:
    return reprlib.repr(value)


def _one_line(error: BaseException) -> str:
    return reprlib.repr(" ".join(str(error).split()))
