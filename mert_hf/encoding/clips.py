"""What is encoded: files read window by window, and inputs that are left out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mert_hf.audio import AudioFile
from mert_hf.common.errors import InputError
from mert_hf.models.audio_inputs_mert import require_samples
from mert_hf.models.windows_mert import Window

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A file, read piece by piece, or a waveform."""

    name: str
    num_samples: int
    source: Any
    sampling_rate: int


class Reader:
    """Reads windows of clips. The last file stays open: the next window mostly lies in it, and is decoded on from there."""

    def __init__(self):
        self._clip, self._file = None, None

    def read(self, clip: Clip, window: Window) -> np.ndarray:
        """(samples,) of one window."""
        if isinstance(clip.source, np.ndarray):
            return clip.source[window.start : window.stop]
        try:
            if clip is not self._clip:
                self.close()
                self._clip, self._file = clip, AudioFile(clip.source)
            return require_samples(self._file.read(clip.sampling_rate, window.start, window.stop - window.start))
        except InputError as error:
            raise InputError(str(error) if clip.name in str(error) else f"{clip.name}: {error}") from None

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._clip, self._file = None, self._file.close()


class Skipped:
    """The inputs that are left out, by their numbers, where that is agreed to."""

    def __init__(self, agreed: bool):
        self.agreed, self.numbers = agreed, set()

    @contextmanager
    def unless_used(self, number: int) -> Iterator[None]:
        """Around what is done with an input: where it cannot be used, it is left out, or the error goes on."""
        try:
            yield
        except InputError as error:
            if not self.agreed:
                raise
            self.numbers.add(number)
            logger.warning("Skipped: %s", error)
