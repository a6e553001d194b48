"""Songs and their sources: read, cut into crops, separated window by window, and scored track by track."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.common.seeding import generator
from mert_hf.probing.metrics import load_metric
from mert_hf.probing.probes.mask_network import Embed, MaskNetwork, frozen_features
from mert_hf.tasks.base import TaskData
from mert_hf.tasks.examples import Example, read_source

TrackScores = dict[str, NDArray[np.float64]]
"""(sources,) SDR in dB of every song by its name, as `SDR.over_tracks` takes them."""


def separate_tracks(
    embed: Embed, network: MaskNetwork, data: TaskData, split: str, sampling_rate: int, device: str | torch.device = "cpu"
) -> TrackScores:
    """Separate every song of a split, window by window, and score it in frames of one second at the model's rate."""

    def separate(mixture: NDArray, sources: int) -> NDArray:
        return separate_song(embed, network, mixture, data, sampling_rate, device)

    return _score_tracks(data, split, sampling_rate, separate)


def share_of_mixture(data: TaskData, split: str, sampling_rate: int) -> TrackScores:
    """The same of one who takes the mixture by the number of sources for each of them."""
    return _score_tracks(data, split, sampling_rate, lambda mixture, sources: np.tile(mixture / sources, (sources, 1)))


def _score_tracks(data: TaskData, split: str, sampling_rate: int, separate: Callable[[NDArray, int], NDArray]) -> TrackScores:
    sdr, tracks = load_metric("sdr"), {}
    for song in data.splits[split]:
        mixture, *sources = read_song(data, song, sampling_rate)
        estimate = separate(mixture, len(sources))
        tracks[song.name] = sdr.of_track(np.stack(sources), estimate, sampling_rate, song.name)
    return tracks


@torch.no_grad()
def separate_song(
    embed: Embed,
    network: MaskNetwork,
    mixture: np.ndarray,
    data: TaskData,
    sampling_rate: int,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """(samples,) -> (sources, samples); the task's windows are separated one after another and joined."""
    network.eval()
    parts = []
    for start_s, end_s in data.task.windows.spans(len(mixture) / sampling_rate):
        window = torch.from_numpy(mixture[round(start_s * sampling_rate) : round(end_s * sampling_rate)])[None].to(device)
        parts.append(network.separate(frozen_features(embed, window), window)[0].cpu().numpy())
    joined = np.concatenate(parts, axis=1)
    # what is left after the last window is too short for the model: silence, which counts against the estimate
    return np.pad(joined, ((0, 0), (0, len(mixture) - joined.shape[1])))


def read_song(data: TaskData, song: Example, sampling_rate: int, start_s: float = 0.0, end_s: float | None = None) -> list:
    """Mixture and sources, (samples,) each, cut to the shortest."""
    read = [read_source(song.audio, sampling_rate, start_s, end_s, song.name)]
    read += [read_source(source, sampling_rate, start_s, end_s, song.name) for source in data.target(song)]
    shortest = min(map(len, read))
    return [samples[:shortest] for samples in read]


def random_crop(data: TaskData, song: Example, sampling_rate: int, counters: Sequence[int]) -> np.ndarray:
    """(1 + sources, samples) of mixture and sources at a random place; a song that is too short is followed by silence."""
    seed, *rest = counters
    duration_s = (data.task.train_windows or data.task.windows).duration_s
    length_s = song.duration_s()
    start_s = generator(seed, "separation crop", *rest).uniform(0, max(length_s - duration_s, 0))
    read = np.stack(read_song(data, song, sampling_rate, start_s, start_s + duration_s))
    wanted = round(duration_s * sampling_rate)
    return np.pad(read[:, :wanted], ((0, 0), (0, max(wanted - read.shape[1], 0))))
