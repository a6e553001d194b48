"""What every teacher of codes has: numbers, an identity, and a way to code a track of any length."""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn as nn

# reads `count` samples from `start` on, both at the teacher's rate: (start, count) -> (count,) float32
Reader = Callable[[int, int], np.ndarray]


class CodeTeacher(nn.Module):
    """Turns waveforms into codes of one or several codebooks.

    `teacher(waveform (batch, samples))` gives (batch, codebooks, frames) int64; frame i belongs to the audio around sample
    i * sampling_rate / frame_rate.

    Attributes:
        kind: what `teacher.kind` calls it.
        description: one line for people.
        sampling_rate: samples per second of the input.
        frame_rate: frames per second of the codes.
        codebook_sizes: codes of each codebook.
        frame_local: whether a frame's codes depend on the audio within `context_samples` alone.
        context_samples: audio a frame wants to hear on either side, a multiple of the hop.
        piece_s: length in seconds of the pieces that long tracks are coded in; see [`CodeTeacher.pieces`].
    """

    kind: str
    description: str
    sampling_rate: int
    frame_rate: float
    codebook_sizes: list[int]
    frame_local: bool
    context_samples: int
    piece_s: float

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
