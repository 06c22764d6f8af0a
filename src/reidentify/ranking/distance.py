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
        self._floor = 0.0 if metric == "sqeuclidean" else None

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float32] | torch.Tensor:
        """Distances of some query rows to some gallery rows. len(query_rows) x len(gallery_rows), float32."""
        distances = self._query[query_rows] @ self._gallery[gallery_rows].T
        return distances if self._floor is None else distances.clip(self._floor)


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
    """Distances as a NumPy matrix, float32 or float64 (integers become float64), without a copy where possible."""
    if hasattr(distances, "detach"):
        tensor = distances.detach()
        distances = (tensor.double() if tensor.element_size() == 8 else tensor.float()).cpu().numpy()
    array = np.asarray(distances)
    if array.dtype == np.float32:
        return np.asarray(array, np.float32)
    return array.astype(np.float32) if array.dtype == np.float16 else np.asarray(array, np.float64)


def as_matrix(distances: ArrayLike | torch.Tensor) -> Floats | torch.Tensor:
    """As `as_array`, but a tensor on another device than the CPU stays there."""
    given: Any = distances
    if hasattr(given, "detach") and given.device.type != "cpu":
        tensor: torch.Tensor = given.detach()
        return tensor if tensor.element_size() == 8 else tensor.float()
    return as_array(distances)


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
        for i, distances in enumerate(as_array(scorer.block(queries[part], slice(0, gallery))), part.start):
            if matches is not None:
                # NaN sorts behind everything: the row is out of the list.
                distances = distances.copy()
                distances[matches.left_out(int(queries[i]))] = np.nan
            near = smallest(distances, k)
            rows[i, : len(near)], near_by[i, : len(near)] = near, distances[near]
    return rows, near_by


def smallest(distances: Floats, k: int) -> NDArray[np.int64]:
    """Columns of the k smallest distances of a row, nearest first, of equals the earlier first; NaN is left out."""
    # Everything up to the k-th smallest value, then a stable sort: ties keep the order of the gallery.
    limit = np.partition(distances, k - 1)[k - 1]
    near = np.flatnonzero(~np.isnan(distances) if np.isnan(limit) else distances <= limit)
    return near[np.argsort(distances[near], kind="stable")[:k]]
