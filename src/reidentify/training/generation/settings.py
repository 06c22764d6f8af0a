"""The sections of recipes of pose-guided generation that no other kind of training has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class GenerationSamplerSettings:
    """What makes up a batch, per process.

    Args:
        kind: "pairs" (FD-GAN: pairs of images and a target for each), "instances" (ST-ReIDNet: an anchor and two
            positives) or "space-time" (ST-ReIDNet: an anchor, a positive some time apart, a negative of the same
            video).
        anchors: images that a batch starts from. A batch holds 3 times as many images, and of kind pairs
            4 (1 + `negatives`) times.
        per_epoch: anchors of an epoch, drawn anew each time; null for all images.
        negatives: pairs: pairs of two people for each of one person.
        inter_rate: space-time: probability that a positive and a negative are looked for in the anchor's video.
        gap: space-time: seconds between an anchor and such a positive.
    """

    kind: Literal["pairs", "instances", "space-time"] = "space-time"
    anchors: int = 16
    per_epoch: int | None = None
    negatives: int = 3
    inter_rate: float = 0.7
    gap: float = 4.0


@dataclass(frozen=True)
class GenerationLossSettings:
    """The sum that encoder and generator minimise, and the labels of their judges.

    Args:
        reconstruction: weight of the L1 distance between a generated picture and the real one.
        masked: count the pixels of the person's body more (ST-ReIDNet, as released).
        swap: st-reidnet: share of pictures in another image's pose in the reconstruction; the rest are those in the
            image's own pose.
        same_pose: fd-gan: weight of the L1 distance between the two pictures of one person in one pose.
        image: weight of what the image discriminator says; with 0 it is neither asked nor trained.
        pose: likewise of the pose discriminator.
        verification: fd-gan: weight of telling pairs of one person from pairs of two by the encoder's features.
        cross_entropy: weight of the identity classification.
        label_smoothing: epsilon of (1 - eps) onehot + eps / C.
        triplet: weight of the batch-hard triplet loss, with the Euclidean distance; the negatives of space-time
            sampling are no anchors.
        triplet_kind: "hard" (margin) or "soft" (soft margin).
        margin: of triplet_kind "hard".
        smooth_real: the interval that discriminators draw their labels of real pictures from; null for 1.
        smooth_fake: likewise of generated ones; null for 0.
        flip_labels: probability that a discriminator is told the opposite, for a whole batch.
    """

    reconstruction: float = 10.0
    masked: bool = True
    swap: float = 0.7
    same_pose: float = 0.0
    image: float = 0.1
    pose: float = 0.1
    verification: float = 0.0
    cross_entropy: float = 1.0
    label_smoothing: float = 0.1
    triplet: float = 1.0
    triplet_kind: Literal["hard", "soft"] = "soft"
    margin: float = 0.3
    smooth_real: tuple[float, float] | None = None
    smooth_fake: tuple[float, float] | None = None
    flip_labels: float = 0.0


@dataclass(frozen=True)
class GenerationRates:
    """How generator and discriminators move; `optimiser` is the encoder's, and its schedule is everybody's.

    Args:
        generator: learning rate, of Adam with a first beta of 0.5.
        image: of the image discriminator.
        pose: of the pose discriminator.
        discriminators: "sgd" (with a momentum of 0.9, as published) or "adam" (with a first beta of 0.5).
        weight_decay: of the discriminators.
    """

    generator: float = 2e-4
    image: float = 2e-4
    pose: float = 2e-4
    discriminators: Literal["sgd", "adam"] = "adam"
    weight_decay: float = 0.0
