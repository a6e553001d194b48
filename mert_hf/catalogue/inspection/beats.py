"""Beats of a track: by a model that was trained for them, or by the onsets of its sounds, which need no training.

Either way the tracker of the beat probes joins what stands in the frames to beats.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForAudioFrameClassification, PreTrainedModel

from mert_hf.audio import AudioFile
from mert_hf.common.errors import InputError
from mert_hf.encoding.loading import UNUSED_WEIGHTS, load_extractor, load_model
from mert_hf.models.sampling_rates_mert import require_sampling_rate
from mert_hf.models.views_mert import input_dtype_of
from mert_hf.models.windows_mert import FrameGrid, check_window, plan_windows, resolve_window_s

ONSETS = "onsets"
ONSET_SAMPLING_RATE, ONSETS_PER_S = 24000, 100
# Onsets are measured in stretches of so many seconds, beside what is usual in each: memory does not grow with the track.
STRETCH_S = 120
# labels that are beats, in any case; a downbeat is one too
BEAT_LABELS = ("beat", "beats", "downbeat", "downbeats")


@dataclass(frozen=True)
class Beats:
    """Beats of a track.

    Attributes:
        times_s: (beats,) ascending.
        source: what found them, for people.
    """

    times_s: NDArray[np.float64]
    source: str


def beat_finder(
    given: str | os.PathLike,
    device: torch.device | str = "cpu",
    window_s: float | str | None = "context",
    overlap_s: float = 3.0,
) -> Callable[[str | os.PathLike], Beats]:
    """What finds the beats of a file.

    Args:
        given: "onsets" for the onsets of sounds, the baseline of the beat probes; or a folder or repository of a model for
            `AutoModelForAudioFrameClassification` with one label, or with labels among which are "beat" or "downbeat".
        device: of the model.
        window_s, overlap_s: of the model; as in [`mert_hf.encoding.encoder.MusicEncoder.encode`].

    Raises:
        InputError: there is no such model, or it does not know beats.
    """
    from mert_hf.probing.probes.beat_tracking import BeatTracker  # a room that asks for an extra

    if given == ONSETS:
        return lambda path: Beats(BeatTracker(ONSETS_PER_S)(onsets_of(path)), "onsets, no model")
    model = load_model(AutoModelForAudioFrameClassification, given, f"the model of beats {given}", may_lack=UNUSED_WEIGHTS)
    extractor = load_extractor(given)
    labels = _beat_labels(model, str(given))
    rate = require_sampling_rate(extractor.sampling_rate, f"{given}: the feature extractor's sampling_rate")
    grid = FrameGrid.of(model.config, rate)
    if grid is None:
        raise InputError(f"{given} does not tell how audio becomes frames; give a model of the MERT family for beats.")
    window_s = resolve_window_s(window_s, model.config)
    try:
        check_window(window_s, overlap_s, grid)
    except ValueError as error:
        raise InputError(str(error)) from None
    frame_rate = rate / grid.hop_samples
    tracker = BeatTracker(frame_rate)
    model.to(device).eval()

    def find(path: str | os.PathLike) -> Beats:
        parts = []
        with AudioFile(path) as audio:
            for window in plan_windows(audio.info.resampled_length(rate), grid, window_s, overlap_s):
                clip = audio.read(rate, window.start, window.stop - window.start)
                parts.append(window.keep(_activation(model, extractor, clip, rate, labels)[:, None])[:, 0])
        return Beats(tracker(np.concatenate(parts)) + grid.first_frame_s, str(given))

    return find


def onsets_of(path: str | os.PathLike) -> NDArray[np.float64]:
    """(frames,) the onset activation of a file at `ONSETS_PER_S`, stretch by stretch, each as loud as the others."""
    from mert_hf.probing.probes.onsets import onset_activation  # a room that asks for an extra

    stretch, parts = STRETCH_S * ONSET_SAMPLING_RATE, []
    with AudioFile(path) as audio:
        num_samples = audio.info.resampled_length(ONSET_SAMPLING_RATE)
        for start in range(0, num_samples, stretch):
            heard = audio.read(ONSET_SAMPLING_RATE, start, min(stretch, num_samples - start))
            found = onset_activation(heard, ONSET_SAMPLING_RATE, ONSETS_PER_S)
            # one more than the hops, centred on the end, where the next stretch begins with its own
            parts.append(found[:-1] if start + stretch < num_samples else found)
    return np.concatenate(parts)


def _beat_labels(model: PreTrainedModel, name: str) -> list[int]:
    """The places of the answers that are beats."""
    config = model.config
    names = {int(place): label for place, label in config.id2label.items()}
    found = [place for place, label in names.items() if label.casefold() in BEAT_LABELS]
    if len(names) == 1 and config.problem_type == "multi_label_classification":
        found = [0]
    if config.problem_type == "regression" or not found:
        raise InputError(
            f"{name} is no model of beats: its labels are {', '.join(map(repr, list(names.values())[:6]))}; one of them must be"
            ' "beat" or "downbeat".'
        )
    return found


@torch.inference_mode()
def _activation(model: PreTrainedModel, extractor, clip: NDArray, rate: int, labels: list[int]) -> NDArray[np.float64]:
    """(samples,) -> (frames,) how likely a beat is: the sum of classes that exclude one another, or the likeliest of others."""
    values = extractor(clip, sampling_rate=rate, return_tensors="pt")["input_values"]
    logits = model(values.to(model.device, input_dtype_of(model))).logits[0].double().cpu()
    if model.config.problem_type == "multi_label_classification":
        return logits.sigmoid()[:, labels].amax(dim=1).numpy()
    return logits.softmax(-1)[:, labels].sum(dim=1).clamp(max=1).numpy()
