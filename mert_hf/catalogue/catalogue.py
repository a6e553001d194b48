"""A catalogue, opened to be searched."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mert_hf.catalogue.embedder import Embedder, hear
from mert_hf.catalogue.filters import fulfil
from mert_hf.catalogue.matrices import Matrices
from mert_hf.catalogue.nearest import build_graph, open_graph, search_exactly, search_graph
from mert_hf.catalogue.projection import KINDS
from mert_hf.catalogue.settings import read_settings
from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_file, is_there
from mert_hf.common.reading import read_array

logger = logging.getLogger(__name__)

# From here on an exact search takes more than a tenth of a second on two cores (tests/benchmarks/catalogue.json), and the graph
# is worth being built.
GRAPH_FROM = 700_000

Method = Literal["auto", "exact", "graph"]


@dataclass(frozen=True)
class Hit:
    """A track that was found.

    Attributes:
        score: its cosine with the query, -1 to 1, after the projection.
        row: its number in the catalogue.
        path, name, duration_s: see `store.py`.
    """

    score: float
    row: int
    path: str
    name: str
    duration_s: float


class Catalogue:
    """The rows of a catalogue as they are when it is opened; what is embedded later is seen by who opens it then.

    The first search reads the vectors; where the catalogue has changed by then, it says so.

    Args:
        folder: that `mert-hf embed` or [`mert_hf.catalogue.embed`] has filled, or is filling.
        column: of the vectors to search in; that of the middle where there are several.
        projection: "none", "centre" or "whiten", fitted on all vectors of the catalogue; see
            [`mert_hf.catalogue.projection`].

    Attributes:
        settings: that it was made with.
        rows: pyarrow.Table with the facts of every track.

    Raises:
        InputError: there is no catalogue, it is empty or damaged, or it has no such column or projection.

    Example:
        ```python
        catalogue = Catalogue("catalogue")
        for hit in catalogue.search("song.mp3", count=5, where="duration_s > 60"):
            print(hit.score, hit.path)
        ```
    """

    def __init__(self, folder: str | os.PathLike, column: str | None = None, projection: str = "none"):
        self.folder = Path(folder).expanduser()
        self.settings = read_settings(self.folder)
        columns = self.settings.columns
        if self.settings.pool not in ("mean", "mean_std"):
            raise InputError(
                f"{self.folder} holds {'one vector a second' if self.settings.pool else 'all frames'}, not one a track; embed"
                " again with --pool mean to search."
            )
        if column is not None and column not in columns:
            raise InputError(f"{self.folder} has no vectors {column!r}; there are {', '.join(columns)}.")
        if projection not in KINDS:
            raise InputError(f"projection {projection!r} is unknown; there are {', '.join(KINDS)}.")
        self.column, self.kind = column or columns[len(columns) // 2], projection
        self._embedders: dict[str | None, Embedder] = {}
        self._matrices = Matrices(self.folder, self.settings)
        self.rows: pa.Table = self._matrices.rows()
        if not len(self.rows):
            raise InputError(f"{self.folder} holds no track yet.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(tracks, dimensions) as they were embedded, mapped into memory."""
        return self._matrices.vectors(self.column)

    @cached_property
    def units(self) -> NDArray[np.float32]:
        """(tracks, dimensions) after the projection, of length 1, mapped into memory."""
        return self._matrices.units(self.column, self.kind)

    def search(
        self,
        query: str | os.PathLike | int | NDArray,
        count: int = 10,
        where: str | Sequence[str] = (),
        method: Method = "auto",
        device: str | None = None,
    ) -> list[Hit]:
        """The tracks whose vectors have the largest cosine with a query's, the largest first.

        Args:
            query: the number of a row; the path or name of a track of the catalogue, which is not among the hits itself; an
                audio file, which is embedded as the catalogue was; a `.npy` file with a vector; or a vector, (dimensions,), as
                the model gives it, before any projection.
            count: how many are wanted; fewer are returned where there are not so many.
            where: conditions on the columns, such as "duration_s > 60"; all must be fulfilled. See
                [`mert_hf.catalogue.filters.fulfil`].
            method: "exact" compares with all rows; "graph" walks a graph of neighbours that [`build_graph`] has made, and finds
                most of the nearest; "auto" takes the graph where there is one and no condition.
            device: of the model, where the query has to be embedded.

        Raises:
            InputError: a query that is none of these, a vector of another model, a condition that is none, or a graph that was
                not built.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"count is {count!r}; give a whole number, 1 or more.")
        if method not in ("auto", "exact", "graph"):
            raise InputError(f"method {method!r} is unknown; there are auto, exact, graph.")
        conditions = [where] if isinstance(where, str) else list(where)
        row, unit = self._resolve(query, device)
        graph = self._graph_for(method, conditions)
        if graph is not None:
            rows, scores = search_graph(graph, self.units, unit[None], count + 1)
        else:
            allowed = fulfil(self.rows, conditions) if conditions else None
            rows, scores = search_exactly(self.units, unit[None], count + 1, allowed)
        found = [(int(one), float(score)) for one, score in zip(rows[0], scores[0], strict=True) if one != row][:count]
        return [Hit(score, one, **self._facts(one)) for one, score in found]

    def build_graph(self, progress: bool = True) -> Path:
        """Build the graph of neighbours that searches then take; beside the rows it was built of, by which it is known.

        Raises:
            MissingPackageError: the extra `search` is not installed.
        """
        build_graph(self.units, self._graph_file, progress)
        return self._graph_file

    @property
    def _graph_file(self) -> Path:
        return self._matrices.folder / f"{self.column}-{self.kind}.usearch"

    def _graph_for(self, method: Method, conditions: list[str]):
        if method == "exact" or (conditions and method == "auto"):
            return None
        if conditions:
            raise InputError("conditions are looked at by the method exact alone.")
        if self._graph_file.exists():
            return open_graph(self._graph_file)
        if method == "graph":
            raise InputError(f"{self.folder} has no graph of these rows and this projection; `mert-hf index` builds it.")
        if len(self) >= GRAPH_FROM:
            logger.info("%d tracks are compared one by one; `mert-hf index %s` makes searches quick", len(self), self.folder)
        return None

    def _facts(self, row: int) -> dict:
        return self.rows.select(["path", "name", "duration_s"]).slice(row, 1).to_pylist()[0]

    def _resolve(self, query, device: str | None) -> tuple[int | None, NDArray[np.float32]]:
        """The row that a query is, if it is one, and its vector after the projection."""
        if isinstance(query, (int, np.integer)) and not isinstance(query, bool):
            if not 0 <= query < len(self):
                raise InputError(f"there is no row {query}; the catalogue has rows 0 to {len(self) - 1}.")
            return int(query), self.units[query]
        if isinstance(query, np.ndarray):
            return None, self._project(query, "the vector")
        if not isinstance(query, (str, os.PathLike)):
            raise InputError(f"a query is a path, the number of a row or a vector; got {type(query).__name__}.")
        text = os.path.expanduser(os.fspath(query))  # noqa: PTH111 (as it was given)
        if text.endswith(".npy") and is_there(text):
            return None, self._project(read_array(text), text)
        row = self._find_row(text)
        if row is not None:
            return row, self.units[row]
        if not is_there(text):
            raise InputError(f"{text!r} is no file and no track of the catalogue; give an audio file, a row or a .npy vector.")
        return None, self._project(self._embed(text, device), text)

    def _find_row(self, text: str) -> int | None:
        """The row of a file by its path, unless its content is another now; or that of the only track of a name."""
        path = os.path.abspath(text)  # noqa: PTH100
        for column, value in (("path", path), ("path", text), ("name", text)):
            rows = self._rows_with(column, value)
            if len(rows) > 1:
                raise InputError(
                    f"{len(rows)} tracks are called {text!r}, rows {', '.join(map(str, rows[:5]))}; give one of them."
                )
            if len(rows):
                row = int(rows[0])
                here = self.rows["path"][row].as_py()
                changed = is_there(here) and digest_file(here) != self.rows["sha256"][row].as_py()
                return None if changed else row
        return None

    def _rows_with(self, column: str, text: str) -> NDArray[np.int64]:
        try:
            return np.flatnonzero(pc.equal(self.rows[column], pa.scalar(text, pa.string())).fill_null(False).combine_chunks())
        except UnicodeEncodeError:  # bytes that are no text, which no row holds
            return np.zeros(0, np.int64)

    def _embed(self, file: str, device: str | None) -> NDArray[np.float32]:
        if device not in self._embedders:  # loaded for the first of many queries
            self._embedders[device] = Embedder.of(self.settings, device)
        embedder = self._embedders[device]
        try:
            return embedder.vectors(hear(file, self.settings.sampling_rate))[self.column]
        except InputError as error:
            raise InputError(str(error) if file in str(error) else f"{file}: {error}") from None

    def _project(self, vector: NDArray, what: str) -> NDArray[np.float32]:
        size = self.settings.dimensions
        fits = np.issubdtype(vector.dtype, np.number) and not np.issubdtype(vector.dtype, np.complexfloating)
        if not fits or vector.shape != (size,) or not np.isfinite(vector).all():
            raise InputError(
                f"{what} must hold {size} finite numbers, as {self.settings.model} makes them; it is {vector.dtype} of shape"
                f" {vector.shape}."
            )
        return self._matrices.projection(self.column, self.kind)(vector)
