"""Vectors mended by their neighbours before ranking: query expansion, database augmentation, multi-query.

Unlike re-ranking these change the vectors, so whatever ranks vectors ranks the result, at no further cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from reidentify.errors import InputError
from reidentify.ranking.distance import topk, unit
from reidentify.ranking.matches import UNKNOWN
from reidentify.ranking.parts import require_whole
from reidentify.values import DISTRACTOR, Embeddings


def average_query_expansion(query: Embeddings, gallery: Embeddings, k: int = 5, alpha: float = 0.0) -> Embeddings:
    """Each query vector becomes the mean of itself and its k nearest gallery vectors.

    AQE, after Chum et al., "Total Recall", ICCV 2007; with alpha above 0 it is alpha-QE of Radenovic, Tolias and
    Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019, where a neighbour weighs
    max(cosine, 0) ** alpha, and the query 1.

    Neighbours are found by vectors alone: no label is looked at, and rows that a protocol ignores, as those of the
    query's own camera, may be among them. They change the query and are still ignored in its ranking list.

    Args:
        query, gallery: vectors of one width; they are compared, and averaged, at unit length.
        k: neighbours, at least 1; more than the gallery has are as many as it has.
        alpha: 0 or more.

    Returns:
        The query with vectors of unit length.

    Raises:
        InputError: k or alpha outside its range, or vectors of different width.
    """
    for side in (query, gallery):
        require_whole(side, "query expansion")
    rows, distances = topk(query.vectors, gallery.vectors, k)
    return Embeddings(_mean(query.vectors, gallery.vectors, rows, distances, alpha), query.sightings)


def database_augmentation(gallery: Embeddings, k: int = 5, alpha: float = 0.0) -> Embeddings:
    """Each gallery vector becomes the mean of itself and its k nearest others.

    After Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012
    (database-side feature augmentation). Weights and the search by vectors alone are those of
    `average_query_expansion`.

    Args:
        gallery: vectors; they are compared, and averaged, at unit length.
        k: neighbours, at least 1; more than the other rows are as many as there are.
        alpha: 0 or more.

    Returns:
        The gallery with vectors of unit length.

    Raises:
        InputError: k or alpha outside its range.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    require_whole(gallery, "database augmentation")
    rows, distances = topk(gallery.vectors, gallery.vectors, k + 1)
    # A row is not its own neighbour. It may be missing among the nearest, where more than k others equal it.
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = len(rows), rows.shape[1] - 1
    others, others_distances = rows[~own].reshape(shape), distances[~own].reshape(shape)
    return Embeddings(_mean(gallery.vectors, gallery.vectors, others, others_distances, alpha), gallery.sightings)


def multi_query(query: Embeddings, gallery: Embeddings) -> Embeddings:
    """Each query vector becomes the mean of all vectors of its identity and camera in query and gallery.

    The multi-query setting of Market-1501 (Zheng et al., "Scalable Person Re-identification", ICCV 2015): a whole
    pass before one camera asks, instead of one of its images. It uses labels, as that setting does, and takes nothing
    from the answers: gallery rows of the query's identity and camera are junk for that query anyway. The published
    setting averages hand-drawn boxes (`gt_bbox`); here it is the boxes of query and gallery. A query without an
    identity (pid 0 or -1) or a known camera stays alone.

    Args:
        query, gallery: vectors of one width, averaged at unit length, with their cameras.

    Returns:
        The query with vectors of unit length.

    Raises:
        InputError: cameras missing on a side, or vectors of different width.
    """
    for side, rows in (("query", query), ("gallery", gallery)):
        require_whole(rows, "multi-query")
        if rows.sightings.camids is None:
            raise InputError(f"multi-query joins the images of one camera: the {side} has no camids")
    everyone = Embeddings.concat([query, gallery])
    pids, camids = everyone.sightings.pids, everyone.sightings.camids
    assert camids is not None
    known = (pids > DISTRACTOR) & (camids != UNKNOWN)
    # Rows of a group share a number; a row that belongs to none has one to itself.
    alone = np.where(known, -1, np.arange(len(everyone)))
    _, group = np.unique(np.stack([pids, camids, alone]), axis=1, return_inverse=True)
    member = sparse.csr_array((np.ones(len(group), np.float32), (group, np.arange(len(group)))))
    sums = member @ unit(everyone.vectors)
    return Embeddings(unit(sums[group[: len(query)]]), query.sightings)


def _mean(
    vectors: NDArray[np.float32],
    others: NDArray[np.float32],
    rows: NDArray[np.int64],
    distances: NDArray[np.float64],
    alpha: float,
) -> NDArray[np.float32]:
    """Unit vectors along each vector plus its weighted neighbours, which are `rows` of `others`."""
    if not 0 <= alpha < np.inf:
        raise InputError(f"alpha must be a number from 0, got {alpha!r}")
    weights = (np.maximum(1 - distances, 0) ** alpha).astype(np.float32)
    total, neighbours = unit(vectors), unit(others)
    for place in range(rows.shape[1]):
        total = total + weights[:, place, None] * neighbours[rows[:, place]]
    return unit(total)
