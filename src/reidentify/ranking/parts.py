"""Body parts: two pictures are compared by the parts that both show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.ranking.distance import DotProduct, Rows, Scorer, on_device, unit
from reidentify.values import Embeddings

if TYPE_CHECKING:
    import torch


_PAIRS = 4096  # compared at once


class PartDotProduct:
    """Distances between vectors of P parts, from two matrix products a block.

    The distance of a pair is the mean of the cosine distances of its parts, each weighed by the product of its two
    visibilities: sum_p v_p w_p (1 - cos_p) / sum_p v_p w_p, from 0 to 2. A pair without a common part is compared by
    part 0, the whole picture. After Sun et al., "Perceive Where to Focus" (VPM), CVPR 2019, equation 5, with products
    of visibilities for both images.

    Args:
        query, gallery: Embeddings with the visibility of the same number of parts.
        device: where torch multiplies, e.g. "cuda"; blocks are then tensors there. None: NumPy does, on the CPU.

    Raises:
        InputError: a side without parts, or parts of another number or width.
    """

    def __init__(self, query: Embeddings, gallery: Embeddings, device: str | None = None) -> None:
        shapes = [
            None if side.visibility is None else (side.visibility.shape[1], side.vectors.shape[1])
            for side in (query, gallery)
        ]
        if None in shapes or shapes[0] != shapes[1]:
            raise InputError(
                "query and gallery must both tell the visibility of the same body parts: embed both with the same"
                " network"
            )

        def place(values: NDArray[np.float32]) -> Any:
            return values if device is None else on_device(device, values)

        (q, v), (g, w) = _sides(query), _sides(gallery)
        # As in `DotProduct`, the constant of the formula is in the product: sum of v w minus the weighted cosines.
        self._sides = place(np.hstack([-_weighted(q, v), v])), place(np.hstack([_weighted(g, w), w]))
        self._visibility = place(v), place(w)
        self._whole = place(q[:, 0].copy()), place(g[:, 0].copy())  # a view would keep all parts in memory

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float32] | torch.Tensor:
        """Distances of some query rows to some gallery rows. len(query_rows) x len(gallery_rows), float32."""

        def product(sides: tuple[Any, Any]) -> Any:
            return sides[0][query_rows] @ sides[1][gallery_rows].T

        common = product(self._visibility)
        alone = common == 0
        common[alone] = 1
        distances = product(self._sides)
        distances /= common
        if alone.any():
            distances[alone] = 1 - product(self._whole)[alone]
        return distances.clip(0, 2)


def appearance(query: Embeddings, gallery: Embeddings, device: str | None = None) -> Scorer:
    """What compares embeddings: their body parts where they tell the visibility of these, else their vectors.

    Raises:
        InputError: one side tells parts and the other does not, or their vectors have another width.
    """
    if query.visibility is None and gallery.visibility is None:
        return DotProduct(query.vectors, gallery.vectors, device=device)
    return PartDotProduct(query, gallery, device)


def pair_similarities(rows: Embeddings, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
    """1 minus the distance by `appearance` of chosen pairs of rows: the cosine similarity of vectors.

    Args:
        rows: N Embeddings.
        first, second: M rows each.

    Returns:
        M, float32.
    """
    if rows.visibility is None:
        vectors, weights = unit(rows.vectors)[:, None], np.ones((len(rows), 1), np.float32)
    else:
        vectors, weights = _sides(rows)
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), _PAIRS):
        i, j = first[start : start + _PAIRS], second[start : start + _PAIRS]
        cosines, common = np.einsum("npd,npd->np", vectors[i], vectors[j]), weights[i] * weights[j]
        common[common.sum(1) == 0, 0] = 1
        found[start : start + _PAIRS] = (cosines * common).sum(1) / common.sum(1)
    return found


def gathered(
    vectors: NDArray[np.float32], visibility: NDArray[np.float32], frames: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tracklets from what was added up over their frames.

    Args:
        vectors: N x (P D), sums of the parts' vectors, each of which is as long as the part is visible.
        visibility: N x P, sums.
        frames: N, how many were added up.

    Returns:
        Vectors of unit length, N x (P D), whose parts are all of one length but for those that no frame shows, which
        are 0; and the mean visibility, N x P.
    """
    each = unit(vectors.reshape(visibility.size, -1)).reshape(vectors.shape)
    return unit(each), np.clip(visibility / frames[:, None], 0, 1).astype(np.float32)


def require_whole(rows: Embeddings, what: str) -> None:
    """Make sure that rows are described by one vector each.

    Raises:
        InputError: they have body parts, of which some may be unseen; it says that `what` cannot be done with them.
    """
    if rows.visibility is not None:
        raise InputError(f"{what} needs one vector for each row, and these have body parts: embed with parts=False")


def _sides(rows: Embeddings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Parts of unit length, N x P x D, and their visibility, N x P."""
    assert rows.visibility is not None
    n, parts = rows.visibility.shape
    return unit(rows.vectors.reshape(n * parts, -1)).reshape(n, parts, -1), rows.visibility


def _weighted(parts: NDArray[np.float32], visibility: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((parts * visibility[:, :, None]).reshape(len(parts), -1))
