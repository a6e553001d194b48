"""Published results, as printed: points of 100, and dB for separation.

Sources:
    MARBLE: the MARBLE v1 paper, constrained track (docs/MARBLE_benchmark.pdf in a43992899/MARBLE-Benchmark, June 2023).
    MUSIC2VEC: Tables 1 to 3 of the paper on music2vec and musicHuBERT.
    MERT: the MERT paper (arXiv 2306.00107 v5) where it differs from MARBLE, as quoted in MuQ's README (tencent-ailab/MuQ), and
        GTZAN as quoted in MARBLE-Benchmark's issue 7: second hand.
    MERT2: the card of m-a-p/MERT-v2-FullSong (frozen encoder; September 2026), without its last column, Chords1217 (78.48 and
        77.79), a task that is not among those here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

COMMON_COLUMNS = (
    ("magnatagatune", "roc_auc"),
    ("magnatagatune", "mean_average_precision"),
    ("giantsteps_key", "refined_accuracy"),
    ("gtzan_genre", "accuracy"),
    ("emomusic", "r2_valence"),
    ("emomusic", "r2_arousal"),
    ("nsynth_instrument", "accuracy"),
    ("nsynth_pitch", "accuracy"),
    ("vocalset_technique", "accuracy"),
    ("vocalset_singer", "accuracy"),
    ("gtzan_rhythm", "beat_f1"),
)
JAMENDO_COLUMNS = tuple(
    (f"jamendo_{name}", value)
    for name in ("instrument", "mood", "genre", "top50")
    for value in ("roc_auc", "mean_average_precision")
)
MERT2_COLUMNS = (
    *COMMON_COLUMNS[:4],
    ("gtzan_rhythm", "beat_f1"),
    *COMMON_COLUMNS[4:6],
    *JAMENDO_COLUMNS,
)
SEPARATION_COLUMNS = tuple(("musdb18", f"sdr_{stem}") for stem in ("vocals", "drums", "bass", "other"))

# A line is a model and its numbers in the order of the columns, a dash where the table has one. Averages are the printed ones
# in the order of the lines; those of MUSIC2VEC are over its first eleven columns.
MARBLE = """
Jukebox-5B     | 91.4 40.6 63.8 77.9 57.0 73.0 70.4 91.6 76.7 82.6    - 78.5 22.0 77.6 15.3 88.0 20.5 83.7 30.6   -   -   -   -
MULE           | 91.2 40.1 64.9 75.5 60.7 73.1 74.6 88.5 75.5 87.5    - 76.6 19.2 78.0 15.4 88.0 20.4 83.7 30.6   -   -   -   -
music2vec-95M  | 90.0 36.2 50.6 74.1 52.1 71.0 69.3 93.1 71.1 81.4 68.2 76.1 19.2 76.7 14.3 87.1 18.8 83.0 29.2 5.5 5.5 4.1 3.0
MERT-v0        | 90.7 38.2 64.1 74.8 52.9 69.9 70.4 92.3 73.6 77.0 88.3 76.6 18.7 75.9 13.7 86.9 18.5 82.8 28.8 5.6 5.6 4.0 3.0
MERT-v0-public | 90.7 38.4 67.3 72.8 59.1 72.8 70.4 92.3 75.6 78.0 88.1 77.5 19.6 76.2 13.3 87.2 18.8 83.0 28.9 5.5 5.5 3.7 3.0
MERT-v1-95M    | 91.0 39.3 63.5 74.8 55.5 76.3 70.7 92.6 74.2 83.7 88.3 77.5 19.4 76.4 13.4 87.1 18.8 83.0 29.0 5.5 5.5 3.8 3.1
MERT-v1-330M   | 91.1 39.5 61.7 77.6 59.0 75.8 72.6 94.4 76.9 87.1 87.9 78.1 19.8 76.5 14.0 86.7 18.6 83.4 29.9 5.3 5.6 3.6 3.0
"""
MARBLE_AVERAGES = (None, None, 59.9, 62.3, 63.0, 63.3, 64.2)
MUSIC2VEC = """
HuBERT base (speech)          | 89.8 36.4 15.0 64.8 31.0 57.5 68.2 79.4 61.0 58.8 83.5 73.2 17.0 74.0 11.6 85.0 16.3 81.8 26.5
musicHuBERT k2000 MFCC39      | 90.2 37.7 14.7 70.0 42.1 66.5 69.3 77.4 65.9 75.3 88.6 75.5 17.8 76.0 13.9 86.5 18.0 82.4 28.1
musicHuBERT k2000 iteration 2 | 90.4 37.5 13.8 68.3 43.3 67.4 70.0 80.3 63.6 70.4 88.8    -    -    -    -    -    -    -    -
musicHuBERT k500 MFCC39       | 89.6 36.1 15.7 64.5 41.0 67.7 66.7 76.8 60.5 72.3 87.5    -    -    -    -    -    -    -    -
musicHuBERT k500 MFCC60       | 90.3 38.0 17.6 69.7 40.8 67.5 70.3 79.0 66.2 75.5 88.6    -    -    -    -    -    -    -    -
data2vec base (speech)        | 88.4 33.6 15.5 60.7 23.0 49.6 69.3 77.7 64.9 74.6 36.4 73.1 16.9 73.3 11.0 83.5 14.5 80.6 24.8
music2vec vanilla             | 89.1 35.1 19.0 59.7 38.5 61.9 69.4 88.9 68.3 69.5 33.5 73.1 16.3 74.3 12.2 85.2 16.5 81.4 26.2
music2vec span 5              | 87.3 32.0 15.7 47.6 22.7 41.2 64.2 84.8 56.7 53.8 33.2    -    -    -    -    -    -    -    -
music2vec span 15             | 88.7 34.3 16.4 56.6 39.0 58.8 67.1 88.1 63.1 61.9 33.1    -    -    -    -    -    -    -    -
music2vec mask 50 %           | 88.5 34.0 23.7 59.3 40.6 55.0 66.8 87.7 64.9 61.7 33.9    -    -    -    -    -    -    -    -
music2vec mask 80 %           | 88.2 33.9 18.4 50.3 36.7 55.7 67.9 88.9 64.2 65.2 33.7    -    -    -    -    -    -    -    -
music2vec 800k steps          | 87.7 32.7 20.3 54.5 34.9 47.3 66.9 87.5 65.6 65.1 33.4    -    -    -    -    -    -    -    -
music2vec all 12 targets      | 89.7 35.2 26.5 64.5 41.7 64.2 71.1 89.2 71.0 73.2 34.1    -    -    -    -    -    -    -    -
music2vec crop 5 s            | 90.0 36.6 18.5 76.6 53.4 71.6 68.3 88.9 71.3 72.4 33.9    -    -    -    -    -    -    -    -
"""
MUSIC2VEC_AVERAGES = (59.8, 64.4, 63.8, 62.4, 65.0, 55.2, 57.8, 49.7, 55.2, 56.3, 55.1, 55.0, 60.6, 61.8)
MERT = """
MERT-v1-330M (v5) | 91.3 40.2 65.6 79.3 61.2 74.7 72.6 94.4 76.9 87.1
"""
MERT2 = """
MERT-v2-30s      | 91.91 41.29 66.97 91.72 90.59 63.23 80.01 80.27 22.89 79.44 16.68 88.01 21.22 84.18 32.17
MERT-v2-FullSong | 91.74 41.20 67.05 90.69 90.57 63.52 78.14 80.27 23.51 78.74 15.74 87.98 20.66 84.13 31.62
"""


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper."""

    source: str  # where it was read
    columns: tuple[tuple[str, str], ...]  # (task, value) of every column
    rows: Mapping[str, tuple[float | None, ...]]  # numbers of every model; None where the table has a dash
    averages: Mapping[str, float]  # the averages that the paper prints for some of them

    @classmethod
    def parse(cls, source: str, columns: tuple[tuple[str, str], ...], text: str, averages) -> "PublishedTable":
        """A table from lines such as `model | 90.1 - 37.8`."""
        rows = {}
        for line in text.strip().splitlines():
            model, numbers = (part.strip() for part in line.split("|"))
            rows[model] = tuple(None if number == "-" else float(number) for number in numbers.split())
        printed = {model: average for model, average in zip(rows, averages, strict=True) if average is not None}
        return cls(source, columns, rows, printed)

    def values(self, model: str) -> dict[str, dict[str, float]]:
        """{task: {value: number}} of one model, without the dashes."""
        found: dict[str, dict[str, float]] = {}
        for (task, value), number in zip(self.columns, self.rows[model], strict=True):
            if number is not None:
                found.setdefault(task, {})[value] = number
        return found


