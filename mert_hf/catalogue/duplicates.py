"""Tracks of a catalogue that are the same: by their content, or nearly by their vectors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mert_hf.catalogue.catalogue import Catalogue
from mert_hf.common.errors import InputError

# Cosine of two tracks that are called the same recording, after centring.
DEFAULT_THRESHOLD = 0.98
# Rows of a block of products.
BLOCK_ROWS = 4096
# Pairs of one catalogue that are no duplicates any more, but a threshold that most tracks reach.
MOST_PAIRS = 5_000_000


@dataclass(frozen=True)
class Duplicates:
    """A group of tracks that are the same.

    Attributes:
        rows: their numbers in the catalogue.
        same_content: whether all files are equal, byte by byte.
        least_score: the smallest cosine of those that tie the group together; 1 of equal files.
    """

    rows: tuple[int, ...]
    same_content: bool
    least_score: float


def find_duplicates(catalogue: Catalogue, threshold: float = DEFAULT_THRESHOLD) -> list[Duplicates]:
    """Groups of tracks that are equal files or whose cosine reaches a threshold, the surest first.

    Every track is compared with every other one: 100 thousand take some minutes on two cores, and ten times as many a hundred
    times as long. A chain of tracks, each like the next, is one group.

    Args:
        threshold: of the cosine after the catalogue's projection, above -1, up to 1; "centre" is the projection to judge by.

    Raises:
        InputError: a threshold that there is not.
    """
    if not -1 < threshold <= 1:
        raise InputError(f"threshold is {threshold!r}; give a cosine above -1, up to 1, such as {DEFAULT_THRESHOLD}.")
    digests = catalogue.rows["sha256"].to_pylist()
    groups = _Groups(len(catalogue))
    first: dict[str, int] = {}
    for row, digest in enumerate(digests):
        groups.join(first.setdefault(digest, row), row, 1.0)
    pairs = _pairs(catalogue.units, threshold)
    for place in np.argsort(-pairs["score"], kind="stable"):
        one, other, score = pairs[place].tolist()
        groups.join(one, other, score)
    found = [Duplicates(rows, len({digests[row] for row in rows}) == 1, groups.least[rows[0]]) for rows in groups.members()]
    return sorted(found, key=lambda group: (not group.same_content, -group.least_score, group.rows))


class _Groups:
    """Sets of rows, joined pair by pair; the first row of each stands for it."""

    def __init__(self, count: int):
        self._above = list(range(count))
        self.least: dict[int, float] = {}

    def _top(self, row: int) -> int:
        while self._above[row] != row:
            self._above[row] = self._above[self._above[row]]
            row = self._above[row]
        return row

    def join(self, one: int, other: int, score: float) -> None:
        first, second = sorted((self._top(one), self._top(other)))
        if first != second:
            self._above[second] = first
            self.least[first] = min(score, self.least.get(first, 1.0), self.least.pop(second, 1.0))

    def members(self) -> Iterator[tuple[int, ...]]:
        groups: dict[int, list[int]] = {}
        for row in range(len(self._above)):
            groups.setdefault(self._top(row), []).append(row)
        yield from (tuple(rows) for rows in groups.values() if len(rows) > 1)


def _pairs(units: NDArray[np.float32], threshold: float) -> NDArray:
    """Pairs of rows whose product reaches the threshold, with it: fields one, other, score."""
    found, count = [], 0
    for start in range(0, len(units), BLOCK_ROWS):
        block = np.array(units[start : start + BLOCK_ROWS])
        for other in range(start, len(units), BLOCK_ROWS):
            products = block @ units[other : other + BLOCK_ROWS].T
            rows, columns = np.nonzero(products >= threshold)
            apart = start + rows < other + columns
            pairs = np.zeros(int(apart.sum()), [("one", np.int64), ("other", np.int64), ("score", np.float32)])
            pairs["one"], pairs["other"] = start + rows[apart], other + columns[apart]
            pairs["score"] = np.minimum(products[rows[apart], columns[apart]], 1)
            found.append(pairs)
            count += len(pairs)
            if count > MOST_PAIRS:
                raise InputError(f"more than {MOST_PAIRS:,} pairs reach the threshold {threshold:g}; raise it, or centre.")
    return np.concatenate(found)
