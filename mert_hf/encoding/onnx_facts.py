"""What an ONNX file of this package tells of itself, in its `metadata_props`: written by the export, read by the encoder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mert_hf.common.errors import InputError
from mert_hf.models.windows_mert import FrameGrid

FORMAT, FORMAT_VERSION = "mert_hf", 1


@dataclass(frozen=True)
class OnnxFacts:
    """What a runtime must know of a file beside its graph.

    Attributes:
        grid: how samples become frames, and the sampling rate.
        normalises: whether the file itself scales clips to zero mean and unit variance.
        layers: names of the entries of `hidden_states`, "0" (the input of the first layer) and on; none without that output.
        dtype: of the weights: "float32", "float16" or "int8".
        context_seconds: length of the clips that the model was trained on, where it is known.
        model, revision, licence: where the weights come from and what they may be used for, where that is known.
    """

    grid: FrameGrid
    normalises: bool
    layers: tuple[str, ...]
    dtype: str
    context_seconds: float | None = None
    model: str | None = None
    revision: str | None = None
    licence: str | None = None

    def to_metadata(self) -> dict[str, str]:
        """The `metadata_props`: names and numbers as text, the rest as JSON ("true", a list); what is not known is left out."""
        from mert_hf import __version__  # not at the top: the package's face imports this room

        grid = self.grid
        told = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "package_version": __version__,
            "model": self.model,
            "revision": self.revision,
            "license": self.licence,
            "sampling_rate": grid.sampling_rate,
            "hop_samples": grid.hop_samples,
            "receptive_samples": grid.receptive_samples,
            "least_samples": grid.least_samples,
            "first_frame_s": grid.first_frame_s,
            "centre_samples": grid.centre_samples,
            "normalises_inside": json.dumps(self.normalises),
            "layers": json.dumps(self.layers),
            "dtype": self.dtype,
            "context_seconds": self.context_seconds,
        }
        return {name: str(value) for name, value in told.items() if value is not None}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: object) -> "OnnxFacts":
        """Read what [`OnnxFacts.to_metadata`] wrote.

        Raises:
            InputError: the file is another program's, or of a later version, or its metadata are damaged.
        """
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{file} does not tell how it is used: another program wrote it, or mert_hf before it described its files;"
                f" write it with: mert-hf export-onnx MODEL {file} --all_layers"
            )
        try:
            version = int(metadata["format_version"])
            if version > FORMAT_VERSION:
                raise InputError(f"{file} was written by a later mert_hf (format {version}); pip install --upgrade mert_hf")
            return cls._read(metadata)
        except InputError:
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{file}: its metadata are damaged ({type(error).__name__}: {error}); export it again.") from None

    @classmethod
    def _read(cls, metadata: Mapping[str, str]) -> "OnnxFacts":
        def optional(name: str, kind: type) -> Any:
            return kind(metadata[name]) if name in metadata else None

        counts = ("sampling_rate", "hop_samples", "receptive_samples")
        rate, hop, receptive = (int(metadata[name]) for name in counts)
        if min(rate, hop, receptive) < 1:
            raise ValueError(f"{', '.join(counts)} must be 1 or more")
        return cls(
            grid=FrameGrid(rate, hop, receptive, int(metadata["least_samples"]), optional("centre_samples", float)),
            normalises=json.loads(metadata["normalises_inside"]),
            layers=tuple(json.loads(metadata["layers"])),
            dtype=metadata["dtype"],
            context_seconds=optional("context_seconds", float),
            model=optional("model", str),
            revision=optional("revision", str),
            licence=optional("license", str),
        )
