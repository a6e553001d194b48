"""What vectors are compared after: nothing, their common part taken away, or all directions made equally wide.

Vectors of one model lie in a narrow cone: their mean is most of each, so that any two of them are alike. Centring takes the
mean away; whitening then also weighs every principal direction by the inverse of its spread.
"""

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mert_hf.common.errors import InputError

KINDS = ("none", "centre", "whiten")
DEFAULT_SHRINKAGE = 0.1
# Numbers of vectors that are looked at at a time (64 MiB in float64).
CHUNK_VALUES = 2**23


@dataclass(frozen=True)
class Projection:
    """Vectors to vectors of length 1, whose products are cosines.

    Every vector is scaled to length 1 first, so that it does not matter whether vectors were kept scaled or as they came.

    Attributes:
        kind: "none"; "centre" subtracts the mean; "whiten" subtracts it and turns to the principal directions, each divided by
            the standard deviation along it.
        size: numbers of a vector that goes in.
        mean: (size,) float32, of what this was fitted on; None of "none".
        matrix: (size, size that comes out) float32; None but of "whiten".
        shrinkage: of "whiten": see [`Projection.fit`]; None of the others.
    """

    kind: str
    size: int
    mean: NDArray[np.float32] | None = None
    matrix: NDArray[np.float32] | None = None
    shrinkage: float | None = None

    @property
    def projected_size(self) -> int:
        """Numbers of a vector that comes out."""
        return self.size if self.matrix is None else self.matrix.shape[1]

    @classmethod
    def fit(
        cls, vectors: NDArray, kind: str = "whiten", shrinkage: float = DEFAULT_SHRINKAGE, dimension: int | None = None
    ) -> Self:
        """Fit on a gallery. It is read in chunks, twice, so it may be mapped into memory; sums are in float64.

        Args:
            vectors: (n, size), of any floating type.
            kind: of [`KINDS`].
            shrinkage: of "whiten", above 0 to 1: the covariance that is whitened is (1 - shrinkage) times that of the vectors
                and shrinkage times the identity at the same mean variance, so that directions in which few vectors differ are
                not blown up to noise; 1 is centring.
            dimension: of "whiten", how many of the widest directions are kept; all by default.

        Raises:
            InputError: a kind, shrinkage or dimension that there is not; vectors that are no (n, size), not finite, or too few:
                "centre" needs one, "whiten" two that differ.
        """
        if kind not in KINDS:
            raise InputError(f"projection {reprlib.repr(kind)} is unknown; there are {', '.join(KINDS)}.")
        if np.ndim(vectors) != 2 or not np.issubdtype(vectors.dtype, np.floating) or not vectors.shape[1]:
            raise InputError(f"vectors must be floating-point numbers of shape (n, size); got {_shape_of(vectors)}.")
        size = vectors.shape[1]
        if not 0 < shrinkage <= 1:
            raise InputError(f"shrinkage is {shrinkage!r}; give a number above 0, up to 1, such as {DEFAULT_SHRINKAGE}.")
        if dimension is not None and not (type(dimension) is int and 1 <= dimension <= size):
            raise InputError(f"dimension is {dimension!r}; give a whole number from 1 to {size}, the size of the vectors.")
        if kind == "none":
            return cls(kind, size)
        if len(vectors) < (2 if kind == "whiten" else 1):
            raise InputError(f"{kind} is fitted on vectors, and got {len(vectors)}; give more of them.")
        mean = sum(chunk.sum(axis=0) for chunk in _chunks(vectors)) / len(vectors)
        if kind == "centre":
            return cls(kind, size, mean.astype(np.float32))
        matrix = _whitening(*_principal_directions(vectors, mean), shrinkage)[:, :dimension]
        return cls(kind, size, mean.astype(np.float32), matrix.astype(np.float32), float(shrinkage))

    def __call__(self, vectors: NDArray) -> NDArray[np.float32]:
        """Project vectors.

        Args:
            vectors: (..., size).

        Returns:
            float32 (..., projected size), each of length 1; zero stays zero, and what is not finite stays so.

        Raises:
            InputError: they are of another size.
        """
        vectors = np.asarray(vectors)
        if not vectors.ndim or vectors.shape[-1] != self.size:
            raise InputError(f"vectors of size {self.size} are needed here, those of the catalogue; got {_shape_of(vectors)}.")
        projected = _unit(vectors.astype(np.float32, copy=False))
        if self.mean is not None:
            projected = projected - self.mean
        if self.matrix is not None:
            projected = projected @ self.matrix
        return _unit(projected)

    def to_arrays(self) -> dict[str, NDArray]:
        """Everything, as arrays of numbers by name: to be saved as safetensors or `.npz`, without pickle."""
        arrays = {"kind": np.frombuffer(self.kind.encode(), np.uint8), "size": np.array([self.size], np.int64)}
        if self.mean is not None:
            arrays["mean"] = self.mean
        if self.matrix is not None:
            arrays |= {"matrix": np.ascontiguousarray(self.matrix), "shrinkage": np.array([self.shrinkage], np.float64)}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], where: str = "the projection") -> Self:
        """The projection that [`Projection.to_arrays`] saved.

        Args:
            arrays: by name; others may be among them.
            where: they were read, for messages.

        Raises:
            InputError: some are missing, or of another shape or type.
        """
        kind = bytes(np.asarray(arrays["kind"], np.uint8)).decode("ascii", "replace") if "kind" in arrays else None
        wanted = {"none": (), "centre": ("mean",), "whiten": ("mean", "matrix", "shrinkage")}.get(kind)
        size = arrays.get("size", np.zeros(0))
        if wanted is None or not {*wanted} <= set(arrays) or size.shape != (1,) or not np.issubdtype(size.dtype, np.integer):
            raise InputError(f"{where} is damaged: it holds {', '.join(sorted(arrays)) or 'nothing'}; fit it anew.")
        size, found = int(size[0]), {name: arrays[name] for name in wanted}
        shapes = {"mean": (size,), "shrinkage": (1,), "matrix": (size, *found.get("matrix", np.zeros(0)).shape[1:2])}
        for name, array in found.items():
            if array.shape != shapes[name] or not np.isfinite(array).all():
                raise InputError(f"{where} is damaged: its {name} is {_shape_of(array)}, or not finite; fit it anew.")
        shrinkage = float(found["shrinkage"][0]) if "shrinkage" in found else None
        return cls(kind, size, found.get("mean"), found.get("matrix"), shrinkage)


