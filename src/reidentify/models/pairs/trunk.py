"""From images to the maps that pairwise networks compare."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.backbone import timm_backbone
from reidentify.models.osnet import OSNet
from reidentify.models.pairs.settings import PairSettings
from reidentify.models.posemaps import gaussian_maps, seen

_SIGMA = 1.0
"""Of a joint's heat map, in cells."""


@dataclass(frozen=True)
class Frame:
    """The part of an image that the cells of a map lie over, each in the middle of what it sees.

    Args:
        left, top: pixels of the image left of and above the first cell's own ones.
        height, width: pixels of all cells.
        cells: h, w of the map.
    """

    left: int
    top: int
    height: int
    width: int
    cells: tuple[int, int]

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes (... x 4, edges in pixels of the image) in cells of the map."""
        scale = boxes.new_tensor([self.cells[1] / self.width, self.cells[0] / self.height]).repeat(2)
        return (boxes - boxes.new_tensor([self.left, self.top]).repeat(2)) * scale

    def heat(self, keypoints: Tensor, image: tuple[int, int]) -> Tensor:
        """Heat maps of joints (N x J x 3 in pixels of the image H, W), N x J x h x w.

        A joint in the image and beyond the frame is drawn at the frame's border.
        """
        visibility = seen(keypoints, image)
        limits = keypoints.new_tensor([self.width, self.height]) - 0.5
        places = keypoints[..., :2] - keypoints.new_tensor([self.left, self.top])
        moved = torch.cat([places.clamp(-0.5 * torch.ones_like(limits), limits), visibility[..., None]], -1)
        return gaussian_maps(moved, self.cells, (self.height, self.width), _SIGMA)


class PublishedTrunk(nn.Sequential):
    """The two tied convolutions of Ahmed et al. 2015 (section 3.1): B x 3 x 160 x 60 to B x 25 x 37 x 12.

    Args:
        channels: of the two convolutions (published: 20 and 25).
        norm: batch normalisation before each ReLU (published: no).
    """

    def __init__(self, channels: Sequence[int] = (20, 25), norm: bool = False) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, channels[0]), channels):
            layers += [*convolution(inputs, outputs, 5, norm=norm), nn.MaxPool2d(2)]
        super().__init__(*layers)

    def frame(self, image: tuple[int, int], cells: tuple[int, int]) -> Frame:
        """Cell i sees pixels 4 i to 4 i + 15; the four in their middle are taken as its own."""
        return Frame(6, 6, 4 * cells[0], 4 * cells[1], cells)


class BackboneTrunk(nn.Module):
    """The early stages of a larger network, and a 1 x 1 convolution to the channels that are compared.

    Args:
        settings: `trunk`, `width`, `stride`, `channels` and `norm` are read.
        pretrained: fetch the ImageNet weights of a timm network.

    Raises:
        InputError: timm knows no such network or tells no maps of its stages, or none has this stride.
    """

    def __init__(self, settings: PairSettings, pretrained: bool = False) -> None:
        super().__init__()
        if settings.trunk == "osnet":
            self.network, features = _osnet_stages(settings)
        else:
            self.network, features = _timm_stages(settings, pretrained)
        self.reduce = nn.Sequential(*convolution(features, settings.channels[1], 1, norm=settings.norm))

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.reduce(self.network(images)))

    def frame(self, image: tuple[int, int], cells: tuple[int, int]) -> Frame:
        """Cells lie evenly over the image."""
        return Frame(0, 0, *image, cells)


class _TimmStages(nn.Module):
    """A timm network up to one of its stages."""

    def __init__(self, network: nn.Module, stage: int) -> None:
        super().__init__()
        self.network, self._stage = network, stage
        cast(Any, network).prune_intermediate_layers([stage], prune_norm=True, prune_head=True)

    def forward(self, images: Tensor) -> Tensor:
        network = cast(Any, self.network)
        options = {"indices": [self._stage], "stop_early": True, "intermediates_only": True}
        return cast(Tensor, network.forward_intermediates(images, **options)[0])


def _timm_stages(settings: PairSettings, pretrained: bool) -> tuple[nn.Module, int]:
    backbone = timm_backbone(settings.trunk, pretrained, last_stride=2)
    height, shapes = backbone.probe_stages()
    strides = [height // shape[2] if len(shape) == 4 else 0 for shape in shapes]
    if settings.stride not in strides:
        has = ", ".join(str(s) for s in dict.fromkeys(strides))
        raise InputError(f"stride: {settings.trunk} has no stage of stride {settings.stride}; it has {has}")
    stage = len(strides) - 1 - strides[::-1].index(settings.stride)
    return _TimmStages(backbone.network, stage), shapes[stage][1]


def _osnet_stages(settings: PairSettings) -> tuple[nn.Module, int]:
    """Names of parameters are OSNet's own."""
    whole = OSNet(width=settings.width, feature_dim=None)
    kept = OrderedDict(conv1=whole.conv1, maxpool=whole.maxpool, conv2=whole.conv2[:2])
    if settings.stride == 8:
        kept |= {"conv2": whole.conv2, "conv3": whole.conv3[:2]}
    elif settings.stride != 4:
        raise InputError(f"stride: osnet has stages of stride 4 and 8, not {settings.stride}")
    features = cast(Any, kept["conv3" if settings.stride == 8 else "conv2"])[1].conv3.conv.out_channels
    return nn.Sequential(kept), features


def convolution(
    inputs: int, outputs: int, kernel: int, padding: int = 0, norm: bool = False, relu: bool = True
) -> list[nn.Module]:
    """A convolution, with batch normalisation in place of its bias if `norm`, and ReLU unless it is left out."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=not norm)]
    layers += [nn.BatchNorm2d(outputs)] * norm
    return layers + [nn.ReLU(inplace=True)] * relu
