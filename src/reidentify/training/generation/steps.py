"""What encoder, generator and discriminators see in one step, and their losses (FD-GAN and ST-ReIDNet)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from reidentify.batch import Batch
from reidentify.data.augment import Augment
from reidentify.losses.adversarial import adversarial, masked_l1
from reidentify.models.generation.discriminators import IdentityDiscriminator, ImageDiscriminator
from reidentify.models.generation.generator import Generator
from reidentify.models.skeleton_masks import skeleton_masks
from reidentify.training.generation.networks import Networks
from reidentify.training.generation.settings import GenerationLossSettings


@dataclass(frozen=True, eq=False)
class Shown:
    """The rows of a batch as networks see them.

    Args:
        inputs: B x 3 x H x W, from -1 to 1: what the encoder sees, with parts erased and colours changed.
        targets: B x 3 x H x W, from -1 to 1: the clean pictures that are to be drawn.
        poses: B x J x H x W, the heat maps of the joints in the targets.
        masks: B x 1 x H x W, the bodies in the targets; None where all pixels count alike.
    """

    inputs: Tensor
    targets: Tensor
    poses: Tensor
    masks: Tensor | None


def show(
    batch: Batch, augment: Augment, drawer: Generator, masked: bool, generator: torch.Generator, fill: Tensor | float
) -> Shown:
    """Augment a batch of images with joints.

    Mirror images are of the input, its target and its joints alike. What shifts, covers or colours a picture is of the
    input alone: the target stays clean, without a border that no joint explains, and the joints under what was erased
    stay seen.

    Args:
        batch: B x 1 frames, with keypoints.
        augment: what is done.
        drawer: whose heat maps are wanted.
        masked: find masks.
        generator: a CPU generator.
        fill: of erased pixels, as `Augment` takes it.
    """
    moved = dataclasses.replace(augment, pad=0, erase=0.0, patch=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
    covered = dataclasses.replace(augment, flip=0.0)
    clean = moved(batch, generator)
    inputs = covered(clean, generator, fill)
    assert clean.keypoints is not None
    joints, size = clean.keypoints[:, 0], drawer.size
    masks = skeleton_masks(joints, size, size) if masked else None
    return Shown(2 * inputs.pixels[:, 0] - 1, 2 * clean.pixels[:, 0] - 1, drawer.pose(joints, generator), masks)


@dataclass(frozen=True, eq=False)
class Plan:
    """Which rows of a batch are drawn, and what is told to the discriminators. All are row numbers.

    Args:
        people: R, whose features a picture is drawn from.
        looks: R, whose pose it is drawn in, and which picture it should become.
        shares: parts of the R pictures and their weights in the reconstruction.
        real: two of M: for each real picture that is shown the person it is compared with, and the row it is of.
        mismatched: two of K: real pictures, and poses that are not theirs.
        twins: two of L: drawn pictures (from 0 to R - 1) of one person in one pose, which should be the same.
    """

    people: Tensor
    looks: Tensor
    shares: tuple[tuple[slice, float], ...]
    real: tuple[Tensor, Tensor]
    mismatched: tuple[Tensor, Tensor]
    twins: tuple[Tensor, Tensor]


def triplets(rows: int, swap: float) -> Plan:
    """ST-ReIDNet: anchors, positives and a third role, all in their own poses; anchors and positives, who are the same
    people, in each other's poses too.

    Args:
        rows: B, of three roles, one after another.
        swap: share of the swapped pictures in the reconstruction.
    """
    every, n = torch.arange(rows), rows // 3
    both, swapped = every[: 2 * n], torch.cat([every[n : 2 * n], every[:n]])
    return Plan(
        people=torch.cat([every, both]),
        looks=torch.cat([every, swapped]),
        shares=((slice(rows), 1 - swap), (slice(rows, None), swap)),
        real=(every, every),
        mismatched=(both, swapped),
        twins=(every[:0], every[:0]),
    )


def pairs(labels: Tensor) -> Plan:
    """FD-GAN: pairs of images, each drawn as its target; a pair of one person as one and the same.

    Args:
        labels: B, of four roles: the images a, the images b, the targets of a, and those of b.
    """
    n = len(labels) // 4
    people, looks = torch.arange(2 * n), 2 * n + torch.arange(2 * n)
    same = torch.nonzero(labels[:n] == labels[n : 2 * n]).flatten().cpu()
    looks[n + same] = looks[same]
    none = people[:0]
    return Plan(people, looks, ((slice(None), 1.0),), (people, looks), (none, none), (same, n + same))


def draw(plan: Plan, features: Tensor, shown: Shown, drawer: Generator, generator: torch.Generator) -> Tensor:
    """The R pictures of a plan, R x 3 x H x W; twins are drawn from the same noise."""
    noise = drawer.noise(len(plan.people), generator)
    noise[plan.twins[1]] = noise[plan.twins[0]]
    return drawer(features[plan.people], shown.poses[plan.looks], noise)


def drawing_losses(
    plan: Plan, drawn: Tensor, shown: Shown, networks: Networks, s: GenerationLossSettings
) -> dict[str, Tensor]:
    """What the generator (and the encoder through it) minimises, each loss weighted."""
    looks = plan.looks
    targets, masks = shown.targets[looks], None if shown.masks is None else shown.masks[looks]
    parts = [
        share * masked_l1(drawn[part], targets[part], None if masks is None else masks[part])
        for part, share in plan.shares
    ]
    losses = {"reconstruction": s.reconstruction * torch.stack(parts).sum()}
    if s.same_pose and len(plan.twins[0]):
        losses["same_pose"] = s.same_pose * masked_l1(drawn[plan.twins[0]], drawn[plan.twins[1]])
    if s.image:
        with steady(networks.image):
            said = told_real(networks.image, shown.inputs[plan.people], drawn)
        losses["image"] = s.image * adversarial(said, real=True)
    if s.pose:
        losses["pose"] = s.pose * adversarial(networks.pose(drawn, shown.poses[looks]), real=True)
    return losses


def judging_losses(
    plan: Plan, drawn: Tensor, shown: Shown, networks: Networks, s: GenerationLossSettings, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the two discriminators minimise, and how often they are right about real and drawn pictures.

    Args:
        plan: what was drawn.
        drawn: R x 3 x H x W; no gradient reaches them.
        shown: of the batch.
        networks: whose discriminators are asked.
        s: how their labels are drawn.
        generator: a CPU generator for that.

    Returns:
        "image" and "pose", as far as they have a weight: half the sum of the losses of real and of generated pictures;
        and the mean share of right answers of both.
    """
    drawn, (people, looks), (pictures, others) = drawn.detach(), plan.real, plan.mismatched
    real, fake = dict[str, Tensor](), dict[str, Tensor]()
    if s.image:
        # Both at once: batch norms would give a batch of drawn pictures by itself the mean of one of real pictures.
        inputs, both = shown.inputs[torch.cat([people, plan.people])], torch.cat([shown.targets[looks], drawn])
        real["image"], fake["image"] = told_real(networks.image, inputs, both).split([len(people), len(drawn)])
    if s.pose:
        real["pose"] = networks.pose(shown.targets[looks], shown.poses[looks])
        fake["pose"] = networks.pose(drawn, shown.poses[plan.looks])
    right = {name: ((real[name] > 0).float().mean() + (fake[name] < 0).float().mean()) / 2 for name in real}
    if len(pictures) and "pose" in fake:
        fake["pose"] = torch.cat([fake["pose"], networks.pose(shown.targets[pictures], shown.poses[others])])
    labels = s.flip_labels, generator
    losses = {
        name: (
            adversarial(real[name], True, s.smooth_real, *labels)
            + adversarial(fake[name], False, s.smooth_fake, *labels)
        )
        / 2
        for name in real
    }
    return losses, right


def told_real(judge: ImageDiscriminator | IdentityDiscriminator, inputs: Tensor, images: Tensor) -> Tensor:
    """Logits of the image discriminator about images, above 0 for "real"."""
    return cast(Tensor, judge(inputs, images) if isinstance(judge, IdentityDiscriminator) else judge(images))


def keep_statistics(network: nn.Module) -> None:
    """Let batch norms normalise by the statistics that they have."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@contextmanager
def steady(network: nn.Module) -> Iterator[None]:
    """`keep_statistics`, for a while."""
    modes = {module: module.training for module in network.modules()}
    keep_statistics(network)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Let gradients pass through networks and keep none for their parameters."""
    learning = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