def _principal_directions(vectors: NDArray, mean: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances (size,), the largest first, and the directions of them in columns (size, size)."""
    count, size = vectors.shape
    if count < size:
        # quicker, and so few fit into memory
        centred = np.concatenate([chunk - mean for chunk in _chunks(vectors)])
        _, spreads, rows = np.linalg.svd(centred / np.sqrt(count), full_matrices=True)
        return np.pad(spreads**2, (0, size - count)), rows.T
    covariance = sum((chunk - mean).T @ (chunk - mean) for chunk in _chunks(vectors)) / count
    variances, directions = np.linalg.eigh(covariance)
    return np.maximum(variances, 0.0)[::-1], directions[:, ::-1]


def _whitening(variances: NDArray[np.float64], directions: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    """(size, size): the directions, each divided by its spread after shrinkage."""
    mean = variances.mean()
    if not mean > np.finfo(np.float32).eps ** 2:
        raise InputError("whiten is fitted on vectors that differ; all of these are the same.")
    # LAPACK leaves the sign of a direction open; files of one catalogue should not differ by it
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(len(directions))]
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    return directions / np.sqrt((1 - shrinkage) * variances + shrinkage * mean)


def _chunks(vectors: NDArray) -> Iterator[NDArray[np.float64]]:
    """Rows of length 1, a few at a time."""
    rows = max(1, CHUNK_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), rows):
        chunk = np.asarray(vectors[start : start + rows], np.float64)
        bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
        if len(bad):
            raise InputError(f"vector {start + bad[0]} is not finite; leave out what could not be embedded.")
        yield _unit(chunk)


def _unit(vectors: NDArray) -> NDArray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def _shape_of(array: NDArray) -> str:
    return f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"
