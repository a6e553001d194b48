"""What teachers have in common that are fitted on the music they code: features of frames, and a folder to lie in."""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn as nn
from safetensors import safe_open
from safetensors.torch import save

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.reading import read_json, to_dataclass
from mert_hf.common.settings import require, setting
from mert_hf.encoding.loading import telling
from mert_hf.teachers.base import MOST_CODEBOOKS, CodeTeacher, CodeTeacherSettings
from mert_hf.teachers.features import FRAME_FEATURES, make_feature

logger = logging.getLogger(__name__)

DESCRIPTION_FILE = "teacher.json"
TENSORS_FILE = "teacher.safetensors"
# Codes that nobody fits (BEST-RQ: 8192), and rates.
MOST_FITTED_CODES, HIGHEST_RATE = 2**20, 1_000_000
# Largest whole number in options of features (bins, samples of a transform): more need more memory than there is.
MOST_OF_A_FEATURE = 2**16


@dataclass
class FittedTeacherSettings(CodeTeacherSettings):
    """The acoustic teacher, whose codes are predicted; with what it codes, where it is fitted."""

    feature_options: dict[str, Any] = setting({}, "arguments of the features by name; null takes back what a base recipe says")
    fit_s: float = setting(3600.0, "seconds of audio to fit the codebooks on", above=0, most=1e8)

    def __post_init__(self):
        super().__post_init__()
        self.feature_options = {name: options for name, options in self.feature_options.items() if options is not None}
        for name, options in self.feature_options.items():
            require(isinstance(options, dict), f"teacher.feature_options.{name} must hold keys and values.")
            for key, value in options.items():
                require(
                    not isinstance(value, (int, float)) or abs(value) <= MOST_OF_A_FEATURE,
                    f"teacher.feature_options.{name}.{key}={value} must be {MOST_OF_A_FEATURE} or less.",
                )


def require_coded(feature_options: Iterable[str], features: Sequence[str]) -> None:
    """Refuse options of a feature that is not among those that are coded.

    Raises:
        InputError: there are some.
    """
    for name in feature_options:
        told = f"feature_options names {name!r}, which is not among the features {list(features)}"
        require(name in features, f"{told}; leave it out, or give null where a base recipe names it.")


@dataclass(kw_only=True)
class FittedDescription:
    """What `teacher.json` holds of every fitted teacher: what makes it, and what tells that it is what was saved."""

    form: str
    codebook_sizes: list[int]
    feature_options: dict[str, dict] = field(default_factory=dict)
    sampling_rate: int = 24000
    hop_samples: int = 320
    fingerprint: str | None = None  # as mert_hf wrote it before it had one
    description: str = ""  # of the form, for people


