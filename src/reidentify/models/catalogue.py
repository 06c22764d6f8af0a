"""From settings to a network: the one place where architectures have names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from reidentify.errors import InputError
from reidentify.models.aacn import AACN
from reidentify.models.backbone import Backbone, timm_backbone
from reidentify.models.baseline import Baseline
from reidentify.models.inflate import TORCHVISION_3D
from reidentify.models.osnet import OSNet
from reidentify.models.pcb import PCB
from reidentify.models.spindle import Spindle
from reidentify.models.video import Temporal, start, video_network
from reidentify.values import Attribute


@dataclass(frozen=True)
class ModelSettings:
    """Which network. A setting that an architecture does not list is not used by it.

    Args:
        architecture: "baseline" (any timm backbone, global pooling, BN neck), "pcb" (horizontal parts), "osnet",
            "spindle" and "aacn" (body parts, found by their joints), or "video" (clips: a backbone for the frames and
            `temporal` over them).
        backbone: every architecture but osnet: name of a timm network, or "osnet" (with `width` and `norm`; weights of
            an OSNet start it); video with temporal "3d" also "r3d_18", "mc3_18" and "r2plus1d_18" of torchvision.
        init: where the weights start: "imagenet"; "random"; the name of shipped weights; or a path to
            `weights.safetensors` of another run or to an OSNet checkpoint of torchreid. A classifier of other
            identities is left out.
        last_stride: every architecture but osnet: 1 keeps the resolution of the last down-sampling stage, 2 leaves it.
        pooling: baseline: "gap" (average), "gem" (generalised mean) or "max".
        neck: baseline, video: "bnneck" or "none"; osnet: "bnneck" or "linear" (as published).
        neck_feature: baseline: with a BN neck, whether the embedding is the feature "after" its norm, or the one
            "before" it, as in ST-ReIDNet.
        embedding_dim: baseline, video: size of a linear layer after the pooling, null for none; osnet: size of its last
            linear layer; pcb: size of each part's reduced feature; spindle, aacn: size of the embedding and of each
            part's feature, null for 256.
        camera_embedding: baseline: a learned vector per training camera.
        parts: pcb: number of horizontal stripes.
        region_cells: spindle: a side of a large body region after RoI-align, in cells; of a limb half of it.
        part_matching: spindle, aacn: compare two images by the parts that both show, and not by one vector of each.
        width: osnet, as architecture or backbone: 1.0, 0.75, 0.5 or 0.25.
        norm: osnet, as architecture or backbone: "bn", "ibn" or "ain".
        backbone_settings: every architecture but osnet: passed to timm, e.g. {img_size: [256, 128]} for a vision
            transformer.
        temporal: video: "mean" or "max" of the frames, "attention" (a weight per frame), "lstm", "gru", "nonlocal",
            "asta" (attribute-driven spatial-temporal attention) or "3d" (convolutions over time).
        temporal_settings: video: passed to it, e.g. {hidden: 512} for a recurrent one.
        attributes: baseline, video: heads that tell the attributes of the training data.
    """

    architecture: Literal["baseline", "pcb", "osnet", "spindle", "aacn", "video"] = "baseline"
    backbone: str = "resnet50"
    init: str = "imagenet"
    last_stride: Literal[1, 2] = 1
    pooling: Literal["gap", "gem", "max"] = "gap"
    neck: Literal["bnneck", "linear", "none"] = "bnneck"
    neck_feature: Literal["after", "before"] = "after"
    embedding_dim: int | None = None
    camera_embedding: bool = False
    parts: int = 6
    region_cells: int = 24
    part_matching: bool = False
    width: float = 1.0
    norm: Literal["bn", "ibn", "ain"] = "bn"
    backbone_settings: dict[str, Any] | None = None
    temporal: Temporal = "mean"
    temporal_settings: dict[str, Any] | None = None
    attributes: bool = False


def build(
    settings: ModelSettings,
    num_classes: int = 0,
    cameras: int = 0,
    pretrained: bool = False,
    schema: Sequence[Attribute] = (),
) -> nn.Module:
    """The network that `settings` describe.

    Args:
        settings: which network.
        num_classes: training identities; 0 for a network that only embeds.
        cameras: training cameras, used with `camera_embedding`.
        pretrained: fetch the backbone's ImageNet weights.
        schema: what attribute heads tell, where `settings.attributes` asks for them.

    Returns:
        A module `network(images, camids=None) -> Output` with `embedding_dim`, the length of its embedding; one of
        clips is called `network(clips, camids=None, valid=None)`, and one with `wants_keypoints`
        `network(images, camids=None, keypoints=None)`.

    Raises:
        InputError: settings that do not fit together.
    """
    s = settings
    if s.attributes and s.architecture not in ("baseline", "video"):
        raise InputError(f"model.attributes: a network of architecture {s.architecture} has no attribute heads")
    if s.part_matching and s.architecture not in ("spindle", "aacn"):
        raise InputError(f"model.part_matching: a network of architecture {s.architecture} tells no body parts")
    if s.architecture == "osnet":
        return OSNet(num_classes, s.width, s.norm, s.embedding_dim or 512, "linear" if s.neck == "linear" else "bnneck")
    backbone: Backbone | str = s.backbone
    if s.backbone == "osnet":
        backbone = Backbone(OSNet(0, s.width, s.norm, feature_dim=None))
    elif s.architecture != "video" or s.backbone not in TORCHVISION_3D:
        backbone = timm_backbone(s.backbone, pretrained, s.last_stride, **(s.backbone_settings or {}))
    neck = "none" if s.neck == "linear" else s.neck
    told = tuple(schema) if s.attributes else ()
    if s.architecture == "video":
        temporal = (s.temporal, num_classes, neck, s.embedding_dim, told, s.temporal_settings)
        return video_network(backbone, *temporal, pretrained=pretrained)
    assert isinstance(backbone, Backbone)
    if s.architecture == "pcb":
        return PCB(backbone, num_classes, parts=s.parts, reduced_dim=s.embedding_dim or 256)
    if s.architecture == "spindle":
        return Spindle(backbone, num_classes, s.embedding_dim or 256, s.region_cells)
    if s.architecture == "aacn":
        return AACN(backbone, num_classes, s.embedding_dim or 256)
    cameras = cameras if s.camera_embedding else 0
    return Baseline(backbone, num_classes, s.pooling, neck, s.embedding_dim, cameras, told, s.neck_feature)


def start_of(settings: ModelSettings, state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights to start `network` from, under its names: those of an OSNet may start one that stands on it, and those of
    a network of images one of clips."""
    if settings.architecture == "video":
        return start(state, network)
    if settings.architecture != "osnet" and settings.backbone == "osnet" and "conv5.conv.weight" in state:
        trunk = ("conv1.", "conv2.", "conv3.", "conv4.", "conv5.")
        return {f"backbone.network.{k}": v for k, v in state.items() if k.startswith(trunk)}
    return state
