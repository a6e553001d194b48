"""A catalogue, filled: every track once through the model, kept as soon as it is done, by one process or by many."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mert_hf.catalogue.embedder import READERS, Embedder, Heard, hear
from mert_hf.catalogue.precision import choose_dtype
from mert_hf.catalogue.settings import NOTE, await_settings, claim, read_settings, require_free
from mert_hf.catalogue.sources import Files, Item, Rows
from mert_hf.catalogue.store import Failures, Store, drop_superseded, read_known
from mert_hf.common.errors import InputError
from mert_hf.common.files import is_there
from mert_hf.common.run_lock import RunLock
from mert_hf.common.threads import map_ahead
from mert_hf.encoding.chosen_layers import Layers
from mert_hf.encoding.released import DEFAULT_MODEL, describe_model
from mert_hf.models.windows_mert import DEFAULT_OVERLAP_S

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Process:
    """Which of the processes of a launch this is; they share the tracks and nothing else."""

    number: int = 0
    count: int = 1
    on_machine: int = 0

    @classmethod
    def from_launcher(cls) -> "Process":
        """As torchrun and `accelerate launch` tell it; the only one where nothing launched it."""
        told = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
        return cls(*told)


@dataclass
class Embedded:
    """What became of a run.

    Attributes:
        new, known, failed: tracks that got a row now, those that had one already, those that cannot be embedded.
        audio_s, seconds: length of the music that passed the model, and how long the work took without loading it; a file that
            was moved or copied has its row without that.
        failures: the file that lists those that failed.
    """

    failures: Path
    new: int = 0
    known: int = 0
    failed: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0

    @property
    def hours_an_hour(self) -> float:
        """Hours of audio embedded in an hour."""
        return self.audio_s / self.seconds if self.seconds else 0.0


def embed(
    sources: Sequence[str | os.PathLike] | Files | Rows,
    output_dir: str | os.PathLike,
    model: str | os.PathLike = DEFAULT_MODEL,
    layers: Layers | None = None,
    pool: str | None = "mean",
    *,
    window_s: float | str | None = "context",
    overlap_s: float = DEFAULT_OVERLAP_S,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int = 8,
    revision: str | None = None,
    process: Process | None = None,
    progress: bool = True,
) -> Embedded:
    """Embed music into a catalogue; called again with the same settings, it goes on where it was stopped or killed.

    A track has its row when that is on the disk, so whoever kills the process loses the track in work alone. A file that has
    not changed since (size and time) is not read again; one with another content gets a new row, which takes the old one's
    place; one that was only moved or copied is not computed again. What cannot be embedded is listed in `failures.jsonl`, and
    tried again by the next run.

    Args:
        sources: audio files, folders, patterns, playlists; or [`Rows`] of a dataset.
        output_dir: of the catalogue; see `store.py` for what lies in it.
        model, layers, pool, window_s, overlap_s, batch_size, revision: see [`Embedder`].
        device: the fastest there is by default.
        dtype: of the computation; "auto" is bfloat16 where that is faster here and moves vectors little, else float32
            ([`mert_hf.catalogue.precision`]). A catalogue that was begun keeps the one it was begun with.
        process: which of a launch's processes this is, whose share is embedded ([`Process.from_launcher`]); all of it by
            default, also in a process of a launch, of which one may then call this.
        progress: show a progress bar.

    Returns:
        What became of this process's share.

    Raises:
        InputError: a source that is not there, a model that cannot be loaded, a folder that was begun with other settings or
            holds something else, another run that writes into it.
    """
    process = process or Process()
    output_dir = Path(output_dir).expanduser()
    found = sources if isinstance(sources, Files | Rows) else Files(sources)
    require_free(output_dir)
    if device is None and torch.cuda.is_available() and process.count > 1:
        device = f"cuda:{process.on_machine}"
    with ExitStack() as held:
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
            _lock(output_dir, process.number, held)
        except OSError as error:
            raise InputError(f"{output_dir} cannot be written: {error.strerror}; choose another --output_dir.") from None
        logger.info("Embedding with %s", describe_model(model))
        how: dict[str, Any] = dict(window_s=window_s, overlap_s=overlap_s, device=device, revision=revision)
        if dtype == "auto":
            dtype = _find_dtype(output_dir, process, model, how)
        embedder = Embedder(model, layers, pool, dtype=dtype, batch_size=batch_size, **how)
        claim(output_dir, embedder.settings)
        return _Run(output_dir, embedder, process, progress, held).run(found)


def _find_dtype(output_dir: Path, process: Process, model, how: dict[str, Any]) -> str:
    """That of the catalogue where it was begun; else the first process measures, and the others take what it has found."""
    if is_there(output_dir / NOTE):
        return read_settings(output_dir).dtype
    if process.number == 0:
        return choose_dtype(model, how["device"], how["revision"])
    return await_settings(output_dir).dtype


def _lock(folder: Path, number: int, held: ExitStack) -> None:
    lock = RunLock(folder / f"embed-{number:05d}.lock")
    lock.acquire()
    held.callback(lock.release)


class _Run:
    """One process's share of the work."""

    def __init__(self, folder: Path, embedder: Embedder, process: Process, progress: bool, held: ExitStack):
        self.folder, self.embedder, self.process = folder, embedder, process
        self.store = Store(folder, embedder.settings, process.number)
        if process.count == 1:
            for journal in sorted(folder.glob("journal-?????")):
                number = int(journal.name[-5:])
                if number != process.number:  # of a launch with more processes that was killed
                    _lock(folder, number, held)
                    self.store.adopt(journal)
        self.known, rows = read_known(folder, embedder.settings)
        self.superseded = rows > len(self.known)
        # a file that was moved or copied has its vectors there; rows of this run are not looked at again
        self.shards = {known.sha256: known for known in self.known.values() if known.file.suffix == ".parquet"}
        self.failures = Failures(folder, process.number, process.count == 1)
        self.done = Embedded(self.failures.file)
        self.shows = progress and process.number == 0

    def run(self, found: Files | Rows) -> Embedded:
        """Embed what has no row yet."""
        total = found.total
        if total is not None and self.process.count > 1:
            total = len(range(self.process.number, total, self.process.count))
        with tqdm(total=total, desc="Embedding", unit="track", disable=not self.shows) as bar:
            started = time.monotonic()
            for item, heard in map_ahead(self._hear, self._unknown(found, bar), READERS):
                self._embed(item, heard)
                self.done.seconds = time.monotonic() - started
                bar.update()
                bar.set_postfix_str(f"{self.done.hours_an_hour:.1f} h audio/h, {self.done.failed} failed")
        self.store.close()
        if self.superseded and self.process.count == 1:
            drop_superseded(self.folder, self.embedder.settings)
        return self.done

    def _unknown(self, found: Files | Rows, bar: tqdm) -> Iterator[Item]:
        """The items of this process that have no row yet, as far as can be told without reading them."""
        for place, item in enumerate(found):
            if place % self.process.count != self.process.number:
                continue
            known = self.known.get(item.path)
            if known is not None and item.size >= 0 and (known.size, known.modified_ns) == (item.size, item.modified_ns):
                self.done.known += 1
                bar.update()
            else:
                yield item

    def _hear(self, item: Item) -> tuple[Item, Heard | InputError]:
        if item.fault is not None:
            return item, InputError(item.fault)
        try:
            return item, hear(item.source, self.embedder.settings.sampling_rate)
        except InputError as error:
            return item, error

    def _embed(self, item: Item, heard: Heard | InputError) -> None:
        try:
            if isinstance(heard, InputError):
                raise heard
            known = self.known.get(item.path)
            if known is not None and known.sha256 == heard.sha256:  # touched, or a row of a dataset
                self.done.known += 1
                return
            self.superseded |= known is not None
            frames = self.folder / "frames" / f"{heard.sha256[:32]}.npy"
            same = self.shards.get(heard.sha256)
            vectors = self.store.vectors_of(same) if same else self.embedder.vectors(heard, frames)
            facts = dict(sha256=heard.sha256, duration_s=heard.duration_s, sampling_rate=heard.sampling_rate)
            self.store.add(item, facts | vectors)
        except InputError as error:
            self.done.failed += 1
            self.failures.add(item, str(error))
            return
        self.done.new += 1
        self.done.audio_s += 0.0 if same else heard.duration_s
