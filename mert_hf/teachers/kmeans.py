"""Acoustic teachers fitted on the user's own music: k-means codes of spectra, or of a trained model's hidden states."""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors import safe_open
from safetensors.torch import save

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json, write_atomically
from mert_hf.common.packages import require_packages
from mert_hf.common.reading import read_json, to_dataclass
from mert_hf.common.settings import require, setting
from mert_hf.encoding.loading import telling
from mert_hf.teachers.base import MOST_CODEBOOKS, CodeTeacher, CodeTeacherSettings
from mert_hf.teachers.features import FRAME_FEATURES, make_feature

logger = logging.getLogger(__name__)

DESCRIPTION_FILE = "teacher.json"
CENTROIDS_FILE = "teacher.safetensors"
# Arguments of a teacher, which its description holds.
ARGUMENTS = ("codebook_sizes", "features", "feature_options", "sampling_rate", "hop_samples")
# Codes that nobody fits (musicHuBERT: 2000), and rates.
MOST_FITTED_CODES, HIGHEST_RATE = 2**20, 1_000_000
# Largest whole number in options of features (bins, samples of a transform): more need more memory than there is.
MOST_OF_A_FEATURE = 2**16

# Distances computed at a time while codes are assigned (64 MiB), whatever the number of frames and of codes.
DISTANCES_AT_ONCE = 1 << 24


@dataclass
class KMeansSettings(CodeTeacherSettings):
    """The acoustic teacher, whose codes are predicted; with what k-means codes."""

    features: list[str] = setting(["log_mel"], "what k-means codes: log_mel, chroma, mfcc, hidden_states, joined_hidden_states")
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


@dataclass
class TeacherDescription:
    """What `teacher.json` holds; the fields are those of [`KMeansTeacher`], and what tells that they are what was saved."""

    form: str  # "parallel" or "residual"
    codebook_sizes: list[int]
    features: list[str]
    feature_options: dict[str, dict] = field(default_factory=dict)
    sampling_rate: int = 24000
    hop_samples: int = 320
    fingerprint: str | None = None  # as mert_hf wrote it before it had one
    description: str = ""  # of the form, for people


