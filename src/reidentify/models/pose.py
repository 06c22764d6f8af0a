"""A network that finds joints: heat maps from a feature pyramid, and how visible each joint is."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError
from reidentify.joints import MARKET14
from reidentify.models.backbone import timm_backbone
from reidentify.models.output import Output
from reidentify.models.pose_settings import PoseSettings

STRIDES = (32, 16, 8, 4)
"""Of the feature maps that the head joins, coarsest first; the heat maps have the last."""
SEEN = 0.5
"""A joint whose visibility is lower counts as unseen."""
_BLUR = (0.054488685, 0.24420135, 0.4026199, 0.24420135, 0.054488685)  # a Gaussian of one cell, of sum 1


class PoseNetwork(nn.Module):
    """Heat maps of the 14 joints of `MARKET14` by a feature pyramid.

    From coarse to fine every map of the backbone is added to the enlarged sum of the coarser ones (Lin et al., Feature
    Pyramid Networks, CVPR 2017, section 3), here with separable convolutions. The heat maps are regressed as by Xiao et
    al. (Simple Baselines, ECCV 2018); a linear layer on the pooled coarsest map says how visible each joint is.

    Args:
        backbone: a timm network with `forward_intermediates`.
        levels: which of its feature maps have the strides `STRIDES`.
        widths: their channels.
        channels: of the head.

    Attributes:
        embedding_dim: length of the pooled features.
    """

    def __init__(self, backbone: nn.Module, levels: list[int], widths: list[int], channels: int) -> None:
        super().__init__()
        self.backbone, self.levels, self.embedding_dim = backbone, levels, widths[0]
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.merge = nn.ModuleList(_separable(channels) for _ in widths[1:])
        self.joints = nn.Conv2d(channels, len(MARKET14), 1)
        nn.init.normal_(self.joints.weight, std=0.001)  # empty maps at first, as Simple Baselines
        nn.init.zeros_(self.joints.bias)  # type: ignore[arg-type]
        self.visibility = nn.Linear(self.embedding_dim, len(MARKET14))

    def forward(self, images: Tensor) -> Output:
        """Find joints.

        Args:
            images: N x 3 x H x W, normalised; H and W at least 32.

        Returns:
            `maps["joints"]`, N x 14 x H/4 x W/4; `logits` and `visibility` (their sigmoid), N x 14; and the pooled
            features as `embedding`.
        """
        maps = cast(Any, self.backbone).forward_intermediates(
            images, indices=sorted(self.levels), intermediates_only=True
        )[::-1]
        top = self.lateral[0](maps[0])
        for lateral, merge, finer in zip(self.lateral[1:], self.merge, maps[1:]):
            enlarged = F.interpolate(top, finer.shape[-2:], mode="bilinear", align_corners=False)
            top = merge(enlarged + lateral(finer))
        pooled = maps[0].mean((2, 3))
        logits = self.visibility(pooled)
        return Output(pooled, logits, visibility=logits.sigmoid(), maps={"joints": self.joints(top)})


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def build_pose(settings: PoseSettings, pretrained: bool = False) -> PoseNetwork:
    """The network that `settings` describe.

    Args:
        settings: which network.
        pretrained: fetch the backbone's ImageNet weights.

    Raises:
        InputError: timm knows no such network, or it has no maps of these strides.
        WeightsError: the ImageNet weights cannot be had.
    """
    backbone = cast(Any, timm_backbone(settings.backbone, pretrained, last_stride=2).network)
    stages = {stage["reduction"]: i for i, stage in enumerate(backbone.feature_info)}
    if not hasattr(backbone, "prune_intermediate_layers") or not set(STRIDES) <= stages.keys():
        raise InputError(
            f"model.backbone: {settings.backbone} lacks feature maps of stride {', '.join(map(str, sorted(STRIDES)))};"
            " a convolutional network such as tf_efficientnet_lite0 or resnet18 has them"
        )
    levels = [stages[stride] for stride in STRIDES]
    widths = [backbone.feature_info[level]["num_chs"] for level in levels]
    backbone.prune_intermediate_layers(sorted(levels), prune_norm=True, prune_head=True)  # what only a classifier reads
    return PoseNetwork(backbone, levels, widths, settings.channels)


def decode(maps: Tensor, visibility: Tensor, image: tuple[int, int]) -> Tensor:
    """Joints from heat maps.

    Each joint is at the highest cell of its map, and from there by the fraction of a cell at which a Gaussian through
    this cell and its two neighbours has its peak, along either side, in a map that is blurred against noise (Zhang et
    al., Distribution-Aware Coordinate Representation, CVPR 2020, section 3.1, with a diagonal Hessian).

    Args:
        maps: N x J x h x w; they cover the whole image.
        visibility: N x J, from 0 to 1.
        image: H, W.

    Returns:
        N x J x 3, float32: x, y in pixels of the image, and the visibility; 0 where that is below `SEEN`.
    """
    n, count, height, width = maps.shape
    kernel = torch.tensor(_BLUR, device=maps.device)
    flat = maps.float().reshape(n * count, 1, height, width)
    padded = F.pad(flat, (2, 2, 2, 2), mode="replicate")
    with torch.autocast(maps.device.type, enabled=False):  # half precision has too few digits for parts of a cell
        blurred = F.conv2d(F.conv2d(padded, kernel.reshape(1, 1, 1, 5)), kernel.reshape(1, 1, 5, 1))[:, 0]
    best = flat.flatten(1).argmax(1)
    rows, columns = best // width, best % width
    logs = blurred.clamp(min=1e-6).log()
    each = torch.arange(len(logs), device=maps.device)
    x = _peak(logs[each, rows], columns)
    y = _peak(logs[each, :, columns], rows)
    cells = torch.stack([x, y], -1).reshape(n, count, 2)
    scale = cells.new_tensor([image[1] / width, image[0] / height])
    seen = visibility.float()
    return torch.cat([(cells + 0.5) * scale - 0.5, torch.where(seen >= SEEN, seen, 0.0)[..., None]], -1)


def _peak(lines: Tensor, highest: Tensor) -> Tensor:
    """Where the parabola through the highest value of each line (M x cells) and its neighbours peaks. M."""
    inner = (highest > 0) & (highest < lines.shape[1] - 1)  # at the border it has but one neighbour
    low, middle, high = (
        lines.gather(1, (highest + step).clamp(0, lines.shape[1] - 1)[:, None])[:, 0] for step in (-1, 0, 1)
    )
    bend = low - 2 * middle + high
    shift = ((low - high) / (2 * torch.where(bend < 0, bend, -1.0))).clamp(-0.5, 0.5)
    return highest + torch.where(inner & (bend < 0), shift, 0.0)
