"""Tasks of mteb made of a few sounds, without a download; for installations with the extra mteb."""

import io
from collections.abc import Callable

import numpy as np
import soundfile
from datasets import Audio, Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from support.sounds import make_tones

RATE = 16_000
COMMON = dict(
    description="made of tones",
    reference="https://example.org",
    dataset={"path": "none", "revision": "none"},
    eval_splits=["test"],
    eval_langs=["zxx-Zxxx"],
    date=("2026-01-01", "2026-01-02"),
    dialect=[],
    domains=["Music"],
    task_subtypes=[],
    license="cc0-1.0",
    annotations_creators="derived",
    sample_creation="created",
    bibtex_citation="",
)


def make_sound(seed: int, gain: float = 1.0, tones: bool = True) -> dict:
    """A row of a column of audio: a file in bytes, as repositories of the Hub hold it."""
    noise = np.random.default_rng(seed).normal(0, 0.1, RATE // 2)
    file = io.BytesIO()
    soundfile.write(file, gain * (make_tones(0.5, RATE, seed) if tones else noise), RATE, format="WAV")
    return {"bytes": file.getvalue(), "path": None}


def make_dataset(count: int, **columns: Callable[[int], object]) -> Dataset:
    rows = {name: [make(number) for number in range(count)] for name, make in columns.items()}
    return Dataset.from_dict(rows).cast_column("audio", Audio())


class TonesOrNoise(AbsTaskClassification):
    """Twelve clips to learn from and twelve to tell apart."""

    metadata = TaskMetadata(
        name="TonesOrNoise", type="AudioClassification", main_score="accuracy", category="a2c", modalities=["audio"], **COMMON
    )
    input_column_name = "audio"
    samples_per_label = 4
    n_experiments = 2

    def load_data(self, **kwargs) -> None:
        def part(first: int) -> Dataset:
            return make_dataset(12, audio=lambda n: make_sound(first + n, tones=n % 2 == 0), label=lambda n: n % 2)

        self.dataset = DatasetDict(train=part(0), test=part(100))
        self.data_loaded = True


class SameAtHalfVolume(AbsTaskRetrieval):
    """Eight clips, each to be found by itself at half the volume."""

    metadata = TaskMetadata(
        name="SameAtHalfVolume",
        type="Any2AnyRetrieval",
        main_score="ndcg_at_10",
        category="a2a",
        modalities=["audio"],
        **COMMON,
    )

    def load_data(self, **kwargs) -> None:
        def half(kind: str, gain: float) -> DatasetDict:
            rows = make_dataset(8, id=lambda n: f"{kind}{n}", modality=lambda n: "audio", audio=lambda n: make_sound(n, gain))
            return DatasetDict(test=rows)

        self.queries, self.corpus = half("q", 0.5), half("d", 1.0)
        self.relevant_docs = {"test": {f"q{number}": {f"d{number}": 1} for number in range(8)}}
        self.data_loaded = True
