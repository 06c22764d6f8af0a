"""What every network returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Output:
    """What a network says of B rows; a loss reads what it needs.

    Args:
        embedding: B x D. In training mode the vector that metric losses see (before the BN neck where there is one),
            in evaluation mode the vector that is compared.
        logits: B x C class scores, or B x P x C for a network that classifies P parts separately; None in evaluation
            mode and for networks without a classifier.
        parts: B x P x D, one vector per body part or stripe, not normalised.
        visibility: B x P, from 0 (unseen) to 1.
        attributes: logits per attribute name, B x values.
        maps: named spatial maps, B x ... x H x W, for inspection and for losses on attention.
    """

    embedding: Tensor
    logits: Tensor | None = None
    parts: Tensor | None = None
    visibility: Tensor | None = None
    attributes: dict[str, Tensor] = field(default_factory=dict)
    maps: dict[str, Tensor] = field(default_factory=dict)
