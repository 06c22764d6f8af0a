"""Heat maps and body regions of joints, against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from reidentify.batch import Batch
from reidentify.data.augment import Augment
from reidentify.errors import InputError
from reidentify.joints import MARKET14, SETS
from reidentify.models.posemaps import REGIONS, gaussian_maps, jittered, regions, seen

NAN = float("nan")


def person(**places: tuple[float, float]) -> torch.Tensor:
    """1 x 14 x 3 with the named joints seen and all others unseen."""
    joints = torch.zeros(1, 14, 3)
    for name, (x, y) in places.items():
        joints[0, MARKET14.index(name.replace("_", " "))] = torch.tensor([x, y, 1.0])
    return joints


def test_a_joint_is_seen_inside_the_image_only():
    places = [[-0.5, 0, 1], [-0.6, 0, 1], [63.5, 127.5, 1], [63.6, 0, 1], [0, 127.6, 1], [NAN, 3, 1], [4, 4, NAN]]
    places += [[4, 4, 0.25], [4, 4, 2.0], [4, 4, -1.0]]
    found = seen(torch.tensor([places]), (128, 64))
    assert found.tolist() == [[1, 0, 1, 0, 0, 0, 0, 0.25, 1, 0]]


def test_heat_maps_cell_by_cell():
    # 8 x 12 pixels on 4 x 6 cells: pixel x = 4.5 is the edge coordinate 5, which is 2.5 in cells, cell centre 2.
    maps = gaussian_maps(torch.tensor([[[4.5, 2.5, 0.8], [3.0, 2.0, 1.0]]]), (4, 6), (8, 12), sigma=1.5)
    assert maps.shape == (1, 2, 4, 6)
    assert maps.dtype == torch.float32
    for row in range(4):
        for column in range(6):
            far = (row - 1) ** 2 + (column - 2) ** 2
            assert maps[0, 0, row, column] == pytest.approx(0.8 * math.exp(-far / 4.5), abs=1e-6)
            far = (row - 0.75) ** 2 + (column - 1.25) ** 2
            assert maps[0, 1, row, column] == pytest.approx(math.exp(-far / 4.5), abs=1e-6)


def test_an_unseen_joint_has_an_empty_map():
    joints = torch.tensor([[[4.0, 4.0, 0.0], [NAN, NAN, 1.0], [40.0, 4.0, 1.0], [NAN, NAN, 0.0], [4.0, 4.0, NAN]]])
    assert not gaussian_maps(joints, (4, 6), (8, 12), 2.0).any()


def test_heat_maps_mirror_with_the_image():
    joints = torch.tensor([[[3.2, 5.1, 1.0]]])
    mirrored = joints.clone()
    mirrored[..., 0] = 12 - 1 - mirrored[..., 0]
    maps = gaussian_maps(joints, (4, 6), (8, 12), 1.0)
    torch.testing.assert_close(gaussian_maps(mirrored, (4, 6), (8, 12), 1.0), maps.flip(-1))


@pytest.mark.parametrize("count", SETS)
@pytest.mark.parametrize("scale", [1, 3])
def test_peaks_of_every_joint_set_at_two_sizes(count: int, scale: int) -> None:
    """Of cells of 3 x 3 pixels the one in row r and column c has its centre at the pixel 3 r + 1 and 3 c + 1; joint j
    is put into the cell in row 3 + j and column 2 + j // 2. All but joint 4 are seen."""
    cells = [(3 + j, 2 + j // 2) for j in range(count)]
    joints = torch.tensor([[[3.0 * c + 1, 3 * r + 1, j != 4] for j, (r, c) in enumerate(cells)]])
    maps = gaussian_maps(joints, (96 // scale, 48 // scale), (96, 48), 1.0)
    assert maps.shape == (1, count, 96 // scale, 48 // scale)
    for j, (r, c) in enumerate(cells):
        if j == 4:
            assert not maps[0, j].any()
            continue
        place = (r, c) if scale == 3 else (3 * r + 1, 3 * c + 1)
        assert maps[0, j, *place] == 1
        assert (maps[0, j] == 1).sum() == 1


@pytest.mark.parametrize("count", SETS)
def test_a_mirrored_batch_swaps_left_and_right_maps(count: int) -> None:
    names = SETS[count].joints
    joints = torch.rand(1, 1, count, 3, generator=torch.Generator().manual_seed(count)) * torch.tensor([31.0, 63, 1])
    batch = Batch(torch.zeros(1, 1, 3, 64, 32), torch.zeros(1, dtype=torch.int64), keypoints=joints)
    flipped = Augment(flip=1, pad=0, erase=0)(batch, torch.Generator())
    before, after = (gaussian_maps(b.keypoints[:, 0], (64, 32), (64, 32), 2.0)[0] for b in (batch, flipped))
    swapped = 0
    for j, name in enumerate(names):
        if name.startswith("left "):
            twin = names.index(name.replace("left ", "right "))
            torch.testing.assert_close(after[j], before[twin].flip(-1))
            torch.testing.assert_close(after[twin], before[j].flip(-1))
            assert not torch.allclose(after[j], before[j].flip(-1))
            swapped += 2
        elif not name.startswith("right "):
            torch.testing.assert_close(after[j], before[j].flip(-1))
    assert swapped == {14: 12, 17: 16, 18: 16}[count]


def test_every_image_may_have_a_width_of_its_own() -> None:
    joints = torch.tensor([[[4.0, 5.0, 1.0]], [[2.0, 9.0, 0.5]]])
    maps = gaussian_maps(joints, (16, 8), (16, 8), torch.tensor([1.0, 2.5]))
    for i, sigma in enumerate((1.0, 2.5)):
        torch.testing.assert_close(maps[i : i + 1], gaussian_maps(joints[i : i + 1], (16, 8), (16, 8), sigma))
    with pytest.raises(InputError, match="one for each of 2 images, got 3"):
        gaussian_maps(joints, (16, 8), (16, 8), torch.ones(3))
    with pytest.raises(InputError, match="sigma: expected a number above 0"):
        gaussian_maps(joints, (16, 8), (16, 8), torch.tensor([1.0, 0.0]))


def test_jitter_of_widths() -> None:
    joints = torch.rand(300, 14, 3)
    same, sigmas = jittered(joints, "gauss", torch.Generator().manual_seed(3))
    assert torch.equal(same, joints)
    assert sigmas.unique().tolist() == [4, 5, 6]  # as published
    assert min((sigmas == value).sum() for value in (4, 5, 6)) > 70
    assert torch.equal(jittered(joints, "gauss", torch.Generator().manual_seed(3), 2.5)[1], sigmas / 2)
    assert jittered(joints, "none", torch.Generator(), 2.5)[1].tolist() == [2.5] * 300
    with pytest.raises(InputError, match="jitter: expected none, erase or gauss, got 'blur'"):
        jittered(joints, "blur", torch.Generator())  # type: ignore[arg-type]


def test_jitter_hides_one_joint_that_is_seen() -> None:
    joints = torch.rand(300, 14, 3) + 0.01
    joints[:, 5:] *= torch.tensor([1.0, 1.0, 0.0])
    joints[0, :, 2], joints[1, :, 2] = 0, NAN
    given = joints.clone()
    erased, sigmas = jittered(joints, "erase", torch.Generator().manual_seed(0))
    torch.testing.assert_close(joints, given, rtol=0, atol=0, equal_nan=True)  # the caller's are left as they are
    torch.testing.assert_close(erased[:2], joints[:2], equal_nan=True)
    assert torch.equal(erased[..., :2], joints[..., :2])
    hidden = (joints[2:, :, 2] > 0) & (erased[2:, :, 2] == 0)
    assert (hidden.sum(1) == 1).all()
    assert torch.equal(erased[2:, :, 2][~hidden], joints[2:, :, 2][~hidden])
    assert (hidden.sum(0)[:5] > 30).all()  # each of the five that are seen, about 60 times
    assert (sigmas == 5).all()


def test_the_regions_are_those_of_spindle_net():
    # The numbers of its published code.
    published = [[0, 1, 2, 5], [2, 3, 4, 5, 6, 7, 8, 11], [8, 9, 10, 11, 12, 13]]
    published += [[2, 3, 4], [5, 6, 7], [8, 9, 10], [11, 12, 13]]
    assert [sorted(joints) for joints in REGIONS.values()] == published


def test_a_limb_by_hand():
    # Edges 20.5..30.5 by 40.5..80.5; a fifth added: 18.5..32.5 by 32.5..88.5. A seventh of 140 rows is 20, so the width
    # grows from 14 to 20 about 25.5.
    joints = person(right_shoulder=(20, 40), right_elbow=(25, 60), right_wrist=(30, 80))
    boxes, visible = regions(joints, (140, 70), ["right arm"])
    assert boxes[0, 0].tolist() == pytest.approx([15.5, 32.5, 35.5, 88.5])
    assert visible.tolist() == [[1.0]]


def test_a_large_region_is_square_and_cut_at_the_image():
    # Edges 10.5..50.5 by 20.5..30.5; with margins 2.5..58.5 by 18.5..32.5: 56 wide, so 56 high about 25.5, from -2.5.
    joints = person(neck=(30, 20), right_shoulder=(10, 25), left_shoulder=(50, 30))
    boxes, visible = regions(joints, (140, 70), ["head"])
    assert boxes[0, 0].tolist() == pytest.approx([2.5, 0, 58.5, 53.5])
    assert visible.tolist() == [[0.75]]  # the top of the head is unseen


def test_what_is_not_seen_is_the_whole_image():
    joints = person(left_hip=(30, 70))
    joints[0, MARKET14.index("left knee")] = torch.tensor([90.0, 100, 1])  # outside
    joints[0, MARKET14.index("left ankle")] = torch.tensor([NAN, NAN, 1])
    boxes, visible = regions(joints, (140, 70))
    assert boxes.shape == (1, 7, 4)
    assert boxes.unique(dim=1).tolist() == [[[0, 0, 70, 140]]]
    assert not visible.any()


def test_unseen_joints_do_not_move_a_box():
    joints = person(left_hip=(30, 70), left_knee=(32, 100))
    other = joints.clone()
    other[0, MARKET14.index("left ankle")] = torch.tensor([5.0, 135.0, 0.0])
    for a, b in zip(regions(joints, (140, 70)), regions(other, (140, 70))):
        torch.testing.assert_close(a, b)
    assert regions(joints, (140, 70), ["left leg"])[1].item() == pytest.approx(2 / 3)


def test_boxes_stay_inside_for_any_joints():
    generator = torch.Generator().manual_seed(0)
    joints = torch.rand(200, 14, 3, generator=generator) * torch.tensor([90.0, 170, 1]) - torch.tensor([10.0, 20, 0])
    boxes, visible = regions(joints, (140, 70))
    low, high = np.split(boxes.numpy(), 2, axis=2)
    assert (low >= 0).all()
    assert (high <= [70, 140]).all()
    assert (high - low > 0).all()
    assert ((visible >= 0) & (visible <= 1)).all()


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="expected N x 14 x 3, got 2 x 17 x 3"):
        regions(torch.zeros(2, 17, 3), (140, 70))
    with pytest.raises(InputError, match="no body region 'tail'"):
        regions(torch.zeros(2, 14, 3), (140, 70), ["tail"])
    with pytest.raises(InputError, match="expected N x J x 3, got 14 x 3"):
        gaussian_maps(torch.zeros(14, 3), (4, 6), (8, 12), 1.0)
    with pytest.raises(InputError, match="sigma"):
        gaussian_maps(torch.zeros(1, 14, 3), (4, 6), (8, 12), 0.0)
