"""Masks of skeletons against counted cells and against loops in plain Python."""

import math

import pytest
import torch

from reidentify.errors import InputError
from reidentify.joints import COCO17, MARKET14, OPENPOSE18, JointSet, to_market14
from reidentify.models.skeleton_masks import skeleton_masks

NAN = float("nan")
SIZE = (256, 128)

# The tables of the released code of ST-ReIDNet, by number, with widths; the last line of the torso of 18 joints ends
# in "18" there, which does not exist, and is meant to be 8.
LINES_17 = [(a, b, 20) for a, b in [(0, 1), (0, 2), (1, 3), (2, 4), (5, 7), (7, 9), (6, 8), (8, 10)]]
LINES_17 += [(a, b, 20) for a, b in [(11, 13), (12, 14), (13, 15), (14, 16)]]
LINES_17 += [(a, b, 30) for a, b in [(5, 6), (5, 11), (6, 12), (11, 12), (6, 11), (5, 12), (0, 6), (0, 5)]]
LINES_18 = [(a, b, 20) for a, b in [(16, 14), (14, 0), (0, 15), (15, 17), (4, 3), (3, 2), (5, 6), (6, 7)]]
LINES_18 += [(a, b, 20) for a, b in [(8, 9), (9, 10), (11, 12), (12, 13)]]
LINES_18 += [(a, b, 30) for a, b in [(2, 1), (1, 5), (1, 8), (1, 11), (2, 8), (11, 8), (5, 11), (11, 2)]]
LINES_18 += [(5, 8, 30), (0, 1, 30)]
# Market's: head top 0, neck 1, right arm 2 to 4, left arm 5 to 7, right leg 8 to 10, left leg 11 to 13. 14 is the nose.
LINES_14 = [(a, b, 20) for a, b in [(2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13)]]
LINES_14 += [(a, b, 30) for a, b in [(1, 2), (1, 5), (1, 8), (1, 11), (2, 8), (2, 11), (5, 8), (5, 11)]]
LINES_14 += [(8, 11, 30), (14, 1, 30)]


def one(known: JointSet, **places: tuple[float, float]) -> torch.Tensor:
    """1 x J x 3 with the named joints seen and all others unseen."""
    joints = torch.zeros(1, len(known), 3)
    for name, (x, y) in places.items():
        joints[0, known.index(name.replace("_", " "))] = torch.tensor([x, y, 1.0])
    return joints


def by_loop(person: list[list[float]], size: tuple[int, int], image: tuple[int, int]) -> list[list[float]]:
    """How far each cell lies outside of the nearest shape, in pixels; below 0 inside it."""
    lines = {14: LINES_14, 17: LINES_17, 18: LINES_18}[len(person)]
    person, nose = [*person], 0
    if len(person) == 14:
        (ax, ay, seen_a), (bx, by, seen_b) = person[:2]
        nose = 14
        person.append([(ax + bx) / 2, (ay + by) / 2, min(seen_a, seen_b)])
    there = [v > 0 and -0.5 <= x <= image[1] - 0.5 and -0.5 <= y <= image[0] - 0.5 for x, y, v in person]
    scale, found = image[0] / 256, []
    for row in range(size[0]):
        found.append([])
        for column in range(size[1]):
            y, x = (row + 0.5) * image[0] / size[0] - 0.5, (column + 0.5) * image[1] / size[1] - 0.5
            outside = [math.inf]
            for j, (jx, jy, _) in enumerate(person):
                if there[j]:
                    outside.append(math.hypot(x - jx, y - jy) - (20 if j == nose else 10) * scale)
            for a, b, width in lines:
                if not (there[a] and there[b]):
                    continue
                (ax, ay, _), (bx, by, _) = person[a], person[b]
                length = math.hypot(bx - ax, by - ay)
                ux, uy = (bx - ax) / length, (by - ay) / length
                along = (x - ax) * ux + (y - ay) * uy
                if along < 0:
                    distance = math.hypot(x - ax, y - ay)
                elif along > length:
                    distance = math.hypot(x - bx, y - by)
                else:
                    distance = abs((x - ax) * uy - (y - ay) * ux)
                outside.append(distance - width / 2 * scale)
            found[-1].append(min(outside))
    return found


