"""From the maps of two images to a hidden layer: what distinguishes the kinds of pairwise networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.models.pairs.layers import PATCH, REACH, NeighbourhoodDifference, NormalisedCorrelation
from reidentify.models.pairs.trunk import convolution

HIDDEN = 500
"""Units of the fully connected layer."""


class PairHead(nn.Module):
    """`forward(a, b)`: maps B x C x h x w each to B x `out_features`, the last hidden layer before its ReLU.

    Attributes:
        connected: the fully connected layer at its end, with its batch normalisation.
        out_features: its units.
    """

    out_features = HIDDEN

    def __init__(self, features: int, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(features, HIDDEN, bias=not norm)]
        self.connected = nn.Sequential(*layers, *[nn.BatchNorm1d(HIDDEN)] * norm)

    def top(self) -> list[nn.Module]:
        """The layers at the end, which may be retrained alone."""
        return [self.connected]

    def compared(self, a: Tensor, b: Tensor) -> Tensor:
        """What the fully connected layer reads, before it is flattened."""
        raise NotImplementedError

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return cast(Tensor, self.connected(self.compared(a, b).flatten(1)))


class _Pooled(PairHead):
    """Ends with a 3 x 3 convolution and max pooling: maps h x w become (h - 2) / 2 x (w - 2) / 2."""

    def __init__(self, channels: int, size: tuple[int, int], norm: bool, branches: int = 1) -> None:
        _require(size, 4)
        super().__init__(branches * channels * ((size[0] - 2) // 2) * ((size[1] - 2) // 2), norm)

    def summarised(self, a: Tensor, b: Tensor) -> Tensor:
        """The large intermediate of one pair, summarised by a 1 x 1 convolution."""
        raise NotImplementedError

    def _summaries(self, a: Tensor, b: Tensor) -> Tensor:
        """On a CPU without gradients pair by pair, so that what lies between stays in the cache."""
        if torch.is_grad_enabled() or self.training or a.device.type != "cpu" or len(a) <= 1:
            return self.summarised(a, b)
        return torch.cat([self.summarised(*pair) for pair in zip(a.split(1), b.split(1))])


class CorrelationHead(_Pooled):
    """Normalised correlation (Subramaniam et al. 2016, section 3.2): its 5 w channels per map are summarised by a 1 x 1
    convolution, then a 3 x 3 convolution and pooling. Maps of 25 x 37 x 12 become 1,500 x 37 x 12, then 2,125 values.
    """

    def __init__(self, channels: int, size: tuple[int, int], norm: bool) -> None:
        super().__init__(channels, size, norm)
        self.correlation = NormalisedCorrelation()
        inputs = channels * (2 * REACH + 1) * size[1]
        self.summary = nn.Sequential(*convolution(inputs, channels, 1, norm=norm))
        self.across = nn.Sequential(*convolution(channels, channels, 3, norm=norm, relu=False), nn.MaxPool2d(2))

    def summarised(self, a: Tensor, b: Tensor) -> Tensor:
        return cast(Tensor, self.summary(F.relu(self.correlation(a, b), inplace=True)))

    def compared(self, a: Tensor, b: Tensor) -> Tensor:
        return cast(Tensor, self.across(self._summaries(a, b)))


class DifferenceHead(_Pooled):
    """Neighbourhood differences both ways (Ahmed et al. 2015, sections 3.2 to 3.5). Each way has a patch summary of its
    own, which is the published 5 x 5 convolution of stride 5 written as one of 1 x 1, and a 3 x 3 convolution of its
    own. Maps of 25 x 37 x 12 become 2 x 625 x 37 x 12, then 2 x 2,125 values."""

    def __init__(self, channels: int, size: tuple[int, int], norm: bool) -> None:
        super().__init__(channels, size, norm, branches=2)
        self.difference = NeighbourhoodDifference()
        inputs = channels * PATCH**2
        self.summaries = nn.ModuleList(nn.Sequential(*convolution(inputs, channels, 1, norm=norm)) for _ in range(2))
        self.across = nn.ModuleList(
            nn.Sequential(*convolution(channels, channels, 3, norm=norm), nn.MaxPool2d(2)) for _ in range(2)
        )

    def summarised(self, a: Tensor, b: Tensor) -> Tensor:
        sides = (self.difference(a, b), self.difference(b, a))
        return torch.cat([summary(side) for summary, side in zip(self.summaries, sides)], 1)

    def compared(self, a: Tensor, b: Tensor) -> Tensor:
        sides = self._summaries(a, b).chunk(2, 1)
        return torch.cat([across(side) for across, side in zip(self.across, sides)], 1)


class JoinedDifferenceHead(_Pooled):
    """Neighbourhood differences as in the fused network (Subramaniam et al. 2016, section 3.3): both ways share one
    patch summary. Maps of 25 x 37 x 12 become 1,250 x 37 x 12, then 2,125 values."""

    def __init__(self, channels: int, size: tuple[int, int], norm: bool) -> None:
        super().__init__(channels, size, norm)
        self.difference = NeighbourhoodDifference()
        self.summary = nn.Sequential(*convolution(2 * channels * PATCH**2, channels, 1, norm=norm))
        self.across = nn.Sequential(*convolution(channels, channels, 3, norm=norm, relu=False), nn.MaxPool2d(2))

    def summarised(self, a: Tensor, b: Tensor) -> Tensor:
        return cast(Tensor, self.summary(torch.cat([self.difference(a, b), self.difference(b, a)], 1)))

    def compared(self, a: Tensor, b: Tensor) -> Tensor:
        return cast(Tensor, self.across(self._summaries(a, b)))


class FusedHead(nn.Module):
    """Normalised correlation and neighbourhood differences side by side (Subramaniam et al. 2016, section 3.3)."""

    out_features = 2 * HIDDEN

    def __init__(self, channels: int, size: tuple[int, int], norm: bool) -> None:
        super().__init__()
        self.correlation = CorrelationHead(channels, size, norm)
        self.difference = JoinedDifferenceHead(channels, size, norm)

    def top(self) -> list[nn.Module]:
        """The layers at the end, which may be retrained alone."""
        return [*self.correlation.top(), *self.difference.top()]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([self.correlation(a, b), self.difference(a, b)], 1)


class EuclideanHead(PairHead):
    """Squared differences of the maps, averaged over 2 x 2 positions. Maps of 25 x 37 x 12 become 2,700 values."""

    def __init__(self, channels: int, size: tuple[int, int], norm: bool) -> None:
        _require(size, 2)
        super().__init__(channels * (size[0] // 2) * (size[1] // 2), norm)

    def compared(self, a: Tensor, b: Tensor) -> Tensor:
        return F.avg_pool2d((a - b).square(), 2)


class DeepHead(PairHead):
    """Both maps through twelve 3 x 3 convolutions, with pooling after every four, in place of a layer that compares.
    Maps of 25 x 37 x 12 become 256 x 4 x 1."""

    def __init__(self, channels: int, size: tuple[int, int], norm: bool) -> None:
        _require(size, 8)
        widths = (64, 128, 256)
        super().__init__(widths[-1] * (size[0] // 8) * (size[1] // 8), norm)
        layers: list[nn.Module] = []
        inputs = 2 * channels
        for width in widths:
            for _ in range(4):
                layers += convolution(inputs, width, 3, padding=1, norm=norm)
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)

    def compared(self, a: Tensor, b: Tensor) -> Tensor:
        return cast(Tensor, self.layers(torch.cat([a, b], 1)))


def _require(size: tuple[int, int], least: int) -> None:
    if min(size) < least:
        raise InputError(
            f"maps of {size[0]} x {size[1]} are too small: this kind needs {least} rows and columns; use larger images"
        )


HEADS: dict[str, Callable[[int, tuple[int, int], bool], PairHead | FusedHead]] = {
    "idla": DifferenceHead,
    "xcorr": CorrelationHead,
    "fused": FusedHead,
    "euclidean": EuclideanHead,
    "deep": DeepHead,
}
