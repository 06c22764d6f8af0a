"""Joints as heat maps and as body regions, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from reidentify.errors import InputError
from reidentify.joints import MARKET14

_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")


def _joints(*names: str) -> tuple[int, ...]:
    return tuple(map(MARKET14.index, names))


def _limb(side: str, joints: tuple[str, ...]) -> tuple[int, ...]:
    return _joints(*(f"{side} {joint}" for joint in joints))


REGIONS: dict[str, tuple[int, ...]] = {
    "head": _joints("head top", "neck", "right shoulder", "left shoulder"),
    "upper body": _limb("right", _ARM) + _limb("left", _ARM) + _joints("right hip", "left hip"),
    "lower body": _limb("right", _LEG) + _limb("left", _LEG),
    "right arm": _limb("right", _ARM),
    "left arm": _limb("left", _ARM),
    "right leg": _limb("right", _LEG),
    "left leg": _limb("left", _LEG),
}
"""The joints of each body region (Zhao et al., Spindle Net, CVPR 2017, section 3.2): three large ones, four limbs."""
_SQUARE = ("head", "upper body", "lower body")
_MARGIN = 0.2  # of the joints' extent, added on every side
_SMALLEST = 1 / 7  # of the image's height: the shortest side of a region
_JITTER = (0.8, 1.0, 1.2)  # times the sigma


def seen(keypoints: Tensor, image: tuple[int, int]) -> Tensor:
    """How visible each joint is; 0 for one that lies outside the image or has no coordinates.

    The centre of the pixel in row 0 and column 0 is at 0, 0, so the image reaches from -0.5 to W - 0.5.

    Args:
        keypoints: ... x J x 3: x, y in pixels of the image, and visibility.
        image: H, W.

    Returns:
        ... x J, from 0 to 1, float32.
    """
    height, width = image
    x, y, visibility = keypoints.float().unbind(-1)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)  # False for NaN
    return torch.where(inside, visibility.nan_to_num(0.0).clamp(0, 1), 0.0)


def gaussian_maps(keypoints: Tensor, size: tuple[int, int], image: tuple[int, int], sigma: float | Tensor) -> Tensor:
    """One heat map per joint: a Gaussian around its exact place, not around the nearest cell (Zhang et al.,
    Distribution-Aware Coordinate Representation, CVPR 2020, section 3.2).

    Args:
        keypoints: N x J x 3: x, y in pixels of the image, and visibility.
        size: h, w of the maps, which cover the whole image.
        image: H, W.
        sigma: standard deviation in cells of the maps; a tensor: N, one for each image.

    Returns:
        N x J x h x w, float32. The peak is the joint's visibility; the map of an unseen one (`seen`) is 0 everywhere.

    Raises:
        InputError: keypoints or sigmas of another shape, or a sigma that is not above 0.
    """
    if keypoints.ndim != 3 or keypoints.shape[-1] != 3:
        raise InputError(f"keypoints: expected N x J x 3, got {' x '.join(map(str, keypoints.shape))}")
    sigmas = torch.as_tensor(sigma, dtype=torch.float32)
    if sigmas.ndim and sigmas.shape != keypoints.shape[:1]:
        raise InputError(f"sigma: expected one number, or one for each of {len(keypoints)} images, got {len(sigmas)}")
    if not bool((sigmas > 0).all()):
        raise InputError(f"sigma: expected a number above 0, got {sigma}")
    doubled = 2 * sigmas.to(keypoints.device).reshape(-1, 1, 1) ** 2
    weight = seen(keypoints, image)
    place = keypoints[..., :2].float().nan_to_num(0.0)

    def along(axis: int) -> Tensor:
        cells, pixels = size[1 - axis], image[1 - axis]
        centre = (place[..., axis] + 0.5) * (cells / pixels) - 0.5
        grid = torch.arange(cells, device=centre.device, dtype=torch.float32)
        return torch.exp(-((grid - centre[..., None]) ** 2) / doubled)

    # A Gaussian is the product of one along each side.
    return (weight[..., None] * along(1))[..., None] * along(0)[..., None, :]


def jittered(
    keypoints: Tensor, kind: Literal["none", "erase", "gauss"], generator: torch.Generator, sigma: float = 5.0
) -> tuple[Tensor, Tensor]:
    """Joints and the widths of their heat maps, disturbed so that a generator does not rely on every one of them (the
    "pose-aug" of the released code of FD-GAN, Ge et al., NeurIPS 2018).

    Args:
        keypoints: N x J x 3.
        kind: "none"; "erase": of each image one joint, drawn among those that are seen, becomes unseen; "gauss": the
            sigma of each image is drawn from 0.8, 1 and 1.2 times `sigma` (4, 5 and 6 as published).
        generator: a CPU generator; the draws do not depend on the device.
        sigma: the undisturbed width.

    Returns:
        The keypoints, and N sigmas, float32, as `gaussian_maps` takes them.

    Raises:
        InputError: an unknown kind.
    """
    if kind not in ("none", "erase", "gauss"):
        raise InputError(f"jitter: expected none, erase or gauss, got {kind!r}")
    count, joints = keypoints.shape[:2]
    sigmas = torch.full((count,), sigma)
    if kind == "gauss":
        sigmas *= torch.tensor(_JITTER)[torch.randint(len(_JITTER), (count,), generator=generator)]
    elif kind == "erase":
        there = keypoints[..., 2] > 0
        drawn = torch.rand(count, joints, generator=generator).to(keypoints.device)
        one = torch.where(there, drawn, -1.0).argmax(1)
        erased = there & (torch.arange(joints, device=one.device) == one[:, None])
        visibility = torch.where(erased, 0, keypoints[..., 2])
        keypoints = torch.cat([keypoints[..., :2], visibility[..., None]], -1)
    return keypoints, sigmas.to(keypoints.device)


def regions(keypoints: Tensor, image: tuple[int, int], names: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
    """The body regions that 14 joints span (Spindle Net; its published code, RPN/inference.py).

    A region is the box around its joints that are seen, with a fifth of its width and height added on every side; the
    three large ones are made square, no side is shorter than a seventh of the image's height, and what lies outside the
    image is cut off.

    Args:
        keypoints: N x 14 x 3, `MARKET14`: x, y in pixels of the image, and visibility.
        image: H, W.
        names: which of `REGIONS`, in this order; None: all 7.

    Returns:
        Boxes, N x R x 4, float32: x0, y0, x1, y1 of the edges, from 0 to W and 0 to H (as torchvision's `roi_align`
        takes them with `aligned=True`); the whole image where fewer than two joints are seen. And N x R, float32: how
        visible each region is, the mean over its joints, 0 where fewer than two are seen.

    Raises:
        InputError: keypoints of another shape, or an unknown region.
    """
    if keypoints.ndim != 3 or tuple(keypoints.shape[1:]) != (len(MARKET14), 3):
        raise InputError(f"keypoints: expected N x 14 x 3, got {' x '.join(map(str, keypoints.shape))}")
    names = list(REGIONS if names is None else names)
    for name in names:
        if name not in REGIONS:
            raise InputError(f"there is no body region {name!r}; there are {', '.join(REGIONS)}")
    height, width = image
    visibility = seen(keypoints, image)
    edges = keypoints[..., :2].float().nan_to_num(0.0) + 0.5  # from the centres of pixels to their edges
    limits = edges.new_tensor([width, height])
    boxes, visible = [], []
    for name in names:
        joints = list(REGIONS[name])
        there = visibility[:, joints]
        known = there > 0
        low = torch.where(known[..., None], edges[:, joints], torch.inf).amin(1)
        high = torch.where(known[..., None], edges[:, joints], -torch.inf).amax(1)
        enough = known.sum(1) >= 2
        low, high = (torch.where(enough[:, None], v, other) for v, other in ((low, 0 * limits), (high, limits)))
        margin = _MARGIN * (high - low)
        low, high = (low - margin).clamp(min=0), (high + margin).minimum(limits)
        side = high - low
        if name in _SQUARE:
            side = side.amax(1, keepdim=True).expand_as(side)
        side = side.clamp(min=_SMALLEST * height)
        middle = (low + high) / 2
        low, high = (middle - side / 2).clamp(min=0), (middle + side / 2).minimum(limits)
        box = torch.cat([low, high], 1)
        boxes.append(torch.where(enough[:, None], box, torch.cat([0 * limits, limits])))
        visible.append(torch.where(enough, there.mean(1), 0.0))
    return torch.stack(boxes, 1), torch.stack(visible, 1)
