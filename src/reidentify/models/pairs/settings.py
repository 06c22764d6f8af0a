"""Settings of pairwise networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class PairSettings:
    """Which pairwise network. A setting that a kind does not list is not used by it.

    Args:
        kind: "idla" (Ahmed et al. 2015), "xcorr" and "fused" (Subramaniam et al. 2016), "euclidean" (squared
            differences of the maps), "deep" (both maps through many convolutions), or "siamese" (an embedding network
            and squared differences, as the verifier of FD-GAN).
        init: where the weights start: "random"; the name of shipped weights; or a path to `weights.safetensors` of
            another run. "siamese" also takes weights of its embedding network.
        trunk: all but siamese: "published" (two convolutions), or the early stages of "osnet" (with `width`) or of a
            timm network by name, reduced to `channels`.
        width: of trunk "osnet": 1.0, 0.75, 0.5 or 0.25.
        stride: of the maps of a trunk other than "published": 4, or 8 for stages that see more, best with images twice
            as large.
        channels: all but siamese: of the two convolutions of the trunk.
        norm: all but siamese: batch normalisation in trunk and head; false is as published.
        dropout: probability, before the last layer.
        pose: all but siamese: joint heat maps as further channels.
        pose_regions: all but siamese: differences between corresponding body regions, beside those between positions.
        embedding: siamese: the settings of its embedding network, as the `model` of another recipe.
    """

    kind: Literal["idla", "xcorr", "fused", "euclidean", "deep", "siamese"] = "fused"
    init: str = "random"
    trunk: str = "published"
    width: float = 0.25
    stride: Literal[4, 8] = 4
    channels: tuple[int, int] = (20, 25)
    norm: bool = False
    dropout: float = 0.0
    pose: bool = False
    pose_regions: bool = False
    embedding: dict[str, Any] = field(default_factory=dict)
