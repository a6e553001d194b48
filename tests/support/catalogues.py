"""Small catalogues, also such as are filled by processes that are killed."""

import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import soundfile
import torch
from support.small_runs import MODEL
from support.sounds import make_tones

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel
from mert_hf.catalogue import embed
from mert_hf.catalogue.embedder import Embedder
from mert_hf.catalogue.embedding import Process


def save_model(folder: Path, seed: int = 0, **sizes) -> Path:
    torch.manual_seed(seed)
    MERTModel(MERTConfig(**MODEL | sizes)).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return folder


def write_songs(folder: Path, count: int, seconds: float = 0.6) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"song {number:02d}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        soundfile.write(path, make_tones(seconds + 0.05 * (number % 3), 24000, number), 24000)
    return paths


def read_rows(folder: Path) -> dict[str, dict]:
    """All rows of the shards by their paths, read by pyarrow alone; a path that has two is an error."""
    tables = [pyarrow.parquet.read_table(file) for file in sorted((folder / "data").glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    found = {row["path"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def vectors_of(rows: dict[str, dict], column: str = "vector") -> dict[str, bytes]:
    return {path: np.array(row[column], np.float32).tobytes() for path, row in rows.items()}


def embed_slowly(music: Path, folder: Path, model: Path, pause_s: float) -> None:
    """Embed with a pause behind every track, so that a kill meets some."""
    compute = Embedder.vectors

    def slow(self, *arguments):
        found = compute(self, *arguments)
        time.sleep(pause_s)
        return found

    Embedder.vectors = slow
    torch.set_num_threads(2)  # as the tests: the last bits depend on it
    embed([music], folder, model, dtype="float32", progress=False)


class Slow(Embedder):
    """One whose worker can be met: it writes its number into a folder and takes its time."""

    def __init__(self, model, told):
        super().__init__(model, device="cpu")
        self.told = told

    def __call__(self, batch):
        Path(self.told, str(os.getpid())).touch()
        time.sleep(0.5)
        return super().__call__(batch)


def embed_share(music: Path, folder: Path, model: Path, pool: str | None = "mean") -> None:
    """What one process of a launch does."""
    embed([music], folder, model, pool=pool, dtype="float32", process=Process.from_launcher(), progress=False)
