"""Networks of clips: a backbone for the frames, pooling over time, a neck, attribute heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.errors import InputError, WeightsError
from reidentify.models.asta import ASTA
from reidentify.models.attributes import AttributeHead
from reidentify.models.backbone import Backbone, timm_backbone
from reidentify.models.baseline import NECKS
from reidentify.models.inflate import Trunk3D, inflate_backbone, inflated_state, torchvision_3d
from reidentify.models.output import Output
from reidentify.models.temporal import (
    NonLocal,
    Pooled,
    TemporalAttention,
    TemporalMax,
    TemporalMean,
    TemporalRNN,
    pack,
    unpack,
)
from reidentify.values import Attribute

Temporal: TypeAlias = Literal["mean", "max", "attention", "lstm", "gru", "nonlocal", "asta", "3d"]

# What is built over the frames, from their channels and settings, and which settings it takes.
_POOLINGS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "mean": (TemporalMean, ()),
    "max": (TemporalMax, ()),
    "attention": (TemporalAttention, ("grid", "hidden")),
    "lstm": (TemporalRNN, ("hidden",)),
    "gru": (TemporalRNN, ("hidden",)),
    "nonlocal": (NonLocal, ("reduction",)),
    "asta": (ASTA, ("grid", "hidden", "norm")),
    "3d": (TemporalMean, ("frames",)),
}


class VideoNetwork(nn.Module):
    """Backbone, pooling over time, optional reduction, neck.

    Args:
        backbone: of the frames, from `timm_backbone`, or a `Trunk3D` of whole clips.
        pooling: a module of `models.temporal` or `ASTA`, for the backbone's channels.
        num_classes: training identities; 0 for a network that only embeds.
        neck: "bnneck" or "none".
        embedding_dim: reduce the pooled feature to this size by a linear layer; None keeps it.
        schema: attributes for a head on the pooled feature; empty where the pooling itself tells them, as ASTA does.

    Attributes:
        embedding_dim: D, size of the embedding.

    Raises:
        InputError: an unknown neck.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: nn.Module,
        num_classes: int = 0,
        neck: Literal["bnneck", "none"] = "bnneck",
        embedding_dim: int | None = None,
        schema: Sequence[Attribute] = (),
    ) -> None:
        super().__init__()
        if neck not in NECKS:
            raise InputError(f"neck: expected {' or '.join(NECKS)}, got {neck!r}")
        self.backbone, self.pooling = backbone, pooling
        features = int(pooling.out_features)  # type: ignore[arg-type]
        self.embedding_dim = embedding_dim or features
        self.reduce = nn.Linear(features, embedding_dim) if embedding_dim else nn.Identity()
        self.neck = NECKS[neck](self.embedding_dim, num_classes)
        self.attributes = AttributeHead(features, schema) if schema else None

    def forward(self, clips: Tensor, camids: Tensor | None = None, valid: Tensor | None = None) -> Output:
        """Describe clips.

        Args:
            clips: B x T x 3 x H x W, normalised; or images B x 3 x H x W, taken as T = 1.
            camids: not used; taken so that every network is called alike.
            valid: B x T, bool: False for padding, which stands at the end of a clip; None: there is none. Padding never
                enters a network of frames. A `Trunk3D` sees clips of equal length together, so that its BatchNorm has
                their statistics in training.

        Returns:
            `embedding` B x D; `logits` B x classes in training mode where there is a classifier; `attributes`, logits
            B x values by name; `maps`, those of the pooling.

        Raises:
            InputError: another shape, a clip without a valid frame, or padding before a valid frame.
        """
        if clips.ndim == 4:
            clips = clips[:, None]
        if clips.ndim != 5 or clips.shape[2] != 3:
            raise InputError(f"clips: expected B x T x 3 x H x W, got {' x '.join(map(str, clips.shape))}")
        if valid is None:
            valid = torch.ones(clips.shape[:2], dtype=torch.bool, device=clips.device)
        _check(valid, clips.shape[:2])
        pooled: Pooled = self.pooling(*self._maps(clips, valid))
        output: Output = self.neck(self.reduce(pooled.feature))
        attributes = pooled.attributes if self.attributes is None else self.attributes(pooled.feature)
        return dataclasses.replace(output, attributes=attributes, maps=pooled.maps)

    def _maps(self, clips: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps B x T' x C x h x w, and which times are valid."""
        if not isinstance(self.backbone, Trunk3D):
            frames = pack(clips, valid).contiguous(memory_format=torch.channels_last)
            return unpack(self.backbone(frames), valid), valid
        lengths = valid.sum(1)
        groups = [(lengths == n).nonzero()[:, 0] for n in torch.unique(lengths)]
        parts = [self._whole(clips[rows, : lengths[rows[0]]]) for rows in groups]
        longest = max(part.shape[1] for part in parts)
        maps = torch.cat([F.pad(part, (0, 0, 0, 0, 0, 0, 0, longest - part.shape[1])) for part in parts])
        times = torch.cat([lengths.new_full((len(part),), part.shape[1]) for part in parts])
        order = torch.cat(groups).argsort()
        return maps[order], torch.arange(longest, device=clips.device) < times[order, None]

    def _whole(self, clips: Tensor) -> Tensor:
        """Maps of clips without padding, in the memory layout in which convolutions on a CPU are fastest."""
        maps: Tensor = self.backbone(clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))
        return maps.transpose(1, 2)