PUBLISHED = (
    PublishedTable.parse("MARBLE v1 paper", COMMON_COLUMNS + JAMENDO_COLUMNS + SEPARATION_COLUMNS, MARBLE, MARBLE_AVERAGES),
    PublishedTable.parse("MERT paper, second hand", COMMON_COLUMNS[:-1], MERT, (None,)),
    PublishedTable.parse("music2vec paper", COMMON_COLUMNS + JAMENDO_COLUMNS, MUSIC2VEC, MUSIC2VEC_AVERAGES),
    PublishedTable.parse("card of MERT-v2-FullSong", MERT2_COLUMNS, MERT2, (None, None)),
)


def published_values(task: str) -> dict[str, dict[str, float]]:
    """{model: {value: number}} of one task over all tables; empty where nothing was published."""
    found = {}
    for table in PUBLISHED:
        for model in table.rows:
            values = table.values(model).get(task)
            if values:
                found[model] = values
    return found


def average_score(values: Mapping[str, Mapping[str, float]]) -> float:
    """The papers' average of {task: {value: number}}, the values that the tables print: first within a task, then over tasks.

    Tasks are what the papers count: the four outputs of separation, or both emotions, are one task.
    """
    means = [sum(numbers.values()) / len(numbers) for numbers in values.values()]
    return sum(means) / len(means)
