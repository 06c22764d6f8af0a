"""k-reciprocal re-ranking, exact and sparse: what two pictures have in common is who counts both as near.

After Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. With
N = Q + G rows, queries first: one blocked pass over all N x N distances keeps the nearest of every row and its
largest distance, and everything else is algebra on sparse matrices of some dozens of entries a row. No N x N matrix
ever exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from reidentify.errors import InputError
from reidentify.ranking.distance import DotProduct, Metric, Rows, Scorer, as_array, as_matrix, blocks, smallest

if TYPE_CHECKING:
    import torch

Matrix: TypeAlias = "NDArray[Any] | torch.Tensor"
Base: TypeAlias = Literal["euclidean", "sqeuclidean", "sqeuclidean-squared", "cosine", "cosine-squared"]

BASES: dict[Base, tuple[Metric, float]] = {
    "euclidean": ("sqeuclidean", 0.5),
    "sqeuclidean": ("sqeuclidean", 1.0),
    "sqeuclidean-squared": ("sqeuclidean", 2.0),
    "cosine": ("cosine", 1.0),
    "cosine-squared": ("cosine", 2.0),
}
"""Name of a base distance to a metric and the power it is raised to. A power does not change who is near, and a
constant factor cancels when a row is divided by its maximum."""

MEMBER_ROWS = 32
"""Rows whose sets are measured in one block: it spans all their members, so more rows waste more products."""
OVERLAP_ROWS = 16
"""Queries whose overlaps with the whole gallery are summed at once, in float64."""


@dataclass(frozen=True)
class KReciprocal:
    """Re-ranking by k-reciprocal nearest neighbours.

    Distances are the strong baseline's unless `base` says otherwise. The bases in use, by who uses them:

    - `euclidean`: the original MATLAB code of Zhong et al.
    - `sqeuclidean`: strong baseline and AGW. Squared Euclidean of the vectors as given, not squared again.
    - `sqeuclidean-squared`: torchreid, which is fed squared Euclidean distances and squares what it is fed.
    - `cosine`: st-ReID's 2 - 2s.
    - `cosine-squared`: layumi's (2 - 2cos)^2 and yuange's (1 - cos)^2.

    The steps are those of the NumPy code that all but the first of them use. It differs from the MATLAB original in
    the sets that expand a neighbourhood: they have round(k1 / 2) + 1 entries (half to even) instead of
    round((k1 + 1) / 2), which is the same for every even k1 (11 for 20) and one more for k1 = 3, 7, 11, ... The NumPy
    code divides columns by their maxima and transposes; here rows are divided, which is the same, as distances are
    symmetric. Of equal distances the earlier row is nearer.

    Args:
        k1: the neighbours, besides itself, that a row's set is drawn from. At least 1.
        k2: the nearest rows, itself included, whose encodings are averaged; 1 leaves them as they are.
        lambda_value: the share of the base distance in the final one, from 0 to 1; the rest is the Jaccard distance.
        base: the distance between vectors; for `of_scorer` it is the scorer's, as given.

    Raises:
        InputError: a setting outside its range.
    """

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3
    base: Base = "sqeuclidean"

    def __post_init__(self) -> None:
        for name in ("k1", "k2"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"{name} of the re-ranking must be a whole number from 1, got {value!r}")
        if not isinstance(self.lambda_value, (int, float)) or not 0 <= self.lambda_value <= 1:
            raise InputError(f"lambda_value of the re-ranking must lie between 0 and 1, got {self.lambda_value!r}")
        if not isinstance(self.base, str) or self.base not in BASES:
            raise InputError(f"unknown base distance {self.base!r} of the re-ranking: expected {', '.join(BASES)}")

    def of_vectors(self, query_vectors: Matrix, gallery_vectors: Matrix, *, progress: bool = False) -> Reranked:
        """Re-rank by the base distance between vectors.

        Args:
            query_vectors: Q x D, an array or a tensor; the products run on the tensor's device.
            gallery_vectors: G x D, of the same kind.
            progress: show a progress bar where a person is there to see it.

        Returns:
            Q x G final distances from 0 to 1, measured when they are asked for.

        Raises:
            InputError: an empty side, vectors of different width or kind, or vectors with NaN or infinity.
        """
        metric, power = BASES[self.base]
        everything = _AllPairs(query_vectors, gallery_vectors, metric)
        return self._rerank(everything, len(query_vectors), len(gallery_vectors), power, progress)

    def of_scorer(self, everything: Scorer, queries: int, gallery: int, *, progress: bool = False) -> Reranked:
        """Re-rank by the distances of any scorer.

        Args:
            everything: measures all N = queries + gallery rows, queries first, against all N: symmetric distances,
                0 or more.
            queries, gallery: how many rows there are of each.
            progress: show a progress bar where a person is there to see it.

        Returns:
            Q x G final distances from 0 to 1, measured when they are asked for.

        Raises:
            InputError: an empty side, or distances with NaN, infinity or negative values.
        """
        return self._rerank(everything, queries, gallery, 1.0, progress)

    def _rerank(self, everything: Scorer, queries: int, gallery: int, power: float, progress: bool) -> Reranked:
        for side, rows in (("query", queries), ("gallery", gallery)):
            if rows < 1:
                raise InputError(f"the {side} is empty: there is nothing to re-rank")
        k = min(max(self.k1 + 1, self.k2), queries + gallery)
        neighbours, farthest = _search(everything, queries + gallery, k, progress)
        base = _Normalised(everything, farthest, power)
        encodings = _expand(_encode(base, neighbours, self.k1), neighbours, self.k2)
        return Reranked(base, encodings, queries, self.lambda_value)


def k_reciprocal(
    query_vectors: Matrix,
    gallery_vectors: Matrix,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    base: Base = "sqeuclidean",
    progress: bool = False,
) -> Matrix:
    """Re-ranked distances of every query to every gallery row; `KReciprocal` explains the arguments.

    Returns:
        Q x G, float32, smaller is nearer: an array, or a tensor on the device of the vectors.
    """
    scorer = KReciprocal(k1, k2, lambda_value, base).of_vectors(query_vectors, gallery_vectors, progress=progress)
    shape = len(query_vectors), len(gallery_vectors)
    distances: Any
    if hasattr(query_vectors, "detach"):
        import torch

        distances = torch.empty(shape, device=query_vectors.device)
    else:
        distances = np.empty(shape, np.float32)
    for rows in _tracked(list(blocks(*shape)), "distances", progress):
        distances[rows] = scorer.block(rows, slice(0, shape[1]))
    return distances


class Reranked:
    """The re-ranked distances, a Scorer over Q x G: what is kept is sparse, and a block is measured when asked for.

    Args:
        base: normalised distances between all N rows, queries first.
        encodings: N x N, sparse: how much each row counts the others as its own; rows sum to 1.
        queries: Q.
        lambda_value: the share of the base distance.
    """

    def __init__(self, base: _Normalised, encodings: sparse.csr_array, queries: int, lambda_value: float) -> None:
        self._base, self._lambda, self._queries = base, lambda_value, queries
        self._encodings = encodings[:queries]
        # Inverted index: for every row, the gallery rows that count it as their own.
        self._inverted = encodings[queries:].T.tocsr()

    def block(self, query_rows: Rows, gallery_rows: Rows) -> Matrix:
        """Distances of some query rows to some gallery rows. float32, on the device of the base distances."""
        queries, gallery = self._queries, self._inverted.shape[1]
        base = self._base.block(_shifted(query_rows, queries, 0), _shifted(gallery_rows, gallery, queries))
        jaccard: Matrix = self._jaccard(np.arange(queries)[query_rows], gallery_rows)
        if not isinstance(base, np.ndarray):
            jaccard = base.new_tensor(jaccard)
        base *= self._lambda
        base += (1 - self._lambda) * jaccard
        return base

    def _jaccard(self, query_rows: NDArray[np.int64], gallery_rows: Rows) -> NDArray[np.float32]:
        gallery = self._inverted.shape[1]
        distances = np.empty((len(query_rows), len(np.arange(gallery)[gallery_rows])), np.float32)
        for start in range(0, len(query_rows), OVERLAP_ROWS):
            mine = self._encodings[query_rows[start : start + OVERLAP_ROWS]]
            theirs = self._inverted[mine.indices]  # one row for each entry of `mine`
            lengths = np.diff(theirs.indptr)
            least = np.minimum(np.repeat(mine.data, lengths), theirs.data)
            cells = np.repeat(_owners(mine) * gallery, lengths) + theirs.indices
            common = np.bincount(cells, least, mine.shape[0] * gallery).reshape(-1, gallery)[:, gallery_rows]
            distances[start : start + OVERLAP_ROWS] = (2 - 2 * common) / (2 - common)  # 1 - common / (2 - common)
        return distances


class _Normalised:
    """Distances of a scorer over the largest of their row, raised to a power. From 0 to 1, float32."""

    def __init__(self, scorer: Scorer, farthest: NDArray[np.float32], power: float) -> None:
        self._scorer, self._farthest, self._power = scorer, farthest, power

    def block(self, query_rows: Rows, gallery_rows: Rows) -> Matrix:
        distances = self._scorer.block(query_rows, gallery_rows)
        farthest = self._farthest[query_rows][:, None]
        if isinstance(distances, np.ndarray):
            shares: Matrix = np.asarray(distances / farthest, np.float32)
        else:
            shares = distances.float() / distances.new_tensor(farthest).float()
        return shares if self._power == 1 else shares**self._power


class _AllPairs:
    """Distances between all rows, queries first, of arrays or tensors. A row is at distance 0 from itself.

    The product would leave a rounding error there, large enough to matter once it is under a root.
    """

    def __init__(self, query: Matrix, gallery: Matrix, metric: Metric) -> None:
        sides = as_array(query), as_array(gallery)
        if any(v.ndim != 2 for v in sides) or sides[0].shape[1] != sides[1].shape[1]:
            raise InputError(
                f"query and gallery vectors must be two matrices of the same width, got {sides[0].shape} and"
                f" {sides[1].shape}: embed both with the same network"
            )
        devices = [str(v.device) if hasattr(v, "detach") else None for v in (query, gallery)]
        if devices[0] != devices[1]:
            raise InputError("query and gallery vectors must both be arrays, or both tensors on one device")
        vectors = np.concatenate(sides).astype(np.float32, copy=False)
        self._product = DotProduct(vectors, vectors, metric, devices[0])
        self._count = len(vectors)

    def block(self, query_rows: Rows, gallery_rows: Rows) -> Matrix:
        distances = self._product.block(query_rows, gallery_rows)
        column = np.full(self._count, -1)
        column[gallery_rows] = np.arange(distances.shape[1])
        own = column[query_rows]
        here = np.flatnonzero(own >= 0)
        distances[here, own[here]] = 0
        return distances


def _search(scorer: Scorer, count: int, k: int, progress: bool) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k nearest rows of every row, nearest first (count x k), and its largest distance, 1 where that is 0."""
    rows, farthest = np.empty((count, k), np.int32), np.empty(count, np.float32)
    for part in _tracked(list(blocks(count, count)), "neighbours", progress):
        distances = as_matrix(scorer.block(part, slice(0, count)))
        largest = as_array(distances.max(1) if isinstance(distances, np.ndarray) else distances.amax(1))
        if not np.isfinite(largest).all():
            row = part.start + int(np.argmin(np.isfinite(largest)))
            raise InputError(f"row {row} of query and gallery joined has a distance of NaN or infinity: see its vector")
        rows[part], near_by = smallest(distances, k)
        least = near_by[:, 0]
        if (least < -1e-5 * largest).any():
            row = part.start + int(np.argmin(least))
            raise InputError(f"re-ranking needs distances of 0 or more, row {row} has one of {least.min():.3g}")
        farthest[part] = np.where(largest > 0, largest, 1)
    return rows, farthest


