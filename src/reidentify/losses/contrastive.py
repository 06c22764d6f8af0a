"""The contrastive loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def contrastive(a: Tensor, b: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Half the squared distance of pairs of one person, and half the squared shortfall from the margin of others.

    Hadsell, Chopra and LeCun (CVPR 2006), equation 4, of vectors scaled to unit length; the mean over pairs.

    Args:
        a: B x D.
        b: B x D.
        same: B, bool or 0 and 1.
        margin: two people farther apart cost nothing; distances go from 0 to 2.
    """
    squared = (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(1)
    distance = (squared + 1e-12).sqrt()  # the root has no gradient at 0
    positive = same.to(squared)
    return 0.5 * (positive * squared + (1 - positive) * F.relu(margin - distance).square()).mean()
