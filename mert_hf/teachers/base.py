"""What every teacher of codes has: numbers, an identity, and a way to code a track of any length."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn as nn

from mert_hf.common.settings import require, setting

# Codebooks of a teacher (EnCodec: up to 32), and codes of one.
MOST_CODEBOOKS, MOST_CODES = 64, 65_536
# reads `count` samples from `start` on, both at the teacher's rate: (start, count) -> (count,) float32
Reader = Callable[[int, int], np.ndarray]


@dataclass
class CodeTeacherSettings:
    """The acoustic teacher, whose codes are predicted."""

    kind: str = setting("kmeans_residual", "what codes come from: mert-hf list teachers tells of each")
    codebook_sizes: list[int] = setting(
        [1024] * 8, "codes of each codebook (EnCodec at 6 kbit/s: 8 x 1024)", least=2, most=MOST_CODES
    )
    folder: str | None = setting(
        None, "a fitted teacher to use instead of fitting one; the codec (a folder, or facebook/encodec_24khz)"
    )
    online: bool = setting(False, "make the codes on the fly although data.labels is given (without labels they always are)")

    def __post_init__(self):
        require(
            0 < len(self.codebook_sizes) <= MOST_CODEBOOKS, f"teacher.codebook_sizes must hold 1 to {MOST_CODEBOOKS} codebooks."
        )


class CodeTeacher(nn.Module):
    """Turns waveforms into codes of one or several codebooks.

    `teacher(waveform (batch, samples))` gives (batch, codebooks, frames) int64; frame i belongs to the audio around sample
    i * sampling_rate / frame_rate.

    Attributes:
        settings_class: its settings in a recipe, below `teacher`, beside those that all have.
        is_fitted: whether it is fitted on the music that it codes; such a teacher also has `fit`, `save_pretrained`,
            `from_pretrained` and `is_saved`: a [`mert_hf.teachers.FittedTeacher`]. Any other is loaded by `from_settings`.
        kind: what `teacher.kind` calls it.
        description: one line for people.
        sampling_rate: samples per second of the input.
        frame_rate: frames per second of the codes.
        codebook_sizes: codes of each codebook.
        whole_files: whether its codes are meant to be of whole files, as official labels are: those of a crop differ by what
            lies around it.
        frame_local: whether a frame's codes depend on the audio within `context_samples` alone.
        context_samples: audio a frame wants to hear on either side, a multiple of the hop.
        piece_s: length in seconds of the pieces that long tracks are coded in; see [`CodeTeacher.pieces`].
    """

    settings_class: ClassVar[type[CodeTeacherSettings]] = CodeTeacherSettings
    is_fitted: ClassVar[bool] = False
    whole_files: bool = False
    kind: str
    description: str
    sampling_rate: int
    frame_rate: float
    codebook_sizes: list[int]
    frame_local: bool
    context_samples: int
    piece_s: float

    @classmethod
    def from_settings(cls, settings: CodeTeacherSettings, sampling_rate: int, hop_samples: int) -> "CodeTeacher":
        """The teacher of these settings: loaded, or still to be fitted.

        Args:
            settings: of the teacher.
            sampling_rate: of the audio, where the teacher can choose it.
            hop_samples: samples between two frames, where it can choose that.

        Raises:
            InputError: settings no teacher can be made of, or one that cannot be loaded.
        """
        raise NotImplementedError

    @classmethod
    def check(cls, settings: CodeTeacherSettings) -> None:
        """Refuse settings that this kind cannot use, with an InputError that names the setting."""

    @classmethod
    def describe(cls, settings: CodeTeacherSettings) -> dict[str, Any]:
        """What [`CodeTeacher.settings`] says of the teacher of these settings."""
        raise NotImplementedError

    @classmethod
    def load_to_compare(cls, settings: CodeTeacherSettings, found: dict[str, Any]) -> "CodeTeacher | None":
        """The teacher that `settings.folder` names, to be compared by its weights with one whose settings are `found`.

        None where that cannot be: settings alone are compared then. InputError where it cannot be loaded.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The settings that make it this teacher, as JSON: kind, codebook_sizes, and whatever else its kind has."""
        return {"kind": self.kind, "codebook_sizes": list(self.codebook_sizes)}

    def identity(self) -> dict[str, Any]:
        """What its codes depend on beside its weights, as JSON: its settings, but not where it lies."""
        return self.settings()

    def fingerprint(self) -> str:
        """Changes with any weight and with its identity: equal fingerprints give equal codes."""
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def pieces(self, num_samples: int) -> list[tuple[int, int]]:
        """First sample and the one behind the last of each piece that a track is coded in, with the audio around it.

        Pieces of `piece_s`; the last takes the rest, less than twice that. Where frames hear more than `context_samples`, a
        track shorter than three pieces is coded at once: a codec's below fifteen minutes.
        """
        piece = math.ceil(self.piece_s * self.frame_rate) * round(self.sampling_rate / self.frame_rate)
        # no piece is too short to be heard
        count = max(num_samples // piece, 1)
        if not self.frame_local and count == 2:
            count = 1
        stops = [(number + 1) * piece + self.context_samples for number in range(count - 1)] + [num_samples]
        return [(max(number * piece - self.context_samples, 0), min(stop, num_samples)) for number, stop in enumerate(stops)]

    def encode_track(self, read: Reader, num_samples: int, device: torch.device | str = "cpu") -> np.ndarray:
        """Code a whole track in bounded memory, piece by piece, each with `context_samples` of audio on either side.

        For frame-local teachers the codes are those of the track coded at once. For the others, the edges of the pieces hear
        less of what lay before than they would have.

        Returns:
            (codebooks, frames) int64.
        """
        hop = round(self.sampling_rate / self.frame_rate)
        piece_frames = math.ceil(self.piece_s * self.frame_rate)
        pieces, parts = self.pieces(num_samples), []
        for number, (start, stop) in enumerate(pieces):
            waveform = torch.from_numpy(read(start, stop - start)).to(device)
            codes = self(waveform.unsqueeze(0))[0].cpu().numpy()
            before = number * piece_frames - start // hop
            parts.append(codes[:, before:] if number == len(pieces) - 1 else codes[:, before : before + piece_frames])
        return np.concatenate(parts, axis=1)
