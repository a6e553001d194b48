"""The benchmark: every piece and what it became is embedded once, then looked for by every layer, pooling and projection."""

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mert_hf.catalogue.projection import DEFAULT_SHRINKAGE, KINDS, Projection
from mert_hf.catalogue.retrieval.disturbances import TITLES
from mert_hf.catalogue.retrieval.measures import MEASURES, chance, cosines, cosines_of_others, places
from mert_hf.catalogue.retrieval.pieces import FolderPieces, Pieces, SyntheticPieces
from mert_hf.catalogue.retrieval.systems import POOLINGS, System, pooled
from mert_hf.common.errors import InputError
from mert_hf.probing.report.intervals import bootstrap_means

logger = logging.getLogger(__name__)

# Raised whenever the same model and settings give other numbers than before.
RETRIEVAL_VERSION = 1
# one half chooses a layer for the other
LEAST_PIECES, MOST_PIECES = 4, 2000
# a clip is one window of MusicEncoder, so that its vector here is the one that a catalogue holds
LEAST_CLIP_S, GREATEST_CLIP_S = 1.0, 30.0
BOOTSTRAP_DRAWS = 1000
ALL = "all"


@dataclass(frozen=True)
class RetrievalSettings:
    """What is looked for.

    Attributes:
        pieces: how many, 4 to 2000; of a folder, at most so many of its tracks.
        music: a folder of audio files; None for synthetic pieces.
        clip_s: length of the gallery's clips, 1 to 30 seconds.
        seed: of the pieces, the noise and the random weights, 0 to 2**32 - 1.
    """

    pieces: int = 100
    music: str | None = None
    clip_s: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not LEAST_PIECES <= self.pieces <= MOST_PIECES:
            raise InputError(f"--pieces {self.pieces} must lie from {LEAST_PIECES} to {MOST_PIECES}.")
        if not (math.isfinite(self.clip_s) and LEAST_CLIP_S <= self.clip_s <= GREATEST_CLIP_S):
            raise InputError(f"--clip_s {self.clip_s} must lie from {LEAST_CLIP_S:g} to {GREATEST_CLIP_S:g} seconds.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed {self.seed} must lie from 0 to 2**32 - 1.")

    def make_pieces(self) -> Pieces:
        """The pieces; InputError where there are too few."""
        if self.music is None:
            return SyntheticPieces(self.pieces, self.clip_s, self.seed)
        pieces = FolderPieces(self.music, self.pieces, self.clip_s, self.seed)
        self.require_enough(pieces.most)
        return pieces

    def require_enough(self, found: int) -> None:
        """Refuse, with InputError, fewer pieces than the halves need."""
        if found < LEAST_PIECES:
            raise InputError(
                f"{self.music or 'the benchmark'} has {found} tracks of {2 * self.clip_s:g} s or more that can be used, and"
                f" {LEAST_PIECES} are needed; give more music, or shorter clips with --clip_s."
            )


@dataclass(frozen=True)
class Trial:
    """One way to compare clips, and what it found.

    Attributes:
        system: number of the system.
        layer, pooling, projection: see [`System`] and [`mert_hf.catalogue.projection.Projection`].
        places: (pieces, disturbances), from 1, at which each query found its own piece.
        own_cosines: (disturbances,), mean cosine of a query and its own piece.
        random_cosine, random_cosine_std: mean and deviation of the cosines of two different pieces of the gallery.
        nearest_cosine: mean cosine of a piece of the gallery and the nearest other one.
    """

    system: int
    layer: str
    pooling: str
    projection: str
    places: NDArray[np.int64]
    own_cosines: NDArray[np.float64]
    random_cosine: float
    random_cosine_std: float
    nearest_cosine: float


def run_retrieval(systems: Sequence[System], sampling_rate: int, settings: RetrievalSettings) -> dict[str, Any]:
    """Run the benchmark, with a progress bar.

    Args:
        systems: see [`mert_hf.catalogue.retrieval.systems.load_systems`]; they hear clips at `sampling_rate` in Hz.

    Returns:
        As JSON can hold it: what was looked for and how it was made; a row for every system, layer, pooling and projection,
        with each measure by disturbance and over all of them, in percent with 95 % intervals; for every system, the same with
        what the other half of the pieces would choose.

    Raises:
        InputError: too few tracks can be used.
    """
    pieces = settings.make_pieces()
    names = [name for name in TITLES if name in pieces.made]
    with tqdm(total=pieces.most, desc="Embedding pieces", unit="piece") as bar:
        used, vectors = embed_pieces(pieces, systems, sampling_rate, bar)
        for name, reason in [*pieces.left_out.items()][:1]:
            logger.warning("%d tracks were left out, such as %s: %s", len(pieces.left_out), name, reason)
        settings.require_enough(len(used))
        bar.set_description("Looking for pieces")
        trials = [
            trial
            for number, system in enumerate(systems)
            for trial in judge_system(number, system, vectors[number], names, bar)
        ]
    return {
        "version": RETRIEVAL_VERSION,
        "pieces": len(used),
        "what": pieces.what,
        "piece_names": used,
        "left_out": pieces.left_out,
        "clip_s": settings.clip_s,
        "seed": settings.seed,
        "sampling_rate": sampling_rate,
        "whitening_shrinkage": DEFAULT_SHRINKAGE,
        "bootstrap_draws": BOOTSTRAP_DRAWS,
        "unit": "%",
        "chance": {measure: 100 * value for measure, value in chance(len(used)).items()},
        "disturbances": {name: {"title": TITLES[name], "made": pieces.made[name]} for name in names},
        "systems": [describe_system(system) for system in systems],
        "rows": [describe_trial(trial, systems, names) for trial in trials],
        "chosen": [
            {"system": system.title, **choose([trial for trial in trials if trial.system == number], names)}
            for number, system in enumerate(systems)
        ],
    }


