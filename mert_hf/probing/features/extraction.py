"""Features of the examples of a task: every window once through the frozen model, all layers in one pass, kept on the disk."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mert_hf import __version__
from mert_hf.audio import AudioError
from mert_hf.common.errors import InputError
from mert_hf.probing.features.cache import FeatureCache, Features, FeatureWindow
from mert_hf.probing.features.encoders import Encoder, Pooling
from mert_hf.tasks.base import SPLITS, TaskData, Windows
from mert_hf.tasks.examples import Example

logger = logging.getLogger(__name__)

# Raised whenever the same audio and model give other features than before.
FEATURES_VERSION = 1
# a clip of 30 s has 45 MB of frames of a 95M model in float16, 115 MB of a 330M model
EXAMPLES_PER_SHARD = {"windows": 64, "frames": 4}
READERS = 2
# damaged files that do not stop a run: one of so many examples, none in a smaller split than the second number (ours)
EXAMPLES_PER_DAMAGED, LEAST_EXAMPLES = 1000, 100

Level = Literal["windows", "frames"]
Dtype = Literal["float16", "float32"]


@dataclass(frozen=True)
class Extraction:
    """How features are made and kept; processes take turns at shards."""

    folder: Path  # of the cache
    dtype: Dtype = "float16"  # on the disk; it halves the room
    batch_s: float = 60.0  # seconds of audio that go through the model at once
    rank: int = 0
    world_size: int = 1
    barrier: Callable[[], None] = lambda: None  # waits for all processes
    pool_frames: bool = False  # whoever makes frames also keeps their windows, for other tasks on the same audio


def extract_features(encoder: Encoder, data: TaskData, split: str, level: Level, extraction: Extraction) -> Features:
    """Features of a split: from the cache where they are there, made and written where not.

    Training windows that start anywhere are cut from the features of the whole windows. At the level "windows", a few examples
    whose audio cannot be read may be without any window (`most_damaged`).

    Args:
        level: one row a window (pooled over time), or one a frame.

    Raises:
        InputError: more audio than that cannot be read, features are NaN or do not fit the dtype, the disk is full.
    """
    task, examples = data.task, data.splits[split]
    own = split == "train" and not task.random_train_windows
    windows = task.train_windows or task.windows if own else task.windows
    cache, beside, size = _open_caches(encoder, data, split, level, extraction, windows)
    starts = range(0, len(examples), size)
    missing = [shard for shard in range(len(starts)) if not cache.has(shard)]
    # by number, not by what is missing: that changes while others write
    mine = [shard for shard in missing if shard % extraction.world_size == extraction.rank]
    title = f"{data.task.title}, {split}: features of {encoder.title}"
    allowed = most_damaged(len(examples)) if level == "windows" else 0
    for shard in tqdm(mine, desc=title, unit="shard", disable=not mine):
        chosen = range(starts[shard], min(starts[shard] + size, len(examples)))
        batch = [examples[place] for place in chosen]
        found, rows, vectors = _embed_examples(encoder, batch, windows, level, extraction, allowed, task.protocol.pooling)
        if shard == mine[0]:
            cache.require_room(rows.nbytes / len(batch) * size * len(missing), f"{title} need about")
        names = [example.name for example in batch]
        if beside is not None:  # first, so that complete frames have complete windows beside them
            beside.write(shard, names, [[FeatureWindow(window.start_s, 1) for window in one] for one in found], vectors)
        cache.write(shard, names, found, rows)
    extraction.barrier()
    names = [[examples[place].name for place in range(start, min(start + size, len(examples)))] for start in starts]
    features = cache.read(names)
    damaged = [examples[place].name for place, found in enumerate(features.windows) if not found]
    if len(damaged) > allowed:
        raise InputError(
            f"{len(damaged)} of {len(examples)} clips of the {split} split of {data.task.name} cannot be read, such as"
            f" {', '.join(damaged[:3])}; at most {allowed} are left out. Mend the dataset."
        )
    return features


def _open_caches(
    encoder: Encoder, data: TaskData, split: str, level: Level, extraction: Extraction, windows: Windows
) -> tuple[FeatureCache, FeatureCache | None, int]:
    """The cache of these features, that of the windows to be kept beside frames, and how many examples a shard of both has."""
    size, pooling = EXAMPLES_PER_SHARD[level], data.task.protocol.pooling
    key = {
        "features_version": FEATURES_VERSION,
        "package": __version__,
        "model": encoder.fingerprint,
        "dataset": data.fingerprint,
        "split": split,
        "windows": asdict(windows),
        "sampling_rate": encoder.sampling_rate,
        "level": level,
        "dtype": extraction.dtype,
        "examples_per_shard": size,
    }
    # the pooling is left out where it is as it was before there was another
    pooled = {**key, "level": "windows", **({"pooling": pooling} if pooling != "mean" else {})}
    if level == "frames":
        beside = FeatureCache(extraction.folder, pooled) if extraction.pool_frames else None
        return FeatureCache(extraction.folder, key), beside, size
    fewer = EXAMPLES_PER_SHARD["frames"]
    beside_frames = {**pooled, "examples_per_shard": fewer}
    if FeatureCache.is_begun(extraction.folder, beside_frames):
        cache = FeatureCache(extraction.folder, beside_frames)
        if all(cache.has(shard) for shard in range(-(-len(data.splits[split]) // fewer))):
            return cache, None, fewer
    return FeatureCache(extraction.folder, pooled), None, size


def extract_splits(encoder: Encoder, data: TaskData, level: Level, extraction: Extraction) -> dict[str, Features]:
    """Features of all splits; arguments and errors as in [`extract_features`]."""
    return {split: extract_features(encoder, data, split, level, extraction) for split in SPLITS}


def without_unreadable(data: TaskData, features: dict[str, Features]) -> tuple[TaskData, dict[str, Features]]:
    """Data and features without the examples that have no window; the data's notes name them."""
    splits, kept, notes = dict(data.splits), dict(features), list(data.notes)
    for split, found in features.items():
        places = [place for place, windows in enumerate(found.windows) if windows]
        if len(places) == len(found.windows):
            continue
        lost = [data.splits[split][place].name for place, windows in enumerate(found.windows) if not windows]
        notes.append(f"left out of the {split} split, as their audio cannot be read: {', '.join(lost)}")
        splits[split] = [data.splits[split][place] for place in places]
        kept[split] = Features(found.shards, [found.windows[place] for place in places])
    return (replace(data, splits=splits, notes=tuple(notes)), kept) if len(notes) > len(data.notes) else (data, kept)


