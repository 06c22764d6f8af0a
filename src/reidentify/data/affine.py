"""Random rotation and scaling of a Batch, joints included."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from reidentify.batch import Batch
from reidentify.errors import InputError


@dataclass(frozen=True)
class Affine:
    """Rotation and scaling about the middle of the image, drawn for each image. What comes from outside is black.

    Args:
        rotate: largest angle to either side, in degrees.
        scale: factor drawn from 1 - scale to 1 + scale.
    """

    rotate: float = 0.0
    scale: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rotate <= 180 or not 0 <= self.scale < 1:
            raise InputError("affine: rotate must lie between 0 and 180 degrees, scale between 0 and below 1")

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The turned batch.

        Args:
            batch: B rows of T frames; pixels float from 0 to 1; no masks. A joint that leaves the image becomes unseen.
            generator: a CPU generator; the draws do not depend on the device.

        Raises:
            InputError: a batch with masks.
        """
        if batch.masks is not None:
            raise InputError("affine: masks cannot be turned")
        if not (self.rotate or self.scale):
            return batch
        b, t = batch.pixels.shape[:2]
        height, width = batch.pixels.shape[-2:]
        draw = 2 * torch.rand(2, b * t, generator=generator).to(batch.pixels.device) - 1
        angle, factor = draw[0] * math.radians(self.rotate), 1 + self.scale * draw[1]
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2) * factor[:, None, None]
        # Sampling asks where each new pixel comes from, with both sides of the image 2 long.
        back = torch.stack([cos, sin * height / width, -sin * width / height, cos], -1).reshape(-1, 2, 2)
        theta = F.pad(back / factor[:, None, None], (0, 1))
        flat = batch.pixels.flatten(0, 1)
        grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
        pixels = F.grid_sample(flat, grid, align_corners=False).reshape(batch.pixels.shape)
        if batch.keypoints is None:
            return batch.replace(pixels=pixels)
        joints = batch.keypoints.flatten(0, 1)
        middle = joints.new_tensor([(width - 1) / 2, (height - 1) / 2])
        places = (joints[..., :2] - middle) @ turn.mT.to(joints) + middle
        limit = joints.new_tensor([width - 0.5, height - 0.5])
        inside = ((places >= -0.5) & (places <= limit)).all(-1)
        moved = torch.cat([places, torch.where(inside, joints[..., 2], 0.0)[..., None]], -1)
        return batch.replace(pixels=pixels, keypoints=moved.reshape(batch.keypoints.shape))