class FittedTeacher(CodeTeacher):
    """Codes features of frames by what it was fitted on. With spectra, a frame's codes depend on the audio around it alone.

    A subclass registers its own tensors as buffers, one of which is `centroids_N`, (codes, size), for each codebook N, and says
    how they are fitted (`_fit_frames`) and used (`_encode`).

    Args:
        codebook_sizes: number of codes of each codebook.
        features: names of the features, of `FRAME_FEATURES`.
        feature_options: arguments of the features by name, such as `{"log_mel": {"bins": 229, "fft_samples": 4096}}`.
        sampling_rate: samples per second of the input.
        hop_samples: samples between two frames (320 at 24 kHz: 75 frames per second).

    Attributes:
        form: what its description calls it.
        title: what messages call it.
        description_class: fields of its description.
        arguments: those of its constructor, which its description holds.
    """

    settings_class = FittedTeacherSettings
    is_fitted = True
    form: ClassVar[str]
    title: ClassVar[str]
    description_class: ClassVar[type[FittedDescription]] = FittedDescription
    arguments: ClassVar[tuple[str, ...]] = ("codebook_sizes", "feature_options", "sampling_rate", "hop_samples")

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        features: Sequence[str],
        feature_options: dict[str, dict] | None = None,
        sampling_rate: int = 24000,
        hop_samples: int = 320,
    ):
        super().__init__()
        _check_codebooks(codebook_sizes)
        for name in features:
            if name not in FRAME_FEATURES:
                raise InputError(f"feature {name!r} is unknown; known features: {', '.join(FRAME_FEATURES)}.")
        if not (0 < sampling_rate <= HIGHEST_RATE and 0 < hop_samples <= sampling_rate):
            raise InputError(
                f"sampling_rate={sampling_rate:.6g} and hop_samples={hop_samples:.6g}: rates up to {HIGHEST_RATE:,} Hz and hops"
                " of 1 sample to 1 second are accepted."
            )
        self.codebook_sizes = list(codebook_sizes)
        self.features = list(features)
        for name, options in (feature_options or {}).items():
            if not isinstance(options, dict):
                raise InputError(f"feature_options.{name} is {str(options)[:80]}; expected options by name.")
        self.feature_options = {name: dict(options) for name, options in (feature_options or {}).items()}
        self.sampling_rate = sampling_rate
        self.hop_samples = hop_samples
        self.frame_rate = sampling_rate / hop_samples
        require_coded(self.feature_options, self.features)
        self.spectra = nn.ModuleList(self._make_feature(name, self.feature_options.get(name, {})) for name in self.features)
        self.frame_local = all(spectrum.frame_local for spectrum in self.spectra)
        self.whole_files = any(spectrum.whole_files for spectrum in self.spectra)
        self.context_samples = max(spectrum.context_samples for spectrum in self.spectra)
        self.piece_s = min(spectrum.piece_s for spectrum in self.spectra)

    @classmethod
    def forms(cls) -> "dict[str, type[FittedTeacher]]":
        """What `from_pretrained` of this class reads, by their `form`."""
        return {cls.form: cls}

    @classmethod
    def load_to_compare(cls, settings, found):
        """As in [`CodeTeacher`]; a fitted teacher lies in its folder whole, so it is always loaded."""
        return cls.from_pretrained(Path(settings.folder).expanduser())

    @classmethod
    def is_saved(cls, folder):
        """Whether one lies in a folder."""
        return (Path(folder) / DESCRIPTION_FILE).is_file()

    def fit(self, clips: Iterable[torch.Tensor], seed: int = 0, max_frames: int = 200_000) -> "FittedTeacher":
        """Learn what codes are told by.

        Args:
            clips: waveforms (samples,) at `sampling_rate`; read until max_frames frames are there.
            seed: of all that is drawn; equal clips and seed give equal codes.
            max_frames: how many frames to keep in memory, 4 bytes a frame and bin, and those of one clip more. Residual
                codebooks take up to four times that while they are fitted.

        Raises:
            InputError: the clips hold fewer frames than the largest codebook has codes.
        """
        frames: list[list[torch.Tensor]] = [[] for _ in self.spectra]
        device, count = self._centroids(0).device, 0
        with torch.no_grad():
            for clip in clips:
                for kept, spectrum in zip(frames, self.spectra, strict=True):
                    kept.append(spectrum(clip[None].to(device))[0].cpu())
                count += len(frames[0][-1])
                if count >= max_frames:
                    break
        if count < self._least_frames():
            audio = f"{count} frames ({count / self.frame_rate:.1f} s of audio)"
            raise InputError(
                f"a codebook of {max(self.codebook_sizes)} codes cannot be fitted on {audio}; give more audio or use smaller"
                " codebooks."
            )
        logger.info("Codebooks are fitted on %d frames, %.2f hours of audio", count, count / self.frame_rate / 3600)
        self._fit_frames([join(kept) for kept in frames], seed)
        return self

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at `sampling_rate` -> (batch, codebooks, frames) int64 codes.

        Spectra give samples // hop_samples + 1 frames, hidden states as many as their model.

        Raises:
            RuntimeError: the teacher was neither fitted nor loaded.
        """
        if not self._centroids(0).isfinite().all():
            raise RuntimeError(f"this {self.title} has no centroids yet; call fit(clips) or from_pretrained(folder).")
        # float32 also under autocast: the nearest centroid must not depend on the training's precision
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            frames = [spectrum(waveform) for spectrum in self.spectra]
            shortest = min(spectrum.shape[1] for spectrum in frames)
            return self._encode([spectrum[:, :shortest] for spectrum in frames])

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write `teacher.json` and `teacher.safetensors`; the description is written last, so it marks a complete folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in self.named_buffers(recurse=False)}
        description = {"form": self.form, "description": self.description, "fingerprint": self.fingerprint()}
        description |= {name: getattr(self, name) for name in self.arguments}
        write_atomically(folder / TENSORS_FILE, save(tensors, {"description": digest_json(description)}))
        write_atomically(folder / DESCRIPTION_FILE, json.dumps(description, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> "FittedTeacher":
        """What `save_pretrained` wrote, in the form it was saved in.

        Raises:
            InputError: the folder holds no complete teacher, or not the one that was saved: a file is damaged, the description
                names an unknown form or absurd sizes, or the tensors do not fit it.
        """
        folder = Path(folder)
        for name in (DESCRIPTION_FILE, TENSORS_FILE):
            if not (folder / name).is_file():
                raise InputError(f"{folder} holds no fitted {cls.title}: {name} is missing.")
        content, forms = read_json(folder / DESCRIPTION_FILE), cls.forms()
        form = content.get("form")
        if isinstance(form, str) and form not in forms:
            raise InputError(f"{folder / DESCRIPTION_FILE}: form {form[:80]!r} is unknown; known forms: {', '.join(forms)}.")
        described = to_dataclass(cls.description_class, content, str(folder / DESCRIPTION_FILE))
        tensors, sealed = _read_tensors(folder, described.codebook_sizes)
        # only now is anything made whose size a damaged description could name
        with telling(f"the teacher in {folder}"):
            made_by = forms[described.form]
            teacher = made_by(**{name: getattr(described, name) for name in made_by.arguments})
        expected = dict(teacher.named_buffers(recurse=False))
        if expected.keys() != tensors.keys():
            raise InputError(f"{folder / TENSORS_FILE} does not fit {DESCRIPTION_FILE}: it holds {', '.join(tensors)[:200]}.")
        for name, tensor in tensors.items():
            if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
                raise InputError(
                    f"{folder / TENSORS_FILE} does not fit {DESCRIPTION_FILE}: {name} is {tensor.dtype}"
                    f" {tuple(tensor.shape)}, expected {expected[name].dtype} {tuple(expected[name].shape)}."
                )
            expected[name].copy_(tensor)
        if (sealed or digest_json(content)) != digest_json(content) or described.fingerprint not in (
            None,
            teacher.fingerprint(),
        ):
            raise InputError(f"{folder} was changed since it was saved, or the model whose hidden states it codes was.")
        return teacher

    def _least_frames(self) -> int:
        """Frames without which nothing can be fitted."""
        return max(self.codebook_sizes)

    def _centroids(self, book: int) -> torch.Tensor:
        return getattr(self, f"centroids_{book}")

    def _make_feature(self, name: str, options: dict[str, Any]) -> nn.Module:
        return make_feature(name, self.sampling_rate, self.hop_samples, options)

    def _fit_frames(self, frames: list[torch.Tensor], seed: int) -> None:
        """Fill the buffers from (frames, bins) of each feature."""
        raise NotImplementedError

    def _encode(self, frames: list[torch.Tensor]) -> torch.Tensor:
        """(batch, frames, bins) of each feature -> (batch, codebooks, frames) int64."""
        raise NotImplementedError


def join(pieces: list[torch.Tensor]) -> torch.Tensor:
    """`torch.cat` that empties the list as it goes, so that the frames never lie in memory twice."""
    joined = torch.empty(sum(map(len, pieces)), pieces[0].shape[1])
    pieces.reverse()
    start = 0
    while pieces:
        piece = pieces.pop()
        joined[start : start + len(piece)] = piece
        start += len(piece)
    return joined


def _check_codebooks(codebook_sizes: Sequence[int]) -> None:
    if not codebook_sizes or min(codebook_sizes) < 2:
        raise InputError(f"codebook_sizes={list(codebook_sizes)} must name at least one codebook of 2 or more codes.")
    if len(codebook_sizes) > MOST_CODEBOOKS or max(codebook_sizes) > MOST_FITTED_CODES:
        raise InputError(f"codebook_sizes: up to {MOST_CODEBOOKS} codebooks of up to {MOST_FITTED_CODES:,} codes are accepted.")


def _read_tensors(folder: Path, sizes: list[int]) -> tuple[dict[str, torch.Tensor], str | None]:
    """What a folder's tensors are, and the digest of the description that they were saved with, if any was.

    Raises:
        InputError: damaged, or not of codebooks of these sizes.
    """
    with telling(str(folder / TENSORS_FILE)), safe_open(folder / TENSORS_FILE, "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
        books = sum(name.startswith("centroids_") for name in shapes)
        if books != len(sizes) or [shapes.get(f"centroids_{book}", ())[:1] for book in range(books)] != [
            (size,) for size in sizes
        ]:
            raise InputError(f"{folder / TENSORS_FILE} does not fit {DESCRIPTION_FILE}: its codebooks have other sizes.")
        return {name: file.get_tensor(name) for name in sorted(shapes)}, (file.metadata() or {}).get("description")
