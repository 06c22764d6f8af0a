"""Views of an image whose descriptions are averaged: enlargements and mirror images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reidentify.joints import mirrored_joints


def views(
    images: Tensor, keypoints: Tensor | None = None, flip: bool = False, scales: Sequence[float] = (1.0,)
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Each enlargement, and with `flip` its mirror image, where left and right joints change places.

    Args:
        images: ... x 3 x H x W, uint8; where the only scale is 1 of any type.
        keypoints: ... x J x 3: x, y in pixels of the images, and visibility.
        flip: give mirror images too.
        scales: of the enlargements.

    Returns:
        Images and keypoints, as given, of every view.
    """
    for scale in scales:
        shown, joints = images, keypoints
        if scale != 1.0:
            size = [round(n * scale) for n in images.shape[-2:]]
            flat = images.reshape(-1, *images.shape[-3:]).float()
            resized = F.interpolate(flat, size, mode="bilinear", antialias=True, align_corners=False)
            shown = resized.round().clamp(0, 255).to(torch.uint8).reshape(*images.shape[:-2], *size)
            if joints is not None:
                factors = joints.new_tensor([new / old for new, old in zip(size[::-1], images.shape[:-3:-1])])
                joints = torch.cat([(joints[..., :2] + 0.5) * factors - 0.5, joints[..., 2:]], -1)
        yield shown, joints
        if flip:
            yield shown.flip(-1), None if joints is None else mirrored(joints, shown.shape[-1])


def mirrored(keypoints: Tensor, width: int) -> Tensor:
    """Joints, ... x J x 3, in the mirror image of one of this width; left and right change places."""
    swapped = keypoints[..., mirrored_joints(keypoints.shape[-2]), :]
    return torch.cat([width - 1 - swapped[..., :1], swapped[..., 1:]], -1)
