"""Settings of pose networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PoseSettings:
    """Which pose network.

    Args:
        backbone: name of a timm network that has feature maps at strides 4, 8, 16 and 32.
        init: where the weights start: "imagenet"; "random"; the name of shipped weights; or a path to
            `weights.safetensors` of another run.
        channels: of the maps that the head joins.
    """

    backbone: str = "tf_efficientnet_lite0"
    init: str = "imagenet"
    channels: int = 64
