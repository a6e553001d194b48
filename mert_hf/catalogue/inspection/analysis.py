"""One track through a model: everything that its picture and its page show, as numbers."""

import os
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mert_hf.audio import AudioInfo, read_info
from mert_hf.catalogue.inspection.beats import Beats, beat_finder
from mert_hf.catalogue.inspection.spectrogram import mel_columns
from mert_hf.catalogue.inspection.structure import TimeScale, layer_energy, novelty_curve, pick_borders, self_similarity
from mert_hf.common.errors import InputError
from mert_hf.encoding.chosen_layers import ChosenLayers
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.pooling import PoolMaker, SecondPool
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S, FrameGrid


@dataclass(frozen=True)
class Section:
    """A stretch of a track that sounds alike, in seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Inspection:
    """What a model hears in a track.

    Attributes:
        name: of the file.
        model: what it is called.
        layer: that `similarity` and `novelty` are of.
        duration_s: length of the track.
        sampling_rate: that it was heard at, in Hz.
        step_s: length of a step, over which features are averaged; step i begins at i * step_s.
        mel_db: (columns, bands) mel spectrogram, in dB relative to the loudest; the columns span the track.
        energy_db: (layers, steps), see [`layer_energy`].
        similarity: (steps, steps), see [`self_similarity`].
        novelty: (steps,) of the border before each step, see [`novelty_curve`].
        borders_s: (borders,) times at which sections begin, the first left out.
        beats: where they were asked for.
    """

    name: str
    model: str
    layer: int
    duration_s: float
    sampling_rate: int
    step_s: float
    mel_db: NDArray[np.float32]
    energy_db: NDArray[np.float32]
    similarity: NDArray[np.float32]
    novelty: NDArray[np.float32]
    borders_s: NDArray[np.float64]
    beats: Beats | None = None

    @property
    def sections(self) -> list[Section]:
        """The sections in their order, from the beginning of the track to its end."""
        return [Section(*ends) for ends in pairwise([0.0, *self.borders_s.tolist(), self.duration_s])]

    def to_dict(self) -> dict[str, Any]:
        """What is short of it: sections and beats, and what they were found with."""
        found = {
            "name": self.name,
            "model": self.model,
            "layer": self.layer,
            "duration_s": self.duration_s,
            "step_s": self.step_s,
            "sections": [{"start_s": section.start_s, "end_s": section.end_s} for section in self.sections],
        }
        if self.beats is not None:
            found |= {"beats_by": self.beats.source, "beats_s": self.beats.times_s.tolist()}
        return found


def read_track_info(path: str | os.PathLike) -> AudioInfo:
    """What the file of a track holds.

    Raises:
        InputError: there is no such file, or it is no audio; names it.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"a track is given as the path of an audio file; got {type(path).__name__}.")
    try:
        return read_info(path)
    except InputError as error:
        name = os.fsencode(path).decode("utf-8", "replace")
        raise InputError(str(error) if name in str(error) else f"{name}: {error}") from None


def inspect_track(
    encoder: MusicEncoder,
    path: str | os.PathLike,
    layer: int | None = None,
    *,
    model_name: str | None = None,
    beats: str | os.PathLike | None = None,
    window_s: float | str | None = "context",
    overlap_s: float = DEFAULT_OVERLAP_S,
    beside: PoolMaker | None = None,
    progress: bool = True,
) -> Inspection:
    """Look at a track through a model. The file is read window by window, so memory hardly grows with its length.

    Args:
        path: of an audio file.
        layer: of which similarity and borders are computed; [`MusicEncoder.default_layer`] by default.
        model_name: for the title; the folder or repository it was loaded from by default.
        beats: "onsets", or the folder of a model that answers frame by frame and has a label "beat"; see [`beat_finder`].
        window_s, overlap_s: as in [`MusicEncoder.encode`].
        beside: a pooling that is given the same frames, of all layers, so that who wants them too need not compute them again.
        progress: show progress bars.

    Raises:
        InputError: the file is no audio or too short for a frame, the layer does not exist, or there is no such model of beats.
    """
    num_samples = read_track_info(path).resampled_length(encoder.sampling_rate)
    layer = encoder.default_layer if layer is None else layer
    ChosenLayers(layer, encoder.num_layers, normalize=False)  # before anything is computed
    rate = encoder.sampling_rate
    find_beats = None if beats is None else beat_finder(beats, encoder.device, window_s, overlap_s)
    scale = TimeScale.of(num_samples, rate, encoder.grid.hop_samples)
    pool = partial(SecondPool, step_samples=scale.step_samples)
    if beside is not None:
        pool = partial(_TwoPools, pool, beside)
    features = encoder.encode(
        os.fspath(path),
        layers="all",
        pool=pool,
        normalize=False,
        window_s=window_s,
        overlap_s=overlap_s,
        progress=progress,
    )
    similarity = self_similarity(features[layer])
    novelty = novelty_curve(similarity, scale.reach_steps)
    step_s = scale.step_samples / rate
    return Inspection(
        name=os.fsencode(Path(path).name).decode("utf-8", "replace"),
        model=model_name or getattr(encoder.model, "name_or_path", None) or type(encoder.model).__name__,
        layer=int(layer),
        duration_s=num_samples / rate,
        sampling_rate=rate,
        step_s=step_s,
        mel_db=mel_columns(path, num_samples, rate, progress),
        energy_db=layer_energy(features),
        similarity=similarity,
        novelty=novelty,
        borders_s=pick_borders(novelty, scale.reach_steps) * step_s,
        beats=None if find_beats is None else find_beats(path),
    )


class _TwoPools:
    """Two poolings of the same frames; what comes out is the first one's."""

    def __init__(self, first: PoolMaker, second: PoolMaker, grid: FrameGrid, num_frames: int):
        self._pools = first(grid, num_frames), second(grid, num_frames)

    def add(self, frames: NDArray) -> None:
        for pool in self._pools:
            pool.add(frames)

    def result(self) -> Any:
        return self._pools[0].result()
