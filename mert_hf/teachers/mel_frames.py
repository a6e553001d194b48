"""What teachers code that project a mel spectrum: its frames, side by side and normalised by the mean of the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from mert_hf.common.errors import InputError
from mert_hf.common.settings import setting
from mert_hf.teachers.features import make_feature
from mert_hf.teachers.fitted import FittedDescription, FittedTeacher, FittedTeacherSettings

# Between two frames of a mel spectrum that are put side by side (BEST-RQ stacks four of 10 ms, MusicFM as well).
MEL_HOP_S = 0.01
# Least deviation that a band is divided by, in nats: of one that nothing is ever in, above the limit of a lossy codec.
LEAST_STD = 0.01
# Numbers that a frame is projected to (BEST-RQ, section 4.1, MusicFM and MuQ: 16); beyond, nothing is gained.
MOST_PROJECTED = 1024


@dataclass
class MelTeacherSettings(FittedTeacherSettings):
    """The acoustic teacher, whose codes are predicted; with how mel frames are projected."""

    projection_size: int = setting(
        16, "of random_projection and mel_rvq, numbers that frames are projected to", above=0, most=MOST_PROJECTED
    )


@dataclass(kw_only=True)
class MelTeacherDescription(FittedDescription):
    """What `teacher.json` holds; the fields are those of [`MelTeacher`]."""

    projection_size: int


class StackedLogMel(nn.Module):
    """Log-mel frames of about 10 ms, as many as fit into a hop side by side: 4 at 25 frames a second, 1 at 75.

    Args:
        sampling_rate, hop_samples: samples per second, and between two stacks.
        options: of the feature `log_mel`.
    """

    frame_local, whole_files = True, False

    def __init__(self, sampling_rate: int, hop_samples: int, options: dict):
        super().__init__()
        wanted = max(round(hop_samples / (MEL_HOP_S * sampling_rate)), 1)
        self.stack = next(stack for stack in range(wanted, 0, -1) if hop_samples % stack == 0)
        self.hop_samples = hop_samples
        self.mel = make_feature("log_mel", sampling_rate, hop_samples // self.stack, options)
        self.bins, self.piece_s = self.stack * self.mel.bins, self.mel.piece_s
        self.context_samples = (-(-self.mel.context_samples // hop_samples) + 1) * hop_samples

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_samples + 1, bins) float32; a frame begins at its sample."""
        frames = waveform.shape[1] // self.hop_samples + 1
        mel = self.mel(F.pad(waveform, (0, self.hop_samples)))[:, : frames * self.stack]
        return mel.unflatten(1, (frames, self.stack)).flatten(2)


class MelTeacher(FittedTeacher):
    """Codes of log-mel frames, each number of which is scaled to mean 0 and variance 1 over the corpus.

    Args:
        codebook_sizes, feature_options, sampling_rate, hop_samples: as in [`FittedTeacher`]; options of `log_mel` alone.
        projection_size: numbers that frames are projected to.
    """

    settings_class = MelTeacherSettings
    description_class = MelTeacherDescription
    arguments = (*FittedTeacher.arguments, "projection_size")

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        feature_options: dict[str, dict] | None = None,
        sampling_rate: int = 24000,
        hop_samples: int = 320,
        projection_size: int = MelTeacherSettings.projection_size,
    ):
        if not 0 < projection_size <= MOST_PROJECTED:
            raise InputError(f"projection_size={projection_size}: 1 to {MOST_PROJECTED} are accepted.")
        super().__init__(codebook_sizes, ["log_mel"], feature_options, sampling_rate, hop_samples)
        self.projection_size, self.width = projection_size, self.spectra[0].bins
        self._add("mean", self.width)
        self._add("std", self.width)
        for book, size in enumerate(self.codebook_sizes):
            self._add(f"projection_{book}", self.width, projection_size)
            self._add(f"centroids_{book}", size, projection_size)

    @classmethod
    def from_settings(cls, settings, sampling_rate, hop_samples):
        given = (settings.codebook_sizes, cls._options(settings), sampling_rate, hop_samples, settings.projection_size)
        return cls(*given)

    @classmethod
    def describe(cls, settings):
        told = {name: getattr(settings, name) for name in ("kind", "codebook_sizes", "projection_size")}
        return {**told, "feature_options": cls._options(settings)}

    def settings(self):
        own = {"feature_options": self.feature_options, "projection_size": self.projection_size}
        return {**super().settings(), **own}

    @staticmethod
    def _options(settings: MelTeacherSettings) -> dict[str, dict]:
        """Those of `log_mel`: a base recipe may have more, for a k-means teacher of other features."""
        return {name: options for name, options in settings.feature_options.items() if name == "log_mel"}

    def _projection(self, book: int) -> torch.Tensor:
        """(width, projection size) of a codebook."""
        return getattr(self, f"projection_{book}")

    def _add(self, name: str, *shape: int) -> None:
        self.register_buffer(name, torch.full(shape, torch.nan))

    def _make_feature(self, name, options):
        return StackedLogMel(self.sampling_rate, self.hop_samples, options)

    def _fit_frames(self, frames, seed):
        self.std.copy_(frames[0].std(0).clamp(min=LEAST_STD))
        self.mean.copy_(frames[0].mean(0))
        self._fit_normalised((frames[0] - self.mean.cpu()) / self.std.cpu(), seed)

    def _encode(self, frames):
        return self._encode_normalised((frames[0] - self.mean) / self.std)

    def _fit_normalised(self, frames: torch.Tensor, seed: int) -> None:
        """Fill the buffers of the subclass from (frames, width)."""
        raise NotImplementedError

    def _encode_normalised(self, frames: torch.Tensor) -> torch.Tensor:
        """(batch, frames, width) -> (batch, codebooks, frames) int64."""
        raise NotImplementedError