def _encode(base: Scorer, neighbours: NDArray[np.int32], k1: int) -> sparse.csr_array:
    """How much each row counts the others as its own, by its expanded k-reciprocal set. N x N; rows sum to 1."""
    reciprocal = _mutual(neighbours[:, : k1 + 1])
    half = _mutual(neighbours[:, : round(k1 / 2) + 1])
    # A neighbour brings its own smaller set where more than two thirds of that are neighbours already.
    expanding = (reciprocal @ half).multiply(reciprocal).tocsr()
    sizes = np.diff(half.indptr)
    expanding.data = (3 * expanding.data > 2 * sizes[expanding.indices]).astype(np.int32)
    expanding.eliminate_zeros()
    encodings = reciprocal + expanding @ half
    weights = np.exp(-_measured(base, encodings))
    owners = _owners(encodings)
    encodings.data = (weights / np.bincount(owners, weights)[owners]).astype(np.float32)
    return encodings


def _measured(base: Scorer, pairs: sparse.csr_array) -> NDArray[np.float64]:
    """The distance of every stored pair, in the order they are stored."""
    distances = np.empty(pairs.nnz)
    for start in range(0, pairs.shape[0], MEMBER_ROWS):
        part = pairs[start : start + MEMBER_ROWS]
        columns, place = np.unique(part.indices, return_inverse=True)
        block = base.block(slice(start, start + part.shape[0]), columns.astype(np.int64))
        first = pairs.indptr[start]
        distances[first : first + part.nnz] = as_array(block[_owners(part), place])
    return distances


