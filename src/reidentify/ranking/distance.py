"""Distances in blocks, nearest neighbours, and the Scorer that everything which ranks can be."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError

if TYPE_CHECKING:
    import torch

    from reidentify.ranking.matches import Matches

Rows: TypeAlias = "slice | NDArray[np.int64]"
Metric: TypeAlias = Literal["cosine", "sqeuclidean"]
Floats: TypeAlias = "NDArray[np.float32] | NDArray[np.float64]"

BLOCK_ROWS = 256
BLOCK_DISTANCES = 1 << 24
"""A block holds at most this many distances (64 MiB of float32), however large the gallery is."""
GROUPS = 16
"""Groups of columns for each neighbour that is looked for; see `smallest`."""


class Scorer(typing.Protocol):
    """Anything that tells how far gallery rows are from query rows: the smaller the nearer."""

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.floating] | torch.Tensor:
        """Distances of some query rows to some gallery rows, each chosen by a slice or by integers.

        Returns:
            len(query_rows) x len(gallery_rows), floating point without NaN, as an array or a tensor on any device.
        """
        ...


class DotProduct:
    """Distances between vectors, from one matrix product a block.

    With `cosine` a distance is 1 minus the cosine similarity, from 0 to 2 up to rounding; a vector of zeros is at
    distance 1 from every other. With `sqeuclidean` it is the squared Euclidean distance of the vectors as given, never
    below 0; its absolute error is about 1e-6 of the squared lengths, as it is computed from products.

    Args:
        query: Q x D, float32.
        gallery: G x D, float32.
        metric: `cosine` or `sqeuclidean`.
        device: where torch multiplies, e.g. "cuda"; blocks are then tensors there. None: NumPy does, on the CPU.

    Raises:
        InputError: not two matrices of the same width, or an unknown metric.
    """

    def __init__(
        self,
        query: NDArray[np.float32],
        gallery: NDArray[np.float32],
        metric: Metric = "cosine",
        device: str | None = None,
    ) -> None:
        if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
            raise InputError(
                f"query and gallery vectors must be two matrices of the same width, got {query.shape} and"
                f" {gallery.shape}: embed both with the same network"
            )
        # The vectors carry the constants of the formula as extra components, so that the product alone is the
        # distance: 1 - q.g with unit vectors, or |q|^2 + |g|^2 - 2 q.g. That saves a pass over the block.
        if metric == "cosine":
            q, g = unit(query), unit(gallery)
            sides = np.hstack([-q, np.ones((len(q), 1), np.float32)]), np.hstack([g, np.ones((len(g), 1), np.float32)])
        elif metric == "sqeuclidean":
            q, g = (np.asarray(v, np.float32) for v in (query, gallery))
            one = np.ones((max(len(q), len(g)), 1), np.float32)
            sides = np.hstack([-2 * q, _squares(q), one[: len(q)]]), np.hstack([g, one[: len(g)], _squares(g)])
        else:
            raise InputError(f"unknown metric {metric!r}: expected cosine or sqeuclidean")
        self._query, self._gallery = (side if device is None else on_device(device, side) for side in sides)
        self._metric = metric

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float32] | torch.Tensor:
        """Distances of some query rows to some gallery rows. len(query_rows) x len(gallery_rows), float32."""
        distances = self._query[query_rows] @ self._gallery[gallery_rows].T
        if self._metric == "sqeuclidean":  # rounding may have gone below 0; in place, as a block is large
            if isinstance(distances, np.ndarray):
                np.maximum(distances, 0, out=distances)
            else:
                distances.clamp_(min=0)
        return distances


def on_device(device: str, vectors: NDArray[np.float32]) -> Any:
    """Vectors as a tensor on a device. Raises InputError if it cannot be used here."""
    import torch

    try:
        return torch.tensor(vectors, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {device}: {str(error).splitlines()[0]}") from None


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row at length 1; a row of zeros stays. N x D, float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors)[:, None], np.float32)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that cover `rows` in order, each small enough for a block of distances to all `columns`."""
    size = max(1, min(BLOCK_ROWS, BLOCK_DISTANCES // max(columns, 1)))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def as_array(distances: ArrayLike | torch.Tensor) -> Floats:
    """Distances as a NumPy matrix, without a copy where possible.

    Arrays and tensors alike: float32 and float64 stay, shorter floating point becomes float32, and integers of any
    length float64, which holds every int32 exactly.
    """
    if hasattr(distances, "detach"):
        distances = _floating(distances.detach()).cpu().numpy()
    array = np.asarray(distances)
    if array.dtype == np.float32:
        return np.asarray(array, np.float32)
    return array.astype(np.float32) if array.dtype == np.float16 else np.asarray(array, np.float64)


def as_matrix(distances: ArrayLike | torch.Tensor) -> Floats | torch.Tensor:
    """As `as_array`, but a tensor on another device than the CPU stays there."""
    given: Any = distances
    if hasattr(given, "detach") and given.device.type != "cpu":
        return _floating(given.detach())
    return as_array(distances)


def _floating(tensor: torch.Tensor) -> torch.Tensor:
    short = tensor.is_floating_point() and tensor.element_size() < 8
    return tensor.float() if short else tensor.double()


def topk(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    k: int,
    *,
    metric: Metric = "cosine",
    matches: Matches | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest gallery vectors of every query vector, exactly, in blocks.

    Args:
        query: Q x D, float32.
        gallery: G x D, float32.
        k: at least 1.
        metric: `cosine` or `sqeuclidean`.
        matches: leave out what its protocol ignores.

    Returns:
        Gallery rows, Q x min(k, G) int64, nearest first (of equal distances the earlier gallery row first), and their
        distances, float64. Where fewer rows are left than asked for, the row is -1 and the distance infinite.

    Raises:
        InputError: k below 1, or vectors of different width.
    """
    return nearest(DotProduct(query, gallery, metric), np.arange(len(query)), len(gallery), k, matches)


def nearest(
    scorer: Scorer, queries: NDArray[np.int64], gallery: int, k: int, matches: Matches | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `topk`, for some query rows of any Scorer whose gallery has `gallery` rows."""
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    k = min(k, gallery)
    rows, near_by = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf)
    for part in blocks(len(queries), gallery):
        distances = as_array(scorer.block(queries[part], slice(0, gallery)))
        if matches is not None:
            distances = distances.copy()
            for row, query in zip(distances, queries[part].tolist()):
                row[matches.left_out(query)] = np.nan
        rows[part], near_by[part] = smallest(distances, k)
    return rows, near_by


def smallest(distances: Floats | torch.Tensor, k: int) -> tuple[NDArray[np.int64], Floats]:
    """The k smallest distances of every row of a block, exactly.

    Args:
        distances: n x G; NaN is left out. A tensor is searched on its device.
        k: from 1 to G.

    Returns:
        Columns, n x k int64, nearest first and of equals the earlier first, and their distances. Where a row has fewer
        than k, the column is -1 and the distance infinite.
    """
    n, width = distances.shape
    # Whatever is no larger than a bound is a candidate. To find the k-th smallest value costs as much as the
    # product; the k-th smallest among the minima of groups of columns costs little and lets few others in. A group's
    # columns lie far apart, because near rows stand side by side where a set is sorted by identity.
    if isinstance(distances, np.ndarray):
        depth = max(1, width // (GROUPS * k))
        groups = width // depth
        minima = np.fmin.reduce(distances[:, : depth * groups].reshape(n, depth, groups), axis=1)
        bound = np.partition(minima, k - 1, axis=1)[:, k - 1 : k]
        cells = np.flatnonzero(distances <= np.where(np.isnan(bound), np.inf, bound))
        values = distances.reshape(-1)[cells]
    else:
        limit = distances.topk(k, largest=False).values[:, -1:]
        found = (distances <= limit.masked_fill(limit.isnan(), np.inf)).flatten().nonzero()[:, 0]
        cells, values = found.cpu().numpy(), as_array(distances.flatten()[found])
    columns, nearest = np.full((n, k), -1), np.full((n, k), np.inf, values.dtype)
    ends = cells.searchsorted(np.arange(n + 1) * width)
    for row in range(n):
        candidates = slice(*ends[row : row + 2])
        order = np.argsort(values[candidates], kind="stable")[:k]
        columns[row, : len(order)] = cells[candidates][order] - row * width
        nearest[row, : len(order)] = values[candidates][order]
    return columns, nearest