def _check(valid: Tensor, shape: torch.Size) -> None:
    if valid.shape != shape or valid.dtype != torch.bool:
        raise InputError(f"valid: expected bool of shape {tuple(shape)}, got {valid.dtype} of {tuple(valid.shape)}")
    if bool((valid[:, 1:] & ~valid[:, :-1]).any()):
        raise InputError("valid: padding stands before a valid frame; move it to the end of its clip")
    if not bool(valid[:, :1].all()) or not shape[1]:
        raise InputError("valid: a clip has no valid frame; leave it out")


def video_network(
    backbone: Backbone | str,
    temporal: Temporal,
    num_classes: int = 0,
    neck: Literal["bnneck", "none"] = "bnneck",
    embedding_dim: int | None = None,
    schema: Sequence[Attribute] = (),
    settings: Mapping[str, Any] | None = None,
    pretrained: bool = False,
) -> VideoNetwork:
    """The network of clips that these settings describe.

    Args:
        backbone: of the frames; "3d" inflates it. Or a `Trunk3D` or, for "3d", a name of torchvision's video networks.
        temporal: "mean" or "max" of the frames; "attention", a weight for each frame; "lstm" or "gru"; "nonlocal";
            "asta"; "3d", convolutions over time and the mean over everything.
        num_classes: training identities; 0 for a network that only embeds.
        neck: "bnneck" or "none".
        embedding_dim: size of a linear layer after the pooling; None for none.
        schema: attributes to tell; empty for none.
        settings: for "attention" `grid` and `hidden`, for "asta" `norm` too, for "lstm" and "gru" `hidden`, for
            "nonlocal" `reduction`, for "3d" of a network of frames `frames`; see there.
        pretrained: fetch torchvision's Kinetics weights, for its video networks; where they cannot be had, ImageNet's
            of a ResNet-18 are inflated. Weights of images stay in `backbone`.

    Raises:
        InputError: a setting that there is not, or a value out of its range.
        WeightsError: the weights cannot be had.
    """
    if temporal not in _POOLINGS:
        raise InputError(f"temporal: expected one of {', '.join(_POOLINGS)}, got {temporal!r}")
    kind, known = _POOLINGS[temporal]
    if isinstance(backbone, str):
        if temporal != "3d":
            raise InputError(f"{backbone} is a network of whole clips: use temporal 3d with it, not {temporal}")
        backbone = _of_torchvision(backbone, pretrained)
    inflating = temporal == "3d" and not isinstance(backbone, Trunk3D)
    given = _checked(dict(settings or {}), temporal, known if inflating or temporal != "3d" else ())
    if inflating:
        backbone, given = inflate_backbone(backbone, **given), {}
    if temporal in ("lstm", "gru"):
        given["kind"] = temporal
    if temporal == "asta":
        given["schema"], schema = schema, ()
    return VideoNetwork(backbone, kind(backbone.num_features, **given), num_classes, neck, embedding_dim, schema)


