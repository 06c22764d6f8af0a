"""Names of joints and their mapping to Market's fourteen."""

import numpy as np
import pytest

from reidentify.errors import InputError
from reidentify.joints import COCO17, MARKET14, OPENPOSE18, SETS, joint_set, mirrored_joints, to_market14


def test_the_published_orders() -> None:
    """Places that the publications state: COCO's key points, OpenPose's COCO output."""
    assert {name: COCO17.index(name) for name in ("nose", "left eye", "right ear", "left shoulder", "right ankle")} == {
        "nose": 0, "left eye": 1, "right ear": 4, "left shoulder": 5, "right ankle": 16
    }  # fmt: skip
    stated = {"nose": 0, "neck": 1, "right wrist": 4, "left shoulder": 5, "right hip": 8, "left ankle": 13}
    stated |= {"right eye": 14, "left ear": 17}
    assert {name: OPENPOSE18.index(name) for name in stated} == stated
    assert (len(MARKET14), len(COCO17), len(OPENPOSE18)) == (14, 17, 18)


@pytest.mark.parametrize("count", SETS)
def test_mirrors_and_limbs(count: int) -> None:
    joints, order = joint_set(count), mirrored_joints(count)
    assert sorted(order) == list(range(count))
    assert [order[j] for j in order] == list(range(count))
    assert {a.replace("left", "right") for a in joints.joints} == {
        joints.joints[j].replace("left", "right") for j in order
    }
    assert {name for limb in joints.limbs for name in limb} <= set(joints.joints)
    assert len(set(joints.limbs)) == len(joints.limbs)


def test_market_mirror_by_hand() -> None:
    assert mirrored_joints(14) == [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10]
    with pytest.raises(InputError, match="of 5 joints"):
        mirrored_joints(5)


def test_from_coco() -> None:
    given = np.zeros((17, 3), np.float32)
    given[COCO17.index("left shoulder")] = [10, 20, 1]
    given[COCO17.index("right shoulder")] = [2, 24, 0.5]
    given[COCO17.index("nose")] = [6, 12, 0.8]
    given[COCO17.index("left ear")] = [np.nan, np.nan, 0]
    given[COCO17.index("right knee")] = [3, 60, 1]
    found = to_market14(given)
    assert found[MARKET14.index("right knee")].tolist() == [3, 60, 1]
    assert found[MARKET14.index("neck")].tolist() == [6, 22, 0.5]
    assert found[MARKET14.index("head top")].tolist() == [6, 2, 0.5]  # the nose is 10 below, the neck 10 below that
    assert found[MARKET14.index("left ankle")][2] == 0


def test_from_openpose_without_a_face() -> None:
    given = np.zeros((2, 18, 3), np.float32)
    given[1, OPENPOSE18.index("neck")] = [5, 9, 1]
    found = to_market14(given)
    assert found.shape == (2, 14, 3)
    assert found[1, 1].tolist() == [5, 9, 1]
    assert found[:, 0, 2].tolist() == [0, 0]
    assert np.isfinite(found).all()


def test_market_stays_and_others_are_refused() -> None:
    own = np.random.default_rng(0).random((3, 14, 3), np.float32)
    assert (to_market14(own) == own).all()
    with pytest.raises(InputError, match="x J x 3"):
        to_market14(np.zeros((14, 2)))
    with pytest.raises(InputError, match="of 6 joints"):
        to_market14(np.zeros((6, 3)))


@pytest.mark.parametrize("count", [14, 17, 18])
def test_what_is_unknown_stays_unknown(count: int) -> None:
    assert np.isnan(to_market14(np.full((2, count, 3), np.nan))[..., 2]).all()
