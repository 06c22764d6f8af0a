"""Rotation and scaling: joints go where their pixels go."""

import numpy as np
import pytest
import torch

from reidentify.batch import Batch
from reidentify.data.affine import Affine
from reidentify.errors import InputError


def spots(n: int, size: tuple[int, int] = (48, 32)) -> Batch:
    """Black images with one bright spot, soft so that its middle can be measured, and joint 3 on it."""
    height, width = size
    rng = np.random.default_rng(0)
    places = rng.uniform([10, 14], [width - 11, height - 15], (n, 2))
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    pixels = torch.stack([torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4) for x, y in places])
    joints = torch.zeros(n, 1, 14, 3)
    joints[:, 0, 3] = torch.tensor(np.c_[places, np.ones(n)])
    return Batch(pixels[:, None, None].expand(n, 1, 3, height, width).float(), torch.arange(n), keypoints=joints)


def middle(image: torch.Tensor) -> list[float]:
    """x, y of the centre of mass."""
    height, width = image.shape
    total = image.sum()
    x = (image.sum(0) * torch.arange(width)).sum() / total
    return [float(x), float((image.sum(1) * torch.arange(height)).sum() / total)]


def test_joints_follow_their_pixels() -> None:
    batch = spots(30)
    out = Affine(rotate=25, scale=0.2)(batch, torch.Generator().manual_seed(1))
    moved = 0.0
    for i in range(30):
        x, y, visible = out.keypoints[i, 0, 3].tolist()
        assert visible == 1
        assert middle(out.pixels[i, 0, 0]) == pytest.approx([x, y], abs=0.1)
        moved = max(moved, float((out.keypoints[i, 0, 3] - batch.keypoints[i, 0, 3]).abs().max()))
    assert moved > 2
    assert out.keypoints[0, 0, 0, 2] == 0  # what was unseen stays so


def test_a_turn_by_hand() -> None:
    joints = torch.zeros(1, 1, 14, 3)
    joints[0, 0, 3] = torch.tensor([20.0, 11.5, 1])  # 8.5 right of the middle of 24 x 24 pixels
    batch = Batch(torch.zeros(1, 1, 3, 24, 24), torch.zeros(1, dtype=torch.long), keypoints=joints)
    out = Affine(rotate=180)(batch, torch.Generator().manual_seed(0))
    draw = 2 * torch.rand(2, 1, generator=torch.Generator().manual_seed(0))[0, 0] - 1
    angle = float(draw) * np.pi
    expected = [11.5 + 8.5 * np.cos(angle), 11.5 + 8.5 * np.sin(angle)]  # clockwise, as y points down
    assert out.keypoints[0, 0, 3, :2].tolist() == pytest.approx(expected, abs=1e-4)


def test_a_joint_that_leaves_is_unseen_and_nothing_is_nothing() -> None:
    batch = spots(8)
    joints = batch.keypoints.clone()
    joints[:, 0, 3, :2] = torch.tensor([31.0, 47.0])  # a corner, which a turn takes outside
    out = Affine(rotate=30)(batch.replace(keypoints=joints), torch.Generator().manual_seed(2))
    assert (out.keypoints[:, 0, 3, 2] == 0).any()
    assert Affine()(batch, torch.Generator()) is batch
    with pytest.raises(InputError, match="rotate must lie"):
        Affine(rotate=-1)
