"""Signal-to-distortion ratio of separated sources, as BSS-eval version 4 (museval) reports it, a module of `evaluate`."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics.checks import Scores, finite, same_length
from mert_hf.probing.metrics.module import ROWS, ScoresModule

# beyond what float32 audio can tell apart
PERFECT_DB = 200.0


def track_sdr(reference: ArrayLike, estimate: ArrayLike, frame_samples: int, name: str = "the track") -> NDArray[np.float64]:
    """(sources, samples) twice -> (sources,) medians over frames in dB; NaN for a source that is silent in every frame.

    Raises:
        InputError: as in [`SDR`]; the message names the track.
    """
    truth, guess = (finite(f"samples of {name}", samples, 2) for samples in (reference, estimate))
    if truth.shape != guess.shape:
        raise InputError(f"{name} is {truth.shape}, its estimate {guess.shape}; both must be (sources, samples).")
    frames = framewise_sdr(truth, guess, frame_samples)
    return np.array([np.nan if np.isnan(values).all() else np.nanmedian(values) for values in frames])


def median_over_tracks(tracks: Mapping[str, NDArray[np.float64]], labels: Sequence[str]) -> Scores:
    """Scores of [`SDR`] from those of every track by its name, each (sources,); so that a long test needs no more memory.

    Raises:
        InputError: a track has not one number a label, or a source has none in all tracks.
    """
    for name, values in tracks.items():
        if len(values) != len(labels):
            raise InputError(f"{name} has {len(values)} sources, there are {len(labels)} labels.")
    table = np.array([*tracks.values()])
    silent = [label for label, column in zip(labels, table.T, strict=True) if np.isnan(column).all()]
    if silent:
        raise InputError(f"sdr: {', '.join(silent)} cannot be scored: silent in every frame of every track.")
    per_class = {label: float(np.nanmedian(column)) for label, column in zip(labels, table.T, strict=True)}
    left_out = {
        f"{name}, {label}": "silent throughout"
        for name, values in tracks.items()
        for label, value in zip(labels, values, strict=True)
        if np.isnan(value)
    }
    values = {"sdr": float(np.mean([*per_class.values()])), **{f"sdr_{label}": value for label, value in per_class.items()}}
    return Scores(values, per_class, left_out)


def framewise_sdr(references: NDArray, estimates: NDArray, frame_samples: int) -> NDArray[np.float64]:
    """(sources, samples) twice -> (sources, frames) in dB.

    A frame in which any true or estimated source is silent is NaN for all sources (BSS-eval); a perfect estimate has
    `PERFECT_DB`, not infinity, which no JSON holds.

    Raises:
        InputError: the audio is shorter than one frame.
    """
    frames = references.shape[1] // frame_samples
    if frame_samples < 1 or frames < 1:
        raise InputError(f"{references.shape[1]} samples hold no frame of {frame_samples}.")
    shape = (len(references), frames, frame_samples)
    truth = references[:, : frames * frame_samples].reshape(shape)
    guess = estimates[:, : frames * frame_samples].reshape(shape)
    energy, error = (truth**2).sum(axis=-1), ((guess - truth) ** 2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(energy / error)
    silent = (energy == 0).any(axis=0) | ((guess**2).sum(axis=-1) == 0).any(axis=0)
    ratio[:, silent] = np.nan
    return np.minimum(ratio, PERFECT_DB)


class SDR(ScoresModule):
    """See `score`."""

    example = ROWS
    # what `score` is made of, for tests whose audio is too long to be held at once
    of_track = staticmethod(track_sdr)
    over_tracks = staticmethod(median_over_tracks)

    @staticmethod
    def score(
        references: Sequence[ArrayLike], predictions: Sequence[ArrayLike], labels: Sequence[str], frame_samples: int = 24000
    ) -> Scores:
        """Median over frames, then over tracks, of the SDR of every source.

        BSS-eval's SDR of source images is the energy of the true source over the energy of everything else in the estimate:
        target distortion, interference and artefacts add up to the plain difference, so no distortion filter has to be
        estimated.

        Args:
            references, predictions: (sources, samples) of every track, in the order of the labels.
            labels: names of the sources.
            frame_samples: length of a frame; BSS-eval takes one second without overlap. A shorter rest is passed over.

        Returns:
            `sdr` (mean over sources of the medians over tracks) and `sdr_<label>`, in dB. A track in which a source is silent
            in every frame has no part in that source's median and is named in `left_out`.

        Raises:
            InputError: shapes differ, samples are NaN, a track is shorter than a frame, or a source is silent in all tracks.
        """
        same_length(references, predictions)
        tracks = {
            f"track {number}": track_sdr(*pair, frame_samples, f"track {number}")
            for number, pair in enumerate(zip(references, predictions, strict=True))
        }
        return median_over_tracks(tracks, labels)
