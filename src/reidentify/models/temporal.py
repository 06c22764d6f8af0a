"""Pooling over time: from the feature maps of a clip's frames to one feature.

Every module here maps `maps`, B x T x C x h x w, and `valid`, B x T bool, to a `Pooled`. The frames that are valid come
first in their clip, and there is at least one; the others are padding, and what they hold changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError


@dataclass(frozen=True)
class Pooled:
    """What a pooling over time makes of a clip.

    Args:
        feature: B x D.
        maps: named maps, B x T x h x w, for inspection; 0 at padding.
        attributes: logits per attribute name, B x values, of a pooling that tells attributes.
    """

    feature: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)
    attributes: dict[str, Tensor] = field(default_factory=dict)


def pack(frames: Tensor, valid: Tensor) -> Tensor:
    """The valid frames alone. B x T x ... -> N x ..., clip by clip."""
    return frames.flatten(0, 1) if bool(valid.all()) else frames[valid]


def unpack(frames: Tensor, valid: Tensor) -> Tensor:
    """The inverse of `pack`, with zeros at padding. N x ... -> B x T x ..."""
    if len(frames) == valid.numel():
        return frames.reshape(*valid.shape, *frames.shape[1:])
    padded = frames.new_zeros(*valid.shape, *frames.shape[1:])
    padded[valid] = frames
    return padded


def time_mean(features: Tensor, valid: Tensor) -> Tensor:
    """The mean over valid frames. B x T x D -> B x D."""
    return features.masked_fill(~valid[..., None], 0).sum(1) / valid.sum(1, keepdim=True)


def average_to(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average maps onto a grid, where smaller maps repeat cells; maps of its size stay as they are."""
    return maps if maps.shape[-2:] == grid else F.adaptive_avg_pool2d(maps, grid)


def check_grid(grid: Sequence[int]) -> tuple[int, int]:
    """The grid as rows and columns.

    Raises:
        InputError: these are not two numbers of at least 1.
    """
    if len(grid) != 2 or min(grid) < 1:
        raise InputError(f"grid: expected rows and columns of at least 1, got {list(grid)}")
    return int(grid[0]), int(grid[1])


class TemporalMean(nn.Module):
    """The spatial average of each frame, then the mean over frames (Gao and Nevatia, "Revisiting Temporal Modeling for
    Video-based Person ReID", 2018, section 3.2).

    Attributes:
        out_features: D = C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_features = channels

    def forward(self, maps: Tensor, valid: Tensor) -> Pooled:
        return Pooled(time_mean(maps.mean((3, 4)), valid))


class TemporalMax(nn.Module):
    """The spatial average of each frame, then each channel's maximum over frames (Gao and Nevatia 2018, section 3.2).

    Attributes:
        out_features: D = C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_features = channels

    def forward(self, maps: Tensor, valid: Tensor) -> Pooled:
        features = maps.mean((3, 4))
        return Pooled(features.masked_fill(~valid[..., None], -torch.inf).amax(1))


class TemporalAttention(nn.Module):
    """A weight for each frame, from its map and its neighbours' (Gao and Nevatia 2018, section 3.3).

    A convolution as large as the map gives `hidden` values a frame, one over time gives a score, ReLU after each; the
    softmax of the scores over the valid frames weighs the frames' averages. `maps["frame_weights"]` is B x T x 1 x 1.

    Args:
        channels: C.
        grid: height and width of the first kernel (published: 7 x 4, the map of images of 224 x 112). Maps of another
            size are averaged onto it.
        hidden: published: 256.

    Attributes:
        out_features: D = C.

    Raises:
        InputError: a setting is out of its range.
    """

    def __init__(self, channels: int, grid: Sequence[int] = (7, 4), hidden: int = 256) -> None:
        super().__init__()
        self.grid = check_grid(grid)
        if hidden < 1:
            raise InputError(f"hidden: expected at least 1, got {hidden}")
        self.out_features = channels
        self.space = nn.Conv2d(channels, hidden, self.grid)
        self.time = nn.Conv1d(hidden, 1, 3, padding=1)

    def forward(self, maps: Tensor, valid: Tensor) -> Pooled:
        cells = average_to(pack(maps, valid), self.grid)
        hidden = unpack(F.relu(self.space(cells)).flatten(1), valid)
        scores = F.relu(self.time(hidden.transpose(1, 2)))[:, 0]
        weights = scores.masked_fill(~valid, -torch.inf).softmax(1)
        features = maps.mean((3, 4)).masked_fill(~valid[..., None], 0)
        return Pooled(
            torch.einsum("btc,bt->bc", features, weights.to(features)), {"frame_weights": weights[..., None, None]}
        )


class TemporalRNN(nn.Module):
    """The mean of a recurrent network's outputs over the frames' averages (Gao and Nevatia 2018, section 3.4).

    Args:
        channels: C.
        hidden: D (published: 512).
        kind: "lstm", as published, or "gru".

    Attributes:
        out_features: D.

    Raises:
        InputError: a setting is none of those above.
    """

    def __init__(self, channels: int, hidden: int = 512, kind: Literal["lstm", "gru"] = "lstm") -> None:
        super().__init__()
        kinds: dict[str, type[nn.LSTM | nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
        if kind not in kinds:
            raise InputError(f"kind: expected lstm or gru, got {kind!r}")
        if hidden < 1:
            raise InputError(f"hidden: expected at least 1, got {hidden}")
        self.out_features = hidden
        self.rnn = kinds[kind](channels, hidden, batch_first=True)

    def forward(self, maps: Tensor, valid: Tensor) -> Pooled:
        # Padding comes last and is read after every frame whose output counts.
        outputs, _ = self.rnn(maps.mean((3, 4)).masked_fill(~valid[..., None], 0))
        return Pooled(time_mean(outputs, valid))


class NonLocal(nn.Module):
    """A non-local block over all positions of all frames, then the mean over space and time (Wang et al., "Non-local
    Neural Networks", CVPR 2018, section 3: embedded Gaussian, residual, BatchNorm that starts at zero).

    Every position attends to every other, so that time and, where the device has no fused attention kernel, memory
    grow with (T h w)^2 for each clip: 1 MiB at T = 4 with maps of 16 x 8, 59 MiB at T = 30.

    Args:
        channels: C.
        reduction: the block works on C / reduction channels (published: 2).

    Attributes:
        out_features: D = C.

    Raises:
        InputError: the reduction leaves no channel.
    """

    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(f"reduction: expected from 1 to the {channels} channels, got {reduction}")
        inner = channels // reduction
        self.out_features = channels
        self.project = nn.Conv2d(channels, 3 * inner, 1)  # theta, phi and g of the paper
        self.restore = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, maps: Tensor, valid: Tensor) -> Pooled:
        frames = pack(maps, valid)
        (b, t), (h, w) = valid.shape, maps.shape[-2:]
        positions = unpack(self.project(frames), valid).movedim(2, -1).reshape(b, 1, t * h * w, -1)
        query, key, value = positions.chunk(3, -1)
        seen = None
        if len(frames) < b * t:
            seen = valid[:, None, None, :, None].expand(b, 1, 1, t, h * w).flatten(3)
        attended = F.scaled_dot_product_attention(query, key, value, seen, scale=1.0)
        attended = attended.reshape(b, t, h, w, -1).movedim(-1, 2)
        frames = frames + self.norm(self.restore(pack(attended, valid)))
        return Pooled(time_mean(unpack(frames.mean((2, 3)), valid), valid))
