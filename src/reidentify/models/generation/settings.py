"""Settings of the networks of pose-guided generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class GeneratorSettings:
    """Which generator; as published (Ge et al., "FD-GAN", NeurIPS 2018, and its released code) by default, but for the
    joints: there are OpenPose's 18 there, and DanceReID's 17.

    Args:
        init: where the weights start: "random"; or a path to `generator.safetensors` of another run, or to its folder.
        channels: of the finest maps; coarser ones have up to 8 times as many.
        pose_features: length of the vector that the pose becomes.
        noise: length of the noise vector; 0 for none, as in ST-ReIDNet.
        dropout: probability, after each layer of the decoder but the last.
        fuse: "concatenate" features, pose and noise, or "add" linear projections of them.
        skips: how many layers of the decoder, from the coarsest, also see the maps of the pose at their size.
        joints: how many: 14 (Market-1501), 17 (COCO) or 18 (OpenPose).
        sigma: standard deviation of the joints' heat maps, in pixels at a height of 256; scaled with the height.
        jitter: of the heat maps in training: "none", "erase" (one joint less), or "gauss" (wider or narrower ones).
    """

    init: str = "random"
    channels: int = 64
    pose_features: int = 128
    noise: int = 256
    dropout: float = 0.2
    fuse: Literal["concatenate", "add"] = "concatenate"
    skips: Literal[0, 1, 2, 3, 4, 5] = 0
    joints: Literal[14, 17, 18] = 14
    sigma: float = 5.0
    jitter: Literal["none", "erase", "gauss"] = "none"


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Which discriminators. That of poses is a PatchGAN; the one of images is described here.

    Args:
        image: "real" (is this image real or generated? ST-ReIDNet), or "identity" (are two images of one person, and
            both real? FD-GAN).
        backbone: of the image discriminator: "encoder" (the encoder's architecture, which the next four settings then
            do not change), the name of a timm network, or "osnet".
        last_stride: 1 keeps the resolution of the last down-sampling stage, 2 leaves it; osnet has no such stage.
        width: of osnet: 1.0, 0.75, 0.5 or 0.25.
        norm: of osnet: "bn", "ibn" or "ain".
        backbone_settings: passed to timm.
        init: where the image discriminator starts: "imagenet", "random", or "encoder" (with backbone "encoder": as the
            encoder is then).
        channels: of the first layer of the pose discriminator.
    """

    image: Literal["real", "identity"] = "real"
    backbone: str = "resnet18"
    last_stride: Literal[1, 2] = 2
    width: float = 1.0
    norm: Literal["bn", "ibn", "ain"] = "bn"
    backbone_settings: dict[str, Any] | None = None
    init: Literal["imagenet", "random", "encoder"] = "random"
    channels: int = 64


@dataclass(frozen=True)
class GenerationSettings:
    """What a card says of a saved generator.

    Args:
        encoder: `ModelSettings` of the network that the features come from.
        generator: `GeneratorSettings`.
    """

    encoder: dict[str, Any] = field(default_factory=dict)
    generator: dict[str, Any] = field(default_factory=dict)
