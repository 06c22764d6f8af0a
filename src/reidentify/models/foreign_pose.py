"""Pose networks made elsewhere, as an ONNX or an OpenVINO file."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidentify.errors import InputError
from reidentify.joints import joint_set, to_market14
from reidentify.models.foreign import Graph
from reidentify.models.pose import decode

SEEN = 0.3
"""Confidence below which a joint counts as unseen: the customary threshold of such networks."""
_SIMCC = ("simcc_x", "simcc_y")


class ForeignPose(Graph):
    """A graph that maps images of one person to joints. What it returns is recognised by name and shape:

    - outputs `simcc_x`, N x J x k W, and `simcc_y`, N x J x k H: one score per k-th of a pixel (Li et al., SimCC, ECCV
      2022; RTMPose). A joint is at the highest score, and as confident as the lower of the two highest scores.
    - N x J x h x w: heat maps that cover the image. A joint is as confident as its map is high.
    - N x J x 3: x and y in pixels of the network's input, and a confidence; N x J x 2: without one, every joint seen.

    J may be 14 (Market-1501), 17 (COCO) or 18 (OpenPose), in the order of `reidentify.joints`; the first output of such
    a shape counts, and the others are not looked at.

    Args:
        path: the file.
        device: as of `Graph`.
        size: H, W of the images, for a graph that leaves them open.

    Raises:
        InputError: as `Graph`, or no output is any of these.
    """

    def __init__(
        self, path: str | os.PathLike[str], device: str | None = None, *, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(path, device, size=size)
        names = [port.name for port in self._runtime.outputs]
        if set(_SIMCC) <= set(names):
            self.outputs = list(_SIMCC)
        else:
            found = self.probe()
            fitting = [name for name, shape in found.items() if _is_pose(shape) and shape[0] == (self.batch or 1)]
            if not fitting:
                shapes = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in found.items())
                raise InputError(
                    f"{path}: no output is a pose: expected heat maps N x J x h x w, joints N x J x 2 or 3, or simcc_x"
                    f" and simcc_y, with 14, 17 or 18 joints; it has {shapes}"
                )
            self.outputs = fitting[:1]
        self(torch.zeros(1, 3, *self.size))  # whether its joints are known

    def __call__(self, images: Tensor) -> Tensor:
        """Find joints.

        Args:
            images: N x 3 x H x W, normalised as the network was trained.

        Returns:
            N x 14 x 3, float32: x, y in pixels of the images, and visibility; 0 where the confidence is below `SEEN`.
        """
        found = self.run(images, self.outputs)
        joints = self._from_simcc(*found) if len(found) == 2 else self._from_one(found[0])
        joint_set(joints.shape[1])
        confidence = joints[..., 2].clip(0, 1)
        joints[..., 2] = np.where(confidence >= SEEN, confidence, 0)
        return torch.from_numpy(to_market14(joints))

    def _from_simcc(self, along: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = self.size
        x, y = along.argmax(-1) * (width / along.shape[-1]), down.argmax(-1) * (height / down.shape[-1])
        return np.stack([x, y, np.minimum(along.max(-1), down.max(-1))], -1).astype(np.float32)

    def _from_one(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if values.ndim == 4:
            maps = torch.from_numpy(values)
            found = decode(maps, torch.ones(maps.shape[:2]), self.size).numpy()
            found[..., 2] = values.max((2, 3))
            return found
        if values.shape[-1] == 3:
            return values.copy()
        return np.concatenate([values, np.ones_like(values[..., :1])], -1)


def _is_pose(shape: tuple[int, ...]) -> bool:
    return len(shape) in (3, 4) and shape[1] in (14, 17, 18) and (len(shape) == 4 or shape[2] in (2, 3))
