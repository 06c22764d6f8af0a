"""Attribute-aware identity-hard triplet loss: pictures of one person that differ in attributes. Outside of autocast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reidentify.losses.triplet import positives


def attribute_distances(logits: Sequence[Tensor]) -> Tensor:
    """Euclidean distances between the predicted attributes of the rows of a batch.

    Args:
        logits: of each attribute of one group, B x values; one after another they are a row's vector.

    Returns:
        B x B, float32, without gradient.
    """
    vectors = torch.cat([some.detach().float() for some in logits], 1)
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


def aitl(distances: Tensor, attribute_distances: Tensor, labels: Tensor, released: bool = False) -> Tensor:
    """Attribute-aware identity-hard triplet loss (Chen et al. 2020, arXiv 2006.07597).

    Among the positives of an anchor i, the one whose predicted attributes differ most (hard) must be no farther than
    the one whose attributes differ least (easy): max(0, D(i, hard) - D(i, easy)), averaged over the anchors. The
    anchor is no positive of its own, so an anchor counts if its identity has two other rows. Of equal attribute
    distances the first row is taken.

    In the authors' released code the anchor is among its own positives. It is then always the easy one, at distance 0,
    and the loss is the mean distance to the positive with the most different attributes; one other row is enough.

    Args:
        distances: B x B, D, between embeddings.
        attribute_distances: B x B, from the function of that name; they choose, and get no gradient.
        labels: B, int64.
        released: compute what the released code does.

    Returns:
        A scalar; 0, still differentiable, if no anchor counts.
    """
    positive, chosen_by = positives(labels), attribute_distances.detach()
    anchors = positive.sum(1) >= (1 if released else 2)
    if not anchors.any():
        return distances.sum() * 0
    hard = chosen_by.masked_fill(~positive, -torch.inf).argmax(1, keepdim=True)
    easy = chosen_by.masked_fill(~positive, torch.inf).argmin(1, keepdim=True)
    near = distances.diagonal()[:, None] if released else distances.gather(1, easy)
    return F.relu(distances.gather(1, hard) - near)[anchors].mean()