def embed_pieces(
    pieces: Pieces, systems: Sequence[System], sampling_rate: int, bar: tqdm
) -> tuple[list[str], list[dict[str, NDArray[np.float32]]]]:
    """Names of the pieces, and for every system its vectors (pieces, layers, 2 * size) by query, with "original" among them.

    Clips go through one by one, so that no vector depends on what it shared a batch with, and audio is never kept.
    """
    used: list[str] = []
    found: list[dict[str, list[NDArray]]] = [{} for _ in systems]
    for piece in pieces.clips(sampling_rate):
        for name, clip in {"original": piece.original, **piece.queries}.items():
            for system, kept in zip(systems, found, strict=True):
                kept.setdefault(name, []).append(system(clip))
        used.append(piece.name)
        bar.update()
    return used, [{name: np.stack(several) for name, several in kept.items()} for kept in found]


def judge_system(
    number: int, system: System, vectors: Mapping[str, NDArray[np.float32]], names: Sequence[str], bar: tqdm
) -> list[Trial]:
    """Every layer, pooling and projection of one system; projections are fitted on the gallery, which everybody has."""
    trials = []
    for place, layer in enumerate(system.layers):
        for pooling, kind in itertools.product(POOLINGS, KINDS):
            own = {name: pooled(array[:, place], pooling) for name, array in vectors.items()}
            project = Projection.fit(own["original"], kind)
            gallery = project(own["original"])
            found = [cosines(project(own[name]), gallery) for name in names]
            others = cosines_of_others(cosines(gallery, gallery))
            trials.append(
                Trial(
                    *(number, layer, pooling, kind),
                    places=np.stack([places(similarities) for similarities in found], axis=1),
                    own_cosines=np.array([np.diagonal(similarities).mean() for similarities in found]),
                    random_cosine=float(others.mean()),
                    random_cosine_std=float(others.std()),
                    nearest_cosine=float(others.max(axis=1).mean()),
                )
            )
        bar.set_postfix_str(f"{system.title}, layer {layer}")
    return trials


def describe_system(system: System) -> dict[str, Any]:
    """What a system is, and which of its rows is told first."""
    return {
        "title": system.title,
        "layers": list(system.layers),
        "fixed_layer": system.fixed_layer,
        "fixed_pooling": system.pooling,
    }


def describe_trial(trial: Trial, systems: Sequence[System], names: Sequence[str]) -> dict[str, Any]:
    """A row."""
    return {
        "system": systems[trial.system].title,
        "layer": trial.layer,
        "pooling": trial.pooling,
        "projection": trial.projection,
        **describe_places(trial.places, names),
        "random_cosine": trial.random_cosine,
        "random_cosine_std": trial.random_cosine_std,
        "nearest_cosine": trial.nearest_cosine,
        "own_cosines": dict(zip(names, trial.own_cosines.tolist(), strict=True)),
    }


def describe_places(found: NDArray[np.int64], names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Each measure by disturbance, and over all of them, in percent: "value", "low", "high".

    Intervals are over pieces; the gallery stays whole, and a piece keeps all its queries.
    """
    columns = [*names, ALL]
    values = [measure(found) for measure in MEASURES.values()]
    table = 100 * np.stack([np.column_stack([part, part.mean(axis=1)]) for part in values], axis=1)
    low, high = bootstrap_means(table, BOOTSTRAP_DRAWS)
    numbers = np.stack([table.mean(axis=0), low, high], axis=-1)
    return {
        measure: {
            name: dict(zip(("value", "low", "high"), numbers[row, column].tolist(), strict=True))
            for column, name in enumerate(columns)
        }
        for row, measure in enumerate(MEASURES)
    }


def choose(trials: Sequence[Trial], names: Sequence[str]) -> dict[str, Any]:
    """The trial of a system, that is its layer, pooling and projection, of highest average precision over all disturbances.

    Every second piece chooses for the others, and these for them: no query is told of by a setting that it helped to choose.
    """
    even = np.arange(len(trials[0].places)) % 2 == 0
    found, settings = np.empty_like(trials[0].places), []
    for half in (even, ~even):
        scores = [MEASURES["map"](trial.places[~half]).mean() for trial in trials]
        best = trials[int(np.argmax(scores))]
        found[half] = best.places[half]
        settings.append({"layer": best.layer, "pooling": best.pooling, "projection": best.projection})
    return {"settings": settings, **describe_places(found, names)}
