"""Triplet losses over a batch: batch-hard and weighted-regularised. To be called outside of autocast."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Distance: TypeAlias = Literal["euclidean", "cosine"]


def pairwise_distances(a: Tensor, b: Tensor, eps: float = 1e-12) -> Tensor:
    """Euclidean distances, N x D and M x D to N x M, with a gradient that stays finite where points coincide."""
    squared = a.pow(2).sum(1, keepdim=True) + b.pow(2).sum(1) - 2 * a @ b.T
    return squared.clamp(min=eps).sqrt()


def cosine_distances(a: Tensor, b: Tensor) -> Tensor:
    """1 minus the cosine similarity, N x D and M x D to N x M; a vector of zeros is at distance 1 from every other."""
    return 1 - F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


DISTANCES = {"euclidean": pairwise_distances, "cosine": cosine_distances}
"""What the losses of a batch measure between embeddings, by name."""


def positives(labels: Tensor) -> Tensor:
    """B x B, bool: which other rows are of the same identity. labels B."""
    return (labels[:, None] == labels).fill_diagonal_(False)


def batch_hard_triplet(
    embeddings: Tensor,
    labels: Tensor,
    margin: float | None = 0.3,
    distance: Distance = "euclidean",
    anchors: int | None = None,
) -> Tensor:
    """Batch-hard triplet loss (Hermans et al. 2017, equation 5).

    For every anchor its farthest positive and nearest negative; anchors that lack either are left out.

    Args:
        embeddings: B x D.
        labels: B, int64.
        margin: of the hinge; None for the soft margin log(1 + exp(positive - negative)).
        distance: between embeddings; a key of `DISTANCES`.
        anchors: how many rows, from the first on, are anchors; the others are their positives and negatives alone. None
            for all.

    Returns:
        The mean over anchors; 0, still differentiable, if there are none.
    """
    distances = DISTANCES[distance](embeddings, embeddings)
    same, positive = labels[:, None] == labels, positives(labels)
    hardest_positive = distances.masked_fill(~positive, -torch.inf).amax(1)
    hardest_negative = distances.masked_fill(same, torch.inf).amin(1)
    asked = positive.any(1) & (~same).any(1)
    if anchors is not None:
        asked[anchors:] = False
    if not asked.any():
        return distances.sum() * 0
    difference = (hardest_positive - hardest_negative)[asked]
    losses = F.softplus(difference) if margin is None else F.relu(difference + margin)
    return losses.mean()


def weighted_regularised_triplet(embeddings: Tensor, labels: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Weighted-regularised triplet loss (Ye et al., TPAMI 2021, AGW, equations 4 and 5).

    Every positive and negative counts: positives with softmax weights of their distance, negatives of its opposite.

    Args:
        embeddings: B x D.
        labels: B, int64.
        distance: between embeddings; a key of `DISTANCES`.

    Returns:
        The mean over anchors that have a positive and a negative; 0, still differentiable, if there are none.
    """
    distances = DISTANCES[distance](embeddings, embeddings)
    same, positive = labels[:, None] == labels, positives(labels)
    anchors = positive.any(1) & (~same).any(1)
    if not anchors.any():
        return distances.sum() * 0
    d, p, n = distances[anchors], positive[anchors], ~same[anchors]
    far = (d.masked_fill(~p, -torch.inf).softmax(1) * d).sum(1)
    near = ((-d).masked_fill(~n, -torch.inf).softmax(1) * d).sum(1)
    return F.softplus(far - near).mean()
