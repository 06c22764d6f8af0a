"""Networks of images made to see clips, and torchvision's networks of clips."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import torch
import torchvision
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch import Tensor, nn

from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.models.backbone import Backbone
from reidentify.models.osnet import Gate

TORCHVISION_3D = ("r3d_18", "mc3_18", "r2plus1d_18")
"""Names that `torchvision_3d` knows."""


class Trunk3D(Backbone):
    """A network of clips without its head: B x 3 x T x H x W to maps B x C x T' x h x w."""


class InflatedConv(nn.Conv3d):
    """A convolution that repeats the first and the last frame as far as its kernel reaches beyond the clip, so that a
    clip of equal frames gives equal maps. Space is padded as by the layer it was inflated from."""

    same = False  # space is padded as by timm's Conv2dSame

    def forward(self, clips: Tensor) -> Tensor:
        reach = self.kernel_size[0] // 2
        if reach:
            first, last = clips[:, :, :1], clips[:, :, -1:]
            clips = torch.cat([first.expand(-1, -1, reach, -1, -1), clips, last.expand(-1, -1, reach, -1, -1)], 2)
        if self.same:
            clips = pad_same(clips, list(self.kernel_size[1:]), list(self.stride[1:]), list(self.dilation[1:]))
        return super().forward(clips)


class _BatchNormAct(nn.BatchNorm3d):
    """timm's BatchNormAct2d for clips."""

    drop: nn.Module
    act: nn.Module

    def forward(self, clips: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(clips)))


def _with_time(time: int, space: int | tuple[int, ...]) -> tuple[int, int, int]:
    rows, columns = space if isinstance(space, tuple) else (space, space)
    return time, rows, columns


def _conv(layer: nn.Conv2d, frames: int) -> nn.Conv3d:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise InputError(f"a convolution with padding {layer.padding} of {layer.padding_mode} cannot be inflated")
    depth = frames if max(layer.kernel_size) > 1 else 1
    inflated = InflatedConv(
        layer.in_channels,
        layer.out_channels,
        _with_time(depth, layer.kernel_size),
        _with_time(1, layer.stride),
        _with_time(0, layer.padding),
        _with_time(1, layer.dilation),
        layer.groups,
        layer.bias is not None,
    )
    inflated.same = isinstance(layer, Conv2dSame)
    return inflated


def _norm(layer: nn.BatchNorm2d | nn.InstanceNorm2d) -> nn.Module:
    # A timm layer does more than normalise.
    if isinstance(layer, BatchNormAct2d):
        norm = _BatchNormAct(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        norm.drop, norm.act = layer.drop, layer.act
        return norm
    kind = nn.BatchNorm3d if isinstance(layer, nn.BatchNorm2d) else nn.InstanceNorm3d
    return kind(layer.num_features, layer.eps, cast(float, layer.momentum), layer.affine, layer.track_running_stats)


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d) -> nn.Module:
    kernel, stride, padding = (_with_time(*v) for v in ((1, layer.kernel_size), (1, layer.stride), (0, layer.padding)))
    if isinstance(layer, nn.MaxPool2d):
        return nn.MaxPool3d(kernel, stride, padding, _with_time(1, layer.dilation), ceil_mode=layer.ceil_mode)
    return nn.AvgPool3d(kernel, stride, padding, layer.ceil_mode, layer.count_include_pad, layer.divisor_override)


def _layer(layer: nn.Module, frames: int) -> nn.Module | None:
    """What stands for a layer of two dimensions; None for one that has none."""
    kind = type(layer)
    if kind in (nn.Conv2d, Conv2dSame):
        return _conv(cast(nn.Conv2d, layer), frames)
    if kind in (nn.BatchNorm2d, BatchNormAct2d, nn.InstanceNorm2d):
        return _norm(cast(Any, layer))
    if kind in (nn.MaxPool2d, nn.AvgPool2d):
        return _pool(cast(Any, layer))
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        size = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
        # A network that pools to one position asks for one vector; time counts as space does.
        return nn.AdaptiveAvgPool3d(1 if size == (1, 1) else (None, *size))
    if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.InstanceNorm2d | nn.MaxPool2d | nn.AvgPool2d):
        raise InputError(f"a layer {kind.__name__} cannot be inflated")
    return None