@pytest.mark.parametrize("count", [14, 17, 18])
@pytest.mark.parametrize(("size", "image"), [((64, 32), (64, 32)), ((32, 16), (128, 64))])
def test_against_loops(count: int, size: tuple[int, int], image: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(count)
    people = torch.rand(3, count, 3, generator=generator, dtype=torch.float64)
    people[..., :2] *= torch.tensor([1.2 * image[1], 1.1 * image[0]])  # some lie outside
    people[..., 2] = (people[..., 2] > 0.4) * people[..., 2]
    masks = skeleton_masks(people, size, image)
    assert masks.shape == (3, 1, *size)
    assert masks.dtype == torch.float32
    for person, mask in zip(people.tolist(), masks[:, 0]):
        outside = torch.tensor(by_loop(person, size, image))
        assert outside.abs().min() > 1e-4  # no cell is so near an edge that rounding decides
        assert torch.equal(mask, (outside < 0).float())
        assert 0 < mask.mean() < 1


def test_the_published_radii_and_widths_by_counting() -> None:
    """As many whole points lie within 10 of a whole point as 317, within 20 as 1257, within 15 as 709, and within 5 as
    81 (Gauss's circle problem). A line of 40 rows adds that often the width, whose middle row counts too."""
    cells = {
        "right_wrist": (317, (60, 100)),
        "nose": (1257, (60, 100)),
    }
    for name, (count, place) in cells.items():
        assert skeleton_masks(one(COCO17, **{name: place}), SIZE, SIZE).sum() == count
    limb = one(OPENPOSE18, left_elbow=(60, 100), left_wrist=(60, 140))
    assert skeleton_masks(limb, SIZE, SIZE).sum() == 317 + 40 * 21
    torso = one(MARKET14, right_hip=(60, 100), left_hip=(60, 140))
    assert skeleton_masks(torso, SIZE, SIZE).sum() == 709 + 40 * 31
    half = one(COCO17, right_wrist=(30, 50))
    assert skeleton_masks(half, (128, 64), (128, 64)).sum() == 81
    # Of an image of 256 rows on 128: cells are 2 pixels wide, their centres half a pixel beside even ones.
    assert skeleton_masks(one(COCO17, right_wrist=(60.5, 100.5)), (128, 64), SIZE).sum() == 81


def test_the_head_is_where_the_face_is_for_every_set() -> None:
    """Market's top of the head is as far above the nose as the neck is below it."""
    body = one(OPENPOSE18, nose=(60, 60), neck=(60, 90))
    (mask,), (theirs,) = (skeleton_masks(torch.as_tensor(j), SIZE, SIZE)[0] for j in (body, to_market14(body)))
    top = torch.zeros(SIZE, dtype=torch.bool)
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(128), indexing="ij")
    top[(rows - 30) ** 2 + (columns - 60) ** 2 <= 100] = True  # the disc on the top of the head, the only difference
    assert torch.equal(theirs.bool(), mask.bool() | top)


def test_unseen_joints_and_their_lines_are_left_out() -> None:
    arm = one(MARKET14, right_shoulder=(60, 60), right_elbow=(60, 100), right_wrist=(60, 140))
    for unseen in ([60.0, 100.0, 0.0], [NAN, NAN, 1.0], [-3.0, 100.0, 1.0], [60.0, 100.0, NAN]):
        joints = arm.clone()
        joints[0, MARKET14.index("right elbow")] = torch.tensor(unseen)
        assert skeleton_masks(joints, SIZE, SIZE).sum() == 2 * 317
    assert not skeleton_masks(torch.zeros(2, 14, 3), SIZE, SIZE).any()
    assert skeleton_masks(torch.zeros(0, 14, 3), (8, 4), SIZE).shape == (0, 1, 8, 4)


def test_the_mask_of_a_mirror_image_is_mirrored() -> None:
    joints = torch.rand(2, 18, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([127.0, 255, 1])
    mirrored = joints[:, OPENPOSE18.mirrored]
    mirrored[..., 0] = 127 - mirrored[..., 0]
    masks = skeleton_masks(joints, SIZE, SIZE)
    assert (skeleton_masks(mirrored, SIZE, SIZE) != masks.flip(-1)).sum() < 10  # rounding at the edges
    assert masks.mean() > 0.2


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="expected N x J x 3, got 14 x 3"):
        skeleton_masks(torch.zeros(14, 3), SIZE, SIZE)
    with pytest.raises(InputError, match="which of 15 joints"):
        skeleton_masks(torch.zeros(1, 15, 3), SIZE, SIZE)
