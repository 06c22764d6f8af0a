"""ASTA: attention over space and time that is driven by attributes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.models.attributes import AttributeHead
from reidentify.models.temporal import Pooled, average_to, check_grid, pack, time_mean, unpack
from reidentify.values import Attribute


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _weighted(frames: Tensor, weights: Tensor) -> Tensor:
    """Spatial averages of maps under weights. N x C x h x w, N x G x h x w -> N x G x C."""
    return torch.einsum("nchw,nghw->ngc", frames, weights.to(frames)) / weights[0, 0].numel()


class GroupAttention(nn.Module):
    """The attention of one group of attributes, and the attributes themselves.

    `forward` maps N x C x h x w, the valid frames alone, and `valid`, B x T, to the attention, N x 1 x h x w from 0 to
    1, and logits per attribute, each B x values. A 1 x 1 convolution with BatchNorm and ReLU and a 3 x 3 convolution
    score each position, a convolution over time mixes the scores of all positions, and a sigmoid makes them weights.
    The attributes are read off the maps averaged under these weights.

    Args:
        channels: C.
        schema: the group; empty for attention without attributes.
        grid: size at which scores are mixed over time. Maps of another size are averaged onto it, and the attention is
            interpolated back.
        hidden: channels of the 1 x 1 convolution.
        norm: see `AttributeHead`.
    """

    def __init__(
        self, channels: int, schema: Sequence[Attribute], grid: tuple[int, int], hidden: int, norm: bool
    ) -> None:
        super().__init__()
        self.grid = grid
        cells = grid[0] * grid[1]
        self.local = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True))
        self.space = nn.Conv2d(hidden, 1, 3, padding=1)
        self.time = nn.Conv1d(cells, cells, 3, padding=1)
        _initialise(self)
        self.head = AttributeHead(channels, schema, norm) if schema else None

    def forward(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        scores = average_to(self.space(self.local(frames)), self.grid)
        mixed = self.time(unpack(scores.flatten(1), valid).transpose(1, 2)).transpose(1, 2)
        attention = pack(mixed, valid).reshape(-1, 1, *self.grid).sigmoid()
        if frames.shape[-2:] != self.grid:
            attention = F.interpolate(attention, frames.shape[-2:], mode="bilinear")
        if self.head is None:
            return attention, {}
        feature = unpack(_weighted(frames, attention)[:, 0], valid)
        return attention, self.head(F.relu(time_mean(feature, valid)))


class ASTA(nn.Module):
    """Attribute-driven spatial-temporal attention (Chen et al., arXiv 2006.07597, figure 4; layers and initialisation
    as in the code released with it).

    The maps F pass an attention of their own, F' = a F. Each group of attributes, those of the identity and those of
    the sighting, has an attention A besides, computed from F detached: neither the loss of attributes nor the attention
    itself trains the backbone through it. The feature is F', A_1 F' and A_2 F' averaged over space and the valid
    frames, one after another. Through it the Re-ID losses train the two attentions too, so a group without attributes
    is attention without supervision.

    `maps`: "own" (a), "identity" (A_1) and "sighting" (A_2), each B x T x h x w.

    Args:
        channels: C.
        schema: the attributes of both groups; empty for ASTA without attributes.
        grid: see `GroupAttention` (published: 16 x 8, the map of images of 256 x 128).
        hidden: channels inside a group's attention; None, as published: C.
        norm: normalise what the attributes are read off (published: no).

    Attributes:
        out_features: D = 3 C.

    Raises:
        InputError: a setting is out of its range.
    """

    def __init__(
        self,
        channels: int,
        schema: Sequence[Attribute] = (),
        grid: Sequence[int] = (16, 8),
        hidden: int | None = None,
        norm: bool = False,
    ) -> None:
        super().__init__()
        hidden = channels if hidden is None else hidden
        if hidden < 1:
            raise InputError(f"hidden: expected at least 1, got {hidden}")
        self.out_features = 3 * channels
        self.own = nn.Conv2d(channels, 1, 3, padding=1)
        _initialise(self.own)
        size = check_grid(grid)
        self.identity = GroupAttention(channels, [a for a in schema if a.identity], size, hidden, norm)
        self.sighting = GroupAttention(channels, [a for a in schema if not a.identity], size, hidden, norm)

    def forward(self, maps: Tensor, valid: Tensor) -> Pooled:
        frames = pack(maps, valid)
        own = self.own(frames).sigmoid()
        identity, person = self.identity(frames.detach(), valid)
        sighting, circumstances = self.sighting(frames.detach(), valid)
        # An average of A F' is one of F under the weights a A: the maps F' need not be made.
        weights = torch.cat([own, own * identity, own * sighting], 1)
        feature = time_mean(unpack(_weighted(frames, weights).flatten(1), valid), valid)
        attentions = {"own": own, "identity": identity, "sighting": sighting}
        return Pooled(feature, {k: unpack(v[:, 0], valid) for k, v in attentions.items()}, person | circumstances)