def _expand(encodings: sparse.csr_array, neighbours: NDArray[np.int32], k2: int) -> sparse.csr_array:
    """Local query expansion: the mean encoding of a row's k2 nearest."""
    if k2 == 1:
        return encodings
    near = neighbours[:, :k2]
    return (_links(near, np.float32(1 / near.shape[1])) @ encodings).tocsr()


def _mutual(near: NDArray[np.int32]) -> sparse.csr_array:
    """Ones where two rows are near each other. N x N, int32, symmetric."""
    links = _links(near, np.int32(1))
    return links.multiply(links.T.tocsr()).tocsr()


def _links(near: NDArray[np.int32], value: np.generic) -> sparse.csr_array:
    """The same value from every row to each of its near rows. N x N."""
    n, k = near.shape
    ends = np.arange(0, n * k + 1, k)
    return sparse.csr_array((np.full(n * k, value), near.flatten(), ends), shape=(n, n))


def _owners(matrix: sparse.csr_array) -> NDArray[np.int64]:
    """The row of each stored entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _shifted(rows: Rows, count: int, offset: int) -> Rows:
    """The same rows of `count` after `offset` others; a slice stays a slice, which copies nothing."""
    if isinstance(rows, slice) and rows.step in (None, 1):
        start, stop, _ = rows.indices(count)
        return slice(start + offset, stop + offset)
    return np.arange(count)[rows] + offset


def _tracked(parts: Sequence[slice], title: str, progress: bool) -> Iterable[slice]:
    """`parts` under a progress bar, where one is wanted and a person is there to see it."""
    if not progress:
        return parts
    from rich.console import Console
    from rich.progress import track

    console = Console()
    return track(parts, title, console=console, disable=not console.is_terminal)