class KMeansTeacher(CodeTeacher):
    """Codes from the nearest centroids of features. Use one of its two forms, parallel or residual.

    With spectra, a frame's codes depend on the audio around that frame alone (half a transform to each side), so the codes of
    a crop equal those of the whole track away from the crop's edges.

    Args:
        codebook_sizes: number of centroids of each codebook.
        features: names of the features, of `FRAME_FEATURES`.
        feature_options: arguments of the features by name, such as `{"log_mel": {"bins": 229, "fft_samples": 4096}}`.
        sampling_rate: samples per second of the input.
        hop_samples: samples between two frames (320 at 24 kHz: 75 frames per second).
    """

    settings_class = KMeansSettings
    is_fitted = True
    form: str

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        features: Sequence[str],
        feature_options: dict[str, dict] | None = None,
        sampling_rate: int = 24000,
        hop_samples: int = 320,
    ):
        super().__init__()
        self._check(codebook_sizes, features)
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
        for name in self.feature_options:
            if name not in self.features:
                raise InputError(f"feature_options names {name!r}, which is not among the features {self.features}.")
        self.spectra = nn.ModuleList(
            make_feature(name, sampling_rate, hop_samples, self.feature_options.get(name, {})) for name in self.features
        )
        self.frame_local = all(spectrum.frame_local for spectrum in self.spectra)
        self.context_samples = max(spectrum.context_samples for spectrum in self.spectra)
        self.piece_s = min(spectrum.piece_s for spectrum in self.spectra)
        for book, size in enumerate(self.codebook_sizes):
            self.register_buffer(f"centroids_{book}", torch.full((size, self._spectrum_of(book).bins), torch.nan))

    @property
    def kind(self) -> str:
        """What `teacher.kind` calls this form."""
        return f"kmeans_{self.form}"

    @classmethod
    def from_settings(cls, settings, sampling_rate, hop_samples):
        return cls(settings.codebook_sizes, settings.features, settings.feature_options, sampling_rate, hop_samples)

    @classmethod
    def describe(cls, settings):
        names = ("kind", "codebook_sizes", "features", "feature_options")
        return {name: getattr(settings, name) for name in names}

    @classmethod
    def load_to_compare(cls, settings, found):
        """As in [`CodeTeacher`]; a fitted teacher lies in its folder whole, so it is always loaded."""
        return cls.from_pretrained(Path(settings.folder).expanduser())

    @classmethod
    def is_saved(cls, folder):
        """Whether one lies in a folder."""
        return (Path(folder) / DESCRIPTION_FILE).is_file()

    def settings(self):
        return {**super().settings(), "features": self.features, "feature_options": self.feature_options}

    def fit(self, clips: Iterable[torch.Tensor], seed: int = 0, max_frames: int = 200_000) -> "KMeansTeacher":
        """Learn the centroids with scikit-learn's mini-batch k-means (k-means++ start, batches of 4096 frames).

        Args:
            clips: waveforms (samples,) at `sampling_rate`; read until max_frames frames are there.
            seed: of the start and of the batches; equal clips and seed give equal centroids.
            max_frames: how many frames to keep in memory, 4 bytes a frame and bin, and those of one clip more. Residual
                codebooks take up to four times that while they are fitted.

        Raises:
            InputError: the clips hold fewer frames than the largest codebook has centroids.
        """
        frames: list[list[torch.Tensor]] = [[] for _ in self.spectra]
        count = 0
        for clip in clips:
            for kept, spectrum in zip(frames, self.spectra, strict=True):
                kept.append(spectrum(clip[None].to(self._centroids(0).device))[0].cpu())
            count += len(frames[0][-1])
            if count >= max_frames:
                break
        largest = max(self.codebook_sizes)
        if count < largest:
            raise InputError(
                f"a codebook of {largest} codes cannot be fitted on {count} frames ({count / self.frame_rate:.1f} s of audio);"
                " give more audio or use smaller codebooks."
            )
        logger.info("Codebooks are fitted on %d frames, %.2f hours of audio", count, count / self.frame_rate / 3600)
        self._fit_frames([_join(kept) for kept in frames], seed)
        return self

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at `sampling_rate` -> (batch, codebooks, frames) int64 codes.

        Spectra give samples // hop_samples + 1 frames, hidden states as many as their model.

        Raises:
            RuntimeError: the teacher was neither fitted nor loaded.
        """
        if not self._centroids(0).isfinite().all():
            raise RuntimeError("this k-means teacher has no centroids yet; call fit(clips) or from_pretrained(folder).")
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
        centroids = {f"centroids_{book}": self._centroids(book).contiguous() for book in range(len(self.codebook_sizes))}
        description = {"form": self.form, "description": self.description, "fingerprint": self.fingerprint()}
        description |= {name: getattr(self, name) for name in ARGUMENTS}
        write_atomically(folder / CENTROIDS_FILE, save(centroids, {"description": digest_json(description)}))
        write_atomically(folder / DESCRIPTION_FILE, json.dumps(description, indent=2) + "\n")

    @staticmethod
    def from_pretrained(folder: str | os.PathLike) -> "KMeansTeacher":
        """What `save_pretrained` wrote, in the form it was saved in.

        Raises:
            InputError: the folder holds no complete teacher, or not the one that was saved: a file is damaged, the description
                names an unknown form or absurd sizes, or the centroids do not fit it.
        """
        folder = Path(folder)
        for name in (DESCRIPTION_FILE, CENTROIDS_FILE):
            if not (folder / name).is_file():
                raise InputError(f"{folder} holds no fitted k-means teacher: {name} is missing.")
        content = read_json(folder / DESCRIPTION_FILE)
        described = to_dataclass(TeacherDescription, content, str(folder / DESCRIPTION_FILE))
        forms = {cls.form: cls for cls in (ParallelKMeansTeacher, ResidualKMeansTeacher)}
        if described.form not in forms:
            form = described.form[:80]
            raise InputError(f"{folder / DESCRIPTION_FILE}: form {form!r} is unknown; known forms: {', '.join(forms)}.")
        with telling(str(folder / CENTROIDS_FILE)), safe_open(folder / CENTROIDS_FILE, "pt") as file:
            sizes = described.codebook_sizes
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if len(shapes) != len(sizes) or [shapes.get(f"centroids_{book}", ())[:1] for book in range(len(sizes))] != [
                (size,) for size in sizes
            ]:
                raise InputError(f"{folder / CENTROIDS_FILE} does not fit {DESCRIPTION_FILE}: its codebooks have other sizes.")
            sealed = (file.metadata() or {}).get("description", digest_json(content))
            centroids = {name: file.get_tensor(name) for name in sorted(shapes)}
        # only now is anything made whose size a damaged description could name
        with telling(f"the teacher in {folder}"):
            teacher = forms[described.form](**{name: getattr(described, name) for name in ARGUMENTS})
        for name, tensor in centroids.items():
            expected = getattr(teacher, name)
            if (tensor.shape, tensor.dtype) != (expected.shape, expected.dtype):
                raise InputError(
                    f"{folder / CENTROIDS_FILE} does not fit {DESCRIPTION_FILE}: {name} is"
                    f" {tensor.dtype} {tuple(tensor.shape)}, expected {expected.dtype} {tuple(expected.shape)}."
                )
            expected.copy_(tensor)
        if sealed != digest_json(content) or described.fingerprint not in (None, teacher.fingerprint()):
            raise InputError(f"{folder} was changed since it was saved, or the model whose hidden states it codes was.")
        return teacher

    def _check(self, codebook_sizes: Sequence[int], features: Sequence[str]) -> None:
        if not codebook_sizes or min(codebook_sizes) < 2:
            raise InputError(f"codebook_sizes={list(codebook_sizes)} must name at least one codebook of 2 or more codes.")
        if len(codebook_sizes) > MOST_CODEBOOKS or max(codebook_sizes) > MOST_FITTED_CODES:
            raise InputError(
                f"codebook_sizes: up to {MOST_CODEBOOKS} codebooks of up to {MOST_FITTED_CODES:,} codes are accepted."
            )
        for name in features:
            if name not in FRAME_FEATURES:
                raise InputError(f"feature {name!r} is unknown; known features: {', '.join(FRAME_FEATURES)}.")

    def _centroids(self, book: int) -> torch.Tensor:
        return getattr(self, f"centroids_{book}")

    def _spectrum_of(self, book: int) -> nn.Module:
        raise NotImplementedError

    def _fit_frames(self, frames: list[torch.Tensor], seed: int) -> None:
        raise NotImplementedError

    def _encode(self, frames: list[torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError


class ParallelKMeansTeacher(KMeansTeacher):
    """One codebook a feature, each fitted by itself: MERT's k-means variant (300 log-mel and 200 chroma clusters)."""

    form = "parallel"
    description = "k-means codes, one codebook a feature (MERT's k-means teacher)"

    def _check(self, codebook_sizes, features):
        super()._check(codebook_sizes, features)
        if len(codebook_sizes) != len(features):
            raise InputError(
                f"parallel codebooks need one feature each; got {len(codebook_sizes)} codebooks and the features"
                f" {list(features)}."
            )

    def _spectrum_of(self, book):
        return self.spectra[book]

    def _fit_frames(self, frames, seed):
        for book, size in enumerate(self.codebook_sizes):
            self._centroids(book).copy_(_fit_kmeans(frames[book], size, seed + book))

    def _encode(self, frames):
        return torch.stack([nearest_centroid(x, self._centroids(book)) for book, x in enumerate(frames)], dim=1)