def inflated_state(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights of an image network for its inflated form of the same names.

    Args:
        state: tensors by name. Kernels o x i x k x k that `network` has as o x i x t x k x k are repeated t times and
            divided by t, so that a clip of equal frames gives what the image did (Carreira and Zisserman, "Quo Vadis,
            Action Recognition?", CVPR 2017, section 2.4.1). Everything else stays.
        network: where they go.
    """
    own = network.state_dict()

    def fitted(name: str, value: Tensor) -> Tensor:
        if value.ndim != 4 or name not in own or own[name].ndim != 5:
            return value
        depth = own[name].shape[2]
        return value[:, :, None].repeat(1, 1, depth, 1, 1) / depth

    return {name: fitted(name, value) for name, value in state.items()}


def inflate(module: nn.Module, frames: int = 3) -> nn.Module:
    """A copy of an image network that takes clips, B x C x T x H x W (I3D, Carreira and Zisserman 2017).

    Convolutions k x k become `frames` x k x k with the weights of `inflated_state`, those of 1 x 1 become 1 x 1 x 1,
    normalisation counts time with space, pooling stays within a frame. Time is never down-sampled. At its ends the
    clip goes on as its first and last frame, so a clip of equal frames gives the maps of its frame, at every time and
    for every T. Parameters keep their names.

    Args:
        module: of `nn.Conv2d`, `nn.BatchNorm2d`, `nn.InstanceNorm2d`, pooling layers, their kin in timm, the gates of
            an OSNet, and what acts on each element. What another `forward` does to maps by itself is taken over as it
            is, and is the caller's care; `inflate_backbone` checks it.
        frames: kernel size over time, odd.

    Raises:
        InputError: `frames` is even or below 1, or there is a layer without a known counterpart.
    """
    if frames < 1 or frames % 2 == 0:
        raise InputError(f"frames: expected an odd number of at least 1, got {frames}")
    clips = copy.deepcopy(module)
    holder = nn.ModuleList([clips])  # so that a module which is itself a layer has a parent, too
    for parent in list(holder.modules()):
        if isinstance(parent, Gate):
            parent.pooled = (2, 3, 4)
        for name, child in list(parent.named_children()):
            layer = _layer(child, frames)
            if layer is not None:
                # `child` of the copy has the shapes of the module's own, so its state is what is to be inflated.
                layer.load_state_dict(inflated_state(child.state_dict(), layer))
                for parameter, old in zip(layer.parameters(), child.parameters()):
                    parameter.requires_grad_(old.requires_grad)
                layer.to(next(child.parameters(), torch.empty(0))).train(child.training)
                setattr(parent, name, layer)
    return holder[0]


def inflate_backbone(backbone: Backbone, frames: int = 3) -> Trunk3D:
    """A backbone made to see clips, see `inflate`. Load weights of images before, or with `inflated_state` after.

    Raises:
        InputError: as `inflate`; or the result does not give a clip of equal frames the maps of its frame, because the
            network does more to its maps than its layers tell.
    """
    trunk = Trunk3D(inflate(backbone.network, frames))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = images.to(next(backbone.parameters()))
    training = backbone.training
    try:
        with torch.no_grad():
            expected = backbone.eval()(images)
            maps = trunk.eval()(images[:, :, None].expand(-1, -1, 2, -1, -1))
        equal = maps.shape[2] == 2 and torch.allclose(
            maps, expected[:, :, None].expand_as(maps), rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )
    except (RuntimeError, AssertionError, IndexError, ValueError, TypeError):
        equal = False
    finally:
        backbone.train(training)
    if not equal:
        raise InputError(
            f"a network {type(backbone.network).__name__} cannot be inflated: it does more to its maps than its layers"
            " tell; use an OSNet, a ResNet, or one of " + ", ".join(TORCHVISION_3D)
        )
    trunk.train(training)
    return trunk


class _Stages(nn.Sequential):
    num_features = 512

    def forward_features(self, clips: Tensor) -> Tensor:
        return self(clips)


def torchvision_3d(name: str, kinetics: bool = False, state_2d: Mapping[str, Tensor] | None = None) -> Trunk3D:
    """A video ResNet-18 of torchvision without its head (Tran et al., "A Closer Look at Spatiotemporal Convolutions for
    Action Recognition", CVPR 2018).

    Height and width shrink by 16; r3d_18 and r2plus1d_18 shrink time by 8, mc3_18 does not shrink it.

    Args:
        name: "r3d_18", "mc3_18" or "r2plus1d_18".
        kinetics: start from torchvision's weights for Kinetics-400, which it downloads.
        state_2d: weights of a ResNet-18 of images, under timm's names (`conv1.weight`, `layer1.0.conv1.weight`, ...),
            which are inflated where `kinetics` is not asked for or cannot be had; a warning tells of the latter. They
            are a start and no equal network: this one has no max pooling after its stem.

    Raises:
        InputError: torchvision has no such network.
        WeightsError: the weights cannot be had, or `state_2d` does not fit.
    """
    if name not in TORCHVISION_3D:
        raise InputError(f"torchvision has no video network {name!r}; it has {', '.join(TORCHVISION_3D)}")
    build = getattr(torchvision.models.video, name)
    network = None
    if kinetics:
        try:
            network = build(weights="KINETICS400_V1", progress=False)
        except (OSError, RuntimeError) as error:  # no network; a file that is not what it should be
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if state_2d is None:
                raise WeightsError(
                    f"Kinetics weights of {name} cannot be fetched ({reason}); start at random"
                ) from None
            warnings.warn(
                f"Kinetics weights of {name} cannot be fetched ({reason}): it starts from weights of images",
                ReidentifyWarning,
                stacklevel=2,
            )
    inflating = network is None and state_2d is not None
    network = build(weights=None) if network is None else network
    stages = _Stages(OrderedDict((k, v) for k, v in network.named_children() if k not in ("avgpool", "fc")))
    if inflating:
        _load_resnet18(stages, cast("Mapping[str, Tensor]", state_2d), name)
    return Trunk3D(stages)


def _load_resnet18(stages: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Fill a video ResNet-18 from the weights of one of images."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"^bn1\.", "stem.1.", re.sub(r"^conv1\.", "stem.0.", key))
        key = re.sub(r"\.bn(\d)\.", r".conv\1.1.", re.sub(r"\.conv(\d)\.", r".conv\1.0.", key))
        renamed[key] = value
    own = stages.state_dict()
    fitting = {k: v for k, v in inflated_state(renamed, stages).items() if k in own and own[k].shape == v.shape}
    missing = [k for k in own if k not in fitting and not k.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"these weights of images do not start {name}: they have nothing for {missing[0]}; r3d_18 and mc3_18 start"
            " from those of timm's resnet18"
        )
    stages.load_state_dict(fitting, strict=False)
