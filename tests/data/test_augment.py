"""Augmentation: exact effects on small pictures, seeded draws, joints and masks moved along."""

import pytest
import torch

from reidentify.batch import Batch
from reidentify.data.augment import Augment

NOTHING = {"flip": 0.0, "pad": 0, "erase": 0.0}


def batch(b: int = 8, t: int = 1, height: int = 16, width: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(1, 256, (b, t, 3, height, width), dtype=torch.uint8, generator=generator)
    joints = torch.zeros(b, t, 14, 3)
    joints[..., 0], joints[..., 1], joints[..., 2] = torch.arange(14) % width, torch.arange(14), 1
    return Batch(pixels, torch.arange(b), keypoints=joints, masks=(pixels[:, :, 0] > 128).float())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_anything_pixels_are_only_scaled() -> None:
    given = batch()
    out = Augment(**NOTHING)(given, seeded())
    torch.testing.assert_close(out.pixels, given.pixels / 255)
    assert out.pixels.dtype == torch.float32


def test_flip_mirrors_pixels_masks_and_swaps_joints() -> None:
    given = batch()
    out = Augment(**NOTHING | {"flip": 1.0})(given, seeded())
    torch.testing.assert_close(out.pixels, given.pixels.flip(-1) / 255)
    torch.testing.assert_close(out.masks, given.masks.flip(-1))
    # Joint 3 (right elbow, x = 3) and joint 6 (left elbow, x = 6): each becomes the other's mirror image.
    assert out.keypoints[0, 0, 3].tolist() == [8 - 1 - 6, 6, 1]
    assert out.keypoints[0, 0, 6].tolist() == [8 - 1 - 3, 3, 1]
    assert out.keypoints[0, 0, 0].tolist() == [7, 0, 1]


def test_flip_is_drawn_per_row() -> None:
    given = batch(64)
    out = Augment(**NOTHING | {"flip": 0.5})(given, seeded())
    flipped = (out.pixels == given.pixels.flip(-1) / 255).flatten(1).all(1)
    kept = (out.pixels == given.pixels / 255).flatten(1).all(1)
    assert (flipped ^ kept).all()
    assert 16 < flipped.sum() < 48


def test_crop_shifts_everything_alike() -> None:
    given = batch(32)
    out = Augment(**NOTHING | {"pad": 3})(given, seeded())
    shifts = set()
    for i in range(32):
        dx, dy = (out.keypoints[i, 0, 7, :2] - given.keypoints[i, 0, 7, :2]).int().tolist()
        shifts.add((dx, dy))
        want = torch.zeros(3, 16 + 6, 8 + 6)
        want[:, 3 + dy : 3 + dy + 16, 3 + dx : 3 + dx + 8] = given.pixels[i, 0] / 255
        torch.testing.assert_close(out.pixels[i, 0], want[:, 3:-3, 3:-3])
        x, y = given.keypoints[i, 0, 0, :2].tolist()
        inside = 0 <= x + dx < 8 and 0 <= y + dy < 16
        assert out.keypoints[i, 0, 0, 2] == float(inside)
    assert {dx for dx, _ in shifts} == {dy for _, dy in shifts} == set(range(-3, 4))


def test_erasing_fills_one_box_of_the_asked_area() -> None:
    given = batch(64, height=64, width=32)
    fill = torch.tensor([0.0, 0.25, 0.5])
    out = Augment(**NOTHING | {"erase": 1.0, "erase_area": (0.1, 0.3)})(given, seeded(), fill)
    changed = (out.pixels != given.pixels / 255).any(2)[:, 0]  # pixel values start at 1, so black is always a change
    for i in range(64):
        rows, columns = torch.nonzero(changed[i], as_tuple=True)
        h, w = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert changed[i].sum() == h * w
        assert 0.08 < h * w / (64 * 32) < 0.33
        torch.testing.assert_close(out.pixels[i, 0][:, changed[i]], fill[:, None].expand(-1, int(h * w)))


def test_patches_come_from_another_row() -> None:
    given = batch(16)
    out = Augment(**NOTHING | {"patch": 1.0})(given, seeded()).pixels[:, 0]
    own = given.pixels[:, 0] / 255
    for i in range(16):
        changed = (out[i] != own[i]).any(0)
        donors = [j for j in range(16) if torch.equal(out[i][:, changed], own[j][:, changed])]
        assert donors


@pytest.mark.parametrize("change", ["erase", "patch"])
def test_a_covered_joint_is_unseen(change: str) -> None:
    """Every pixel differs from every other row's and from the fill, so the covered ones can be told; a joint each."""
    given = batch(6, height=16, width=14)
    pixels = torch.arange(given.pixels.numel()).reshape(given.pixels.shape) / given.pixels.numel()
    out = Augment(**NOTHING | {change: 1.0})(given.replace(pixels=pixels), seeded(), fill=1.0)
    covered = (out.pixels[:, 0, 0] != pixels[:, 0, 0]).float()
    for row in range(6):
        for joint in range(14):
            x, y, visible = out.keypoints[row, 0, joint].tolist()
            assert visible == 1 - covered[row, int(y), int(x)]
    assert 0 < out.keypoints[..., 2].mean() < 1
    assert given.keypoints[..., 2].all()


def test_colour_follows_the_drawn_factors() -> None:
    given = batch(4)
    grey = given.replace(pixels=torch.full_like(given.pixels, 100))
    out = Augment(**NOTHING | {"brightness": 0.2})(grey, seeded()).pixels
    assert out.flatten(1).std(1).max() < 1e-6
    assert ((out > 0.8 * 100 / 255 - 1e-6) & (out < 1.2 * 100 / 255 + 1e-6)).all()
    # Saturation and contrast leave a uniform grey as it is.
    same = Augment(**NOTHING | {"saturation": 0.5, "contrast": 0.5})(grey, seeded()).pixels
    torch.testing.assert_close(same, grey.pixels / 255, atol=1e-6, rtol=0)


@pytest.mark.parametrize("per_frame", [False, True])
def test_one_draw_per_clip_or_per_frame(per_frame: bool) -> None:
    one = batch(16)
    clip = Batch(one.pixels.expand(-1, 6, -1, -1, -1).contiguous(), one.labels)
    out = Augment(flip=0.5, pad=2, erase=0.5, brightness=0.3, per_frame=per_frame)(clip, seeded()).pixels
    alike = (out == out[:, :1]).flatten(1).all(1)
    assert alike.all() if not per_frame else not alike.any()


def test_the_seed_decides() -> None:
    augment, given = Augment(brightness=0.2, patch=0.3), batch()
    torch.testing.assert_close(augment(given, seeded(3)).pixels, augment(given, seeded(3)).pixels, rtol=0, atol=0)
    assert not torch.equal(augment(given, seeded(3)).pixels, augment(given, seeded(4)).pixels)


def test_a_joint_is_in_the_image_as_far_as_its_pixels_reach() -> None:
    """Half a pixel beyond the centres of the outer ones, as everywhere (`posemaps.seen`)."""
    given = batch(64)
    given.keypoints[..., 0], given.keypoints[..., 1] = -0.03, 15.4
    out = Augment(**NOTHING | {"pad": 1})(given, seeded()).keypoints
    moved = (out[:, 0, 0, :2] - given.keypoints[:, 0, 0, :2]).round()
    expected = (moved[:, 0] >= 0) & (moved[:, 1] <= 0)
    assert 0 < expected.sum() < 64
    assert torch.equal(out[:, 0, 0, 2] == 1, expected)
    assert (moved == 0).all(1).any()


def test_erasing_covers_exactly_the_box_that_was_drawn() -> None:
    """ST-ReIDNet's eraser pastes its patch at a place that is the patch's size; here it is where it was drawn.

    The draws are made again: which images, then ten tries of area, aspect, row and column each, the first that fits.
    """
    given, mean = batch(32, height=64, width=32), torch.tensor([0.485, 0.456, 0.406])
    out = Augment(**NOTHING | {"erase": 0.75, "erase_area": (0.02, 0.2)})(given, seeded(5), mean).pixels[:, 0]
    generator = seeded(5)
    which = torch.rand(32, 1, generator=generator)[:, 0] < 0.75
    tries = torch.rand(32, 1, 10, 4, generator=generator)[:, 0]
    expected = given.pixels[:, 0] / 255
    for i in torch.nonzero(which)[:, 0].tolist():
        for area, aspect, y, x in tries[i]:
            pixels, ratio = (0.02 + 0.18 * area) * 64 * 32, 0.3 + (1 / 0.3 - 0.3) * aspect
            h, w = int((pixels * ratio).sqrt().round()), int((pixels / ratio).sqrt().round())
            if h < 64 and w < 32:
                top, left = int(y * (64 - h)), int(x * (32 - w))
                expected[i, :, top : top + h, left : left + w] = mean[:, None, None]
                break
    torch.testing.assert_close(out, expected)
    assert 16 < which.sum() < 32