def _of_torchvision(name: str, pretrained: bool) -> Trunk3D:
    """With Kinetics weights; where these cannot be had, with ImageNet's of a ResNet-18, if those can."""
    try:
        return torchvision_3d(name, kinetics=pretrained)
    except WeightsError:
        try:
            images = timm_backbone("resnet18", pretrained=True, last_stride=2).network.state_dict()
        except WeightsError:
            images = None
        if images is None:
            raise
    return torchvision_3d(name, kinetics=True, state_2d=images)


def _checked(settings: dict[str, Any], temporal: str, known: Sequence[str]) -> dict[str, Any]:
    for key, value in settings.items():
        if key not in known:
            raise InputError(f"temporal {temporal} takes no setting {key!r}; it takes {' and '.join(known) or 'none'}")
        if key == "norm":
            if not isinstance(value, bool):
                raise InputError(f"temporal {temporal}: norm: expected true or false, got {value!r}")
            continue
        numbers = list(value) if key == "grid" and isinstance(value, list | tuple) else [value]
        whole = all(type(number) is int and number > 0 for number in numbers)
        if not whole or len(numbers) != (2 if key == "grid" else 1):
            expected = "two whole numbers" if key == "grid" else "a whole number"
            raise InputError(f"temporal {temporal}: {key}: expected {expected} above 0, got {value!r}")
    return settings


def channels_last(network: nn.Module) -> nn.Module:
    """The network itself, its kernels in the memory layout with channels last, be they of images or of clips.

    (`Module.to(memory_format=torch.channels_last)` fails on kernels of clips.)
    """
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in layouts:
            parameter.data = parameter.data.contiguous(memory_format=layouts[parameter.ndim])
    return network


def start(state: Mapping[str, Tensor], network: nn.Module | None = None) -> dict[str, Tensor]:
    """Weights that start a network of clips, under its names.

    Args:
        state: of a `Baseline`, an `OSNet` or a `VideoNetwork`. Classifiers are left out, as is what stands between the
            parts that such networks share.
        network: a `VideoNetwork`: kernels are inflated where it has three-dimensional ones (see `inflated_state`), and
            tensors of other sizes, or without a counterpart, are left out wherever they stand outside the backbone:
            a reduction and a neck of another pooled size begin anew.
    """
    osnet = {f"conv{i}.": f"backbone.network.conv{i}." for i in range(1, 6)} | {"fc.0.": "reduce.", "neck.": "neck."}
    same = {name: name for name in ("backbone.", "pooling.", "reduce.", "neck.", "attributes.")}
    prefixes = osnet if "conv5.conv.weight" in state else same
    named = {
        new + name.removeprefix(old): value
        for name, value in state.items()
        for old, new in prefixes.items()
        if name.startswith(old) and "classifier" not in name.split(".")
    }
    if network is None:
        return named
    own = network.state_dict()
    pooling = getattr(network, "pooling", None)
    # What comes after a pooling that makes features of its own is of other features, whatever its size.
    alike = "conv5.conv.weight" not in state or isinstance(pooling, TemporalMean | TemporalMax | TemporalAttention)
    return {
        name: value
        for name, value in inflated_state(named, network).items()
        if name.startswith("backbone.") or (alike and name in own and own[name].shape == value.shape)
    }
