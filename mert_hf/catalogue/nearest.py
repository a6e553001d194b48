"""The nearest of many vectors of length 1: exactly, by a product with all of them, or by a graph of neighbours (HNSW)."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.common.files import PartialFile
from mert_hf.common.packages import require_packages

# Rows that are multiplied at a time: 200 MB of 768 numbers.
CHUNK_ROWS = 2**16
# Of the graph: edges of a node, and candidates that are held while it is built and while it is searched. USearch's own defaults
# are 16, 128 and 64; of a million vectors 128 candidates found 0.88 of the ten nearest, for more see the README's table.
EDGES, BUILDING, SEARCHING = 16, 128, 512
# In bfloat16 it is half as large and built in half the time as in float32, and finds as many (of 50 thousand vectors 0.986 of
# the ten nearest, and 0.989); what it finds is then compared exactly, and so many times as much is asked of it.
GRAPH_DTYPE, ASKED = "bf16", 2


def search_exactly(
    units: NDArray[np.float32], queries: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The rows with the largest products, and these, the largest first; of equal ones the row that comes first.

    Args:
        units: (rows, dimensions), may be mapped into memory; read once through.
        queries: (queries, dimensions).
        count: how many are wanted; fewer are returned where there are not so many.
        allowed: (rows,) those that may be found; all by default.

    Returns:
        (queries, found) numbers of rows, and (queries, found) cosines.
    """
    count = min(count, len(units) if allowed is None else int(allowed.sum()))
    rows = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(units), CHUNK_ROWS):
        chosen = np.arange(start, min(start + CHUNK_ROWS, len(units)))
        if allowed is not None:
            chosen = chosen[allowed[chosen]]
        chunk = units[start : start + CHUNK_ROWS] if allowed is None else units[chosen]
        rows = np.concatenate([rows, np.broadcast_to(chosen, (len(queries), len(chosen)))], axis=1)
        scores = np.concatenate([scores, queries @ chunk.T], axis=1)
        rows, scores = _largest(rows, scores, count)
    return rows, scores


def _largest(rows: NDArray[np.int64], scores: NDArray[np.float32], count: int):
    if scores.shape[1] > count:
        # of equal scores at the border, the partition may take any: all that reach it are kept until they are sorted
        border = -np.partition(-scores, max(count - 1, 0), axis=1)[:, max(count - 1, 0)]
        widest = int((scores >= border[:, None]).sum(axis=1).max())
        kept = np.argsort(-scores, axis=1, kind="stable")[:, :widest]
        rows, scores = np.take_along_axis(rows, kept, axis=1), np.take_along_axis(scores, kept, axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :count]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def build_graph(units: NDArray[np.float32], file: str | os.PathLike, progress: bool = True) -> None:
    """A graph of neighbours of all rows, by USearch, written wholly or not at all.

    Raises:
        MissingPackageError: the extra `search` is not installed.
    """
    require_packages("search", "usearch")
    from tqdm import tqdm
    from usearch.index import Index

    index = Index(ndim=units.shape[1], metric="ip", dtype=GRAPH_DTYPE, connectivity=EDGES, expansion_add=BUILDING)
    with tqdm(total=len(units), desc="Building the index", unit="track", disable=not progress) as bar:
        for start in range(0, len(units), CHUNK_ROWS // 8):
            chunk = np.array(units[start : start + CHUNK_ROWS // 8])
            index.add(np.arange(start, start + len(chunk)), chunk)
            bar.update(len(chunk))
    partial = PartialFile(file)
    try:
        index.save(str(partial.path))
        partial.flush()
        partial.move()
    finally:
        partial.discard()


def open_graph(file: str | os.PathLike) -> Any:
    """The graph that [`build_graph`] wrote, mapped into memory.

    Raises:
        InputError: it is damaged.
    """
    require_packages("search", "usearch")
    from usearch.index import Index

    try:
        index = Index.restore(str(file), view=True)
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{file} is damaged ({error}); remove it and run `mert-hf index` again.") from None
    index.expansion_search = SEARCHING
    return index


def search_graph(
    graph: Any, units: NDArray[np.float32], queries: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """As [`search_exactly`], by the graph of these rows: most of the true neighbours, not always all; scores are exact."""
    wanted = min(ASKED * count, len(graph))
    rows = np.array([np.sort(graph.search(query, wanted).keys) for query in queries], np.int64)
    scores = np.stack([query @ units[found].T for query, found in zip(queries, rows, strict=True)])
    return _largest(rows, scores, min(count, len(graph)))
