"""Attribute heads: what is read off a feature besides the identity."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from reidentify.values import Attribute


class AttributeHead(nn.Module):
    """A linear layer that gives each value of each attribute a score.

    `forward` maps B x C to a dictionary from the attribute's name to logits, B x values.

    Args:
        features: C.
        schema: the attributes, in order.
        norm: BatchNorm first, so that the layer learns at the pace of others however small the features are.
    """

    def __init__(self, features: int, schema: Sequence[Attribute], norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features, affine=False) if norm else nn.Identity()
        self.names = [attribute.name for attribute in schema]
        self.sizes = [len(attribute.values) for attribute in schema]
        self.linear = nn.Linear(features, sum(self.sizes))
        nn.init.normal_(self.linear.weight, std=0.001)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, self.linear(self.norm(features)).split(self.sizes, 1)))