def most_damaged(examples: int) -> int:
    """How many unreadable clips of a split are left out and named in place of stopping the run."""
    return -(-examples // EXAMPLES_PER_DAMAGED) if examples >= LEAST_EXAMPLES else 0


def cut_windows(waveform: NDArray[np.float32], windows: Windows, sampling_rate: int) -> list[tuple[float, NDArray[np.float32]]]:
    """Start in seconds and samples of every window of an example's audio.

    Quiet windows are left out where the task says so; if all are quiet, the loudest stays.
    """
    spans = windows.spans(len(waveform) / sampling_rate)
    cut = [(start, waveform[round(start * sampling_rate) : round(end * sampling_rate)]) for start, end in spans]
    if windows.least_rms:
        loudness = [float(np.sqrt(np.mean(samples**2))) for _, samples in cut]
        heard = waveform if windows.heard_s is None else waveform[: round(windows.heard_s * sampling_rate)]
        least = windows.least_rms * float(np.sqrt(np.mean(heard**2)))
        cut = [pair for pair, rms in zip(cut, loudness, strict=True) if rms >= least] or [cut[int(np.argmax(loudness))]]
        if windows.most is not None and len(cut) > windows.most:
            cut = [cut[place * len(cut) // windows.most] for place in range(windows.most)]
    if windows.standardise:
        cut = [(start, (samples - samples.mean()) / (samples.std() + 1e-7)) for start, samples in cut]
    return cut


def _embed_examples(
    encoder: Encoder,
    examples: Sequence[Example],
    windows: Windows,
    level: Level,
    extraction: Extraction,
    allowed: int,
    pooling: Pooling,
) -> tuple[list[list[FeatureWindow]], NDArray, NDArray]:
    """Windows of every example, none of up to `allowed` that cannot be read.

    Returns:
        The windows; (rows, layers, hidden) of all of them in order at the level; and (windows, layers, pooled) one row each.
    """

    def read(example: Example) -> list[tuple[float, NDArray]] | AudioError:
        try:
            return cut_windows(example.read(encoder.sampling_rate), windows, encoder.sampling_rate)
        except AudioError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        cut = list(pool.map(read, examples))
    damaged = [found for found in cut if isinstance(found, AudioError)]
    if len(damaged) > allowed:
        raise damaged[0]
    for error in damaged:
        logger.warning("%s; left out", error)
    cut = [[] if isinstance(found, AudioError) else found for found in cut]
    flat = [(place, samples) for place, pairs in enumerate(cut) for _, samples in pairs]
    parts: dict[int, NDArray] = {}
    vectors: dict[int, NDArray] = {}
    for batch in equal_batches([samples for _, samples in flat], extraction.batch_s * encoder.sampling_rate):
        frames, pooled = _embed_batch(encoder, [flat[place] for place in batch], examples, pooling)
        for number, place in enumerate(batch):
            name = examples[flat[place][0]].name
            vectors[place] = _fit(pooled[number].cpu().numpy(), extraction.dtype, name, encoder)
            own = frames[number].transpose(0, 1).cpu().numpy() if level == "frames" else None
            parts[place] = vectors[place] if own is None else _fit(own, extraction.dtype, name, encoder)
    ordered = iter([parts[place] for place in range(len(flat))])
    listed = [[FeatureWindow(start, len(next(ordered))) for start, _ in pairs] for pairs in cut]
    if not flat:
        silence = [(0, np.zeros(encoder.sampling_rate, dtype=np.float32))]
        none = _embed_batch(encoder, silence, examples, pooling)[1][0, :0].cpu().numpy().astype(extraction.dtype)
        return listed, none, none
    return listed, *(np.concatenate([rows[place] for place in range(len(flat))]) for rows in (parts, vectors))


def equal_batches(waveforms: Sequence[NDArray], most_samples: float) -> Iterator[list[int]]:
    """Places of waveforms of equal length, so many at once that they do not exceed `most_samples`, but at least one."""
    by_length: dict[int, list[int]] = {}
    for place, waveform in enumerate(waveforms):
        by_length.setdefault(len(waveform), []).append(place)
    for length, places in by_length.items():
        size = max(1, int(most_samples // length))
        yield from (places[start : start + size] for start in range(0, len(places), size))


@torch.no_grad()
def _embed_batch(
    encoder: Encoder, batch: list[tuple[int, NDArray]], examples: Sequence[Example], pooling: Pooling
) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, layers, frames, hidden), and (batch, 1, layers, pooled size)."""
    waveforms = torch.from_numpy(np.stack([samples for _, samples in batch]))
    try:
        features = encoder(waveforms)
    except (RuntimeError, ValueError) as error:
        name, seconds = examples[batch[0][0]].name, waveforms.shape[1] / encoder.sampling_rate
        raise InputError(f"{encoder.title} fails on {name} ({seconds:.2f} s): {' '.join(str(error).split())}") from None
    return features, encoder.pool(features, pooling)[:, None]


def _fit(features: NDArray, dtype: Dtype, name: str, encoder: Encoder) -> NDArray:
    if not np.isfinite(features).all():
        layer = int(np.flatnonzero(~np.isfinite(features).all(axis=(0, 2)))[0])
        raise InputError(
            f"{encoder.title} gives NaN or infinity for {name} in layer {encoder.layers[layer]}; is its checkpoint whole?"
        )
    with np.errstate(over="ignore"):
        fitted = features.astype(dtype)
    if not np.isfinite(fitted).all():
        raise InputError(
            f"features of {encoder.title} reach {np.abs(features).max():.3g}, more than {dtype} holds; use --dtype float32."
        )
    return fitted
