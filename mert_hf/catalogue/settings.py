"""What the vectors of a catalogue are: the model and all that they depend on, noted in its folder when it is begun."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder, is_there
from mert_hf.common.reading import read_json, to_dataclass
from mert_hf.encoding.chosen_layers import Layers

NOTE = "catalogue.json"
FORMAT = 1
# How long processes wait for the first one to note the settings, in seconds: it loads and measures the model before.
LONGEST_WAIT_S = 30 * 60
# Facts that tell where vectors came from, and do not change them.
DESCRIPTIONS = ("model", "revision", "version")


@dataclass(frozen=True)
class CatalogueSettings:
    """Settings of a catalogue; two with the same, but for names and versions, hold vectors that can be compared.

    Attributes:
        model: folder or repository, as it was given.
        revision: commit of the repository; None of a folder.
        weights: SHA-256 of the model's weights, as they compute.
        layers: such as "7", "0,7,12" or "7:0.5,8:0.5"; see [`parse_layers`].
        pool: "mean", "mean_std", "second", or None: all frames, in files.
        window_s, overlap_s: of the windows that long tracks pass in; None: as a whole.
        dtype: of the computation, such as "float32".
        sampling_rate: that tracks are resampled to, in Hz.
        dimensions: numbers of a vector.
        version: of mert_hf that began it.
        format: of the folder.
    """

    model: str
    revision: str | None
    weights: str
    layers: str
    pool: str | None
    window_s: float | None
    overlap_s: float
    dtype: str
    sampling_rate: int
    dimensions: int
    version: str
    format: int = FORMAT

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold vectors: "vector", or one a layer; with `pool` None "frames", the name of a file."""
        if self.pool is None:
            return ("frames",)
        layers = parse_layers(self.layers)
        return tuple(f"layer_{layer:02d}" for layer in layers) if isinstance(layers, list) else ("vector",)


def parse_layers(text: str) -> Layers:
    """Layers as [`MusicEncoder.encode`] takes them, from a text: "7", "0,7,12", "all", or weights, "7:0.5,8:0.5".

    Raises:
        InputError: it is none of these.
    """
    if text == "all":
        return text
    try:
        if ":" in text:
            return {int(layer): float(weight) for layer, weight in (part.split(":") for part in text.split(","))}
        numbers = [int(part) for part in text.removesuffix(",").split(",")]
    except ValueError:
        raise InputError(f'layers {text!r} are none; give "7", "0,7,12", "all", or weights, "7:0.5,8:0.5".') from None
    return numbers if "," in text else numbers[0]


def write_layers(layers: Layers, deepest: int) -> str:
    """The text that [`parse_layers`] reads; "all" written out, for a model whose last layer is `deepest`."""
    if isinstance(layers, Mapping):
        return ",".join(f"{layer}:{float(weight)!r}" for layer, weight in layers.items())
    if isinstance(layers, str):
        layers = range(deepest + 1)
    one = isinstance(layers, (int, np.integer))
    return str(layers) if one else ",".join(map(str, layers)) + ("," if len(layers) == 1 else "")


def read_settings(folder: str | os.PathLike) -> CatalogueSettings:
    """The settings of a catalogue.

    Raises:
        InputError: the folder is none, or its note is damaged or of a later version.
    """
    note = Path(folder) / NOTE
    if not is_there(note):
        what = "is no catalogue" if is_there(folder) else "does not exist"
        raise InputError(f"{folder} {what}; `mert-hf embed MUSIC -o {folder}` makes one.")
    content = read_json(note)
    if content.get("format") != FORMAT:
        given = content.get("format")
        raise InputError(f"{note} is of format {given!r}, and this version of mert_hf reads {FORMAT}; update it.")
    settings = to_dataclass(CatalogueSettings, content, str(note))
    parse_layers(settings.layers)
    return settings


def claim(folder: str | os.PathLike, settings: CatalogueSettings) -> None:
    """Note the settings in the folder, or see that they are those that it was begun with.

    Raises:
        InputError: it was begun with others, which are named; or it holds something else.
    """
    folder = Path(folder)
    if not is_there(folder / NOTE):
        require_free(folder)
    different = claim_folder(folder / NOTE, asdict(settings))
    told = [f"{name} {there!r}, now {here!r}" for name, (there, here) in different.items() if name not in DESCRIPTIONS]
    if "weights" in different and "model" in different:  # whoever has named none sees which one it was
        told.insert(0, "model {!r}, now {!r}".format(*different["model"]))
    if told:
        raise InputError(
            f"{folder} was begun with other settings ({'; '.join(told)}); give them again, or choose another --output_dir."
        )


def require_free(folder: Path) -> None:
    """Refuse a folder that holds something else than a catalogue."""
    if is_there(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder to write.")
    others = [name for name in sorted(os.listdir(folder)) if not name.startswith(".")] if folder.is_dir() else []  # noqa: PTH208
    others = [name for name in others if not name.endswith((".lock", ".partial"))]
    if others and not is_there(folder / NOTE):
        raise InputError(f"{folder} holds other files, such as {others[0]!r}, and no catalogue; choose another --output_dir.")


def await_settings(folder: str | os.PathLike) -> CatalogueSettings:
    """Settings that another process of the same launch is about to note.

    Raises:
        InputError: it does not within half an hour.
    """
    started = time.monotonic()
    while not is_there(Path(folder) / NOTE):
        if time.monotonic() - started > LONGEST_WAIT_S:
            raise InputError(f"{folder}: the first process has not begun the catalogue; see what it says.")
        time.sleep(0.2)
    return read_settings(folder)