class ResidualKMeansTeacher(KMeansTeacher):
    """Residual vector quantisation of one feature: each codebook codes what the ones before it left over.

    The local stand-in for EnCodec's residual quantiser where its weights cannot be had; it is not EnCodec, and results made
    with it say so.
    """

    form = "residual"
    description = "residual k-means codes of a spectrum (local stand-in for EnCodec, not EnCodec)"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if self.features[0].endswith("hidden_states"):
            self.description = "residual k-means codes of hidden states"

    def _check(self, codebook_sizes, features):
        super()._check(codebook_sizes, features)
        if len(features) != 1:
            raise InputError(f"residual codebooks code one feature; got the features {list(features)}.")

    def _spectrum_of(self, book):
        return self.spectra[0]

    def _fit_frames(self, frames, seed):
        residual = frames[0]
        for book, size in enumerate(self.codebook_sizes):
            centroids = _fit_kmeans(residual, size, seed + book)
            self._centroids(book).copy_(centroids)
            residual = residual - centroids[nearest_centroid(residual, centroids)]

    def _encode(self, frames):
        residual, codes = frames[0], []
        for book in range(len(self.codebook_sizes)):
            nearest = nearest_centroid(residual, self._centroids(book))
            residual = residual - self._centroids(book)[nearest]
            codes.append(nearest)
        return torch.stack(codes, dim=1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """(batch, codebooks, frames) codes of the first codebooks -> (batch, frames, bins), the spectrum they stand for."""
        return sum(self._centroids(book)[codes[:, book]] for book in range(codes.shape[1]))


def nearest_centroid(frames: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Index of the centroid nearest to each frame: (..., bins), (codes, bins) -> (...) int64; in blocks of bounded memory."""
    # centred first: |x - c|^2 = |x|^2 - 2 x.c + |c|^2 loses digits when all points lie far from the origin
    centre = centroids.mean(0)
    centroids = centroids - centre
    lengths = centroids.square().sum(-1)
    blocks = frames.flatten(0, -2).split(max(DISTANCES_AT_ONCE // len(centroids), 1))
    nearest = [torch.addmm(lengths, block - centre, centroids.T, alpha=-2).argmin(-1) for block in blocks]
    return torch.cat(nearest).view(frames.shape[:-1])


def _join(pieces: list[torch.Tensor]) -> torch.Tensor:
    """`torch.cat` that empties the list as it goes, so that the frames never lie in memory twice."""
    joined = torch.empty(sum(map(len, pieces)), pieces[0].shape[1])
    pieces.reverse()
    start = 0
    while pieces:
        piece = pieces.pop()
        joined[start : start + len(piece)] = piece
        start += len(piece)
    return joined


def _fit_kmeans(frames: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    require_packages("train", "sklearn")
    from sklearn.cluster import MiniBatchKMeans  # needed for fitting only

    # no random reassignments of rare centroids, as in HuBERT's k-means: with 4000 codes they cost 10 % more error (measured)
    kmeans = MiniBatchKMeans(size, batch_size=4096, n_init=1, max_iter=50, reassignment_ratio=0.0, random_state=seed)
    return torch.from_numpy(kmeans.fit(frames.numpy()).cluster_centers_).float()
