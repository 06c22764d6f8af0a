"""How far embeddings depend on pose, by hand and against scipy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from reidentify.errors import InputError
from reidentify.ranking.invariance import pose_distances, pose_invariance

SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)


def posed(*places: np.ndarray) -> np.ndarray:
    """Joints that are all seen. N x 4 x 3."""
    return np.stack([np.c_[p, np.ones(len(p))] for p in places])


def at(*degrees: float) -> np.ndarray:
    """Unit vectors."""
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def test_place_and_size_are_no_pose() -> None:
    np.testing.assert_allclose(pose_distances(posed(SQUARE, 3 * SQUARE + [7, -4])), np.zeros((2, 2)), atol=1e-12)


def test_pose_distances_by_hand() -> None:
    """About its centroid and in units of its size the square is (+-1, +-1) / sqrt 2: its mirror image differs by 2 /
    sqrt 2 in one coordinate of every joint, the square turned by half by as much in both."""
    mirrored, turned = SQUARE * [-1, 1], -SQUARE
    found = pose_distances(posed(SQUARE, mirrored, turned))
    np.testing.assert_allclose(found[0], [0, np.sqrt(2), 2])
    np.testing.assert_allclose(found, found.T)


def test_joints_count_where_both_pictures_show_them() -> None:
    poses = posed(SQUARE, SQUARE, SQUARE)
    poses[1, 2] = [99, -5, 0]  # unseen: wherever it is said to be
    poses[2, 1:, 2] = [np.nan, 0, 0]  # one joint left
    found = pose_distances(poses)
    assert found[0, 1] == pytest.approx(0)
    assert np.isnan(found[2]).all()


def test_measures_by_hand() -> None:
    """Person 1 turns by 60 degrees with the pose: 2 - 2 cos 60 = 1 between different poses, 0 between equal ones.
    To person 2 at 180 degrees: 4, 3 and 4, in the mean 11/3. Person 2 never changes: 0, and a correlation of 0."""
    vectors = 5 * np.concatenate([at(0, 60, 0), at(180, 180, 180)])  # lengths do not matter
    poses = posed(SQUARE, -SQUARE, SQUARE, SQUARE, -SQUARE, SQUARE)
    pids, times = np.repeat([1, 2], 3), np.tile([0.0, 2.0, 4.0], 2)
    found = pose_invariance(vectors, pids, np.ones(6), times, poses)
    assert found.ratio == pytest.approx((3 / 11 + 0) / 2)
    assert found.ratio_interval == pytest.approx((0, 3 / 11))  # both people once, or one of them twice
    assert found.correlation == pytest.approx((1 + 0) / 2)
    assert (found.people, found.pairs) == (2, 4)
    with pytest.raises(InputError, match="at least two people"):  # 3 seconds apart there are equal poses alone
        pose_invariance(vectors, pids, np.ones(6), times, poses, seconds=3)
    with pytest.raises(InputError, match="at least two people"):  # nobody is beside others
        pose_invariance(vectors, pids, pids, times, poses)


def test_who_is_no_one_person_and_what_is_in_no_video() -> None:
    """As above, with pictures of distractors and of junk in different poses, and of people before no known camera. Only
    the distractors count, as others: at 180 degrees they are as far from person 1 as person 2 is, who keeps 0."""
    vectors = at(0, 60, 0, 180, 180, 180, 180, 180, 180, 0, 90, 0, 45, 90, 10)
    poses = posed(*[SQUARE, -SQUARE, SQUARE] * 3, *[SQUARE, -SQUARE] * 3)
    pids = [*[1] * 3, *[2] * 3, *[0] * 3, -1, -1, 3, 3, 4, 4]
    times = [*[0.0, 2.0, 4.0] * 3, *[0.0, 2.0] * 3]
    videos = [*[1] * 11, *[-1] * 4]
    found = pose_invariance(vectors, pids, videos, times, poses)
    assert found.ratio == pytest.approx((3 / 11 + 0) / 2)
    assert (found.people, found.pairs) == (2, 4)
    timeless = pose_invariance(vectors[:6], pids[:6], videos[:6], [0.0, 2.0, np.nan, 0, 2, 4], poses[:6])
    assert timeless.pairs == 1 + 2


def test_a_second_is_a_second_however_it_is_rounded() -> None:
    """Frames at 30 a second, 30 apart: of some pairs the difference comes out below 1."""
    early = next(f for f in range(3000) if (f + 30) / 30 - f / 30 < 1)
    times = [early / 30, (early + 30) / 30] * 2
    poses = posed(SQUARE, -SQUARE, SQUARE, -SQUARE)
    assert pose_invariance(at(0, 90, 0, 90), [1, 1, 2, 2], [7] * 4, times, poses).pairs == 2


def test_an_embedding_of_nothing_but_pose() -> None:
    """Two people in the same two poses: a person in another pose is twice as far as the other person is in the mean."""
    vectors = at(0, 90, 0, 90)
    poses = posed(SQUARE, -SQUARE, SQUARE, -SQUARE)
    found = pose_invariance(vectors, [1, 1, 2, 2], [7] * 4, [0, 5, 0, 5], poses)
    assert found.ratio == pytest.approx(2)


def test_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    vectors, poses = rng.normal(size=(24, 6)), np.concatenate([rng.normal(size=(24, 14, 2)), np.ones((24, 14, 1))], 2)
    pids, times = np.repeat([4, 9], 12), np.tile(np.arange(12) * 0.5, 2)
    found = pose_invariance(vectors, pids, np.zeros(24), times, poses, apart=1.0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ratios, correlations = [], []
    for pid in (4, 9):
        mine, others = np.flatnonzero(pids == pid), np.flatnonzero(pids != pid)
        between = np.mean([np.sum((unit[i] - unit[j]) ** 2) for i in mine for j in others])
        pose, told = [], []
        for i in mine:
            for j in mine:
                if times[j] - times[i] >= 1:
                    pose.append(pose_distances(poses[[i, j]])[0, 1])
                    told.append(np.sum((unit[i] - unit[j]) ** 2))
        ratios.append(np.mean(np.array(told)[np.array(pose) > 1.0]) / between)
        correlations.append(spearmanr(pose, told).statistic)
    assert found.ratio == pytest.approx(np.mean(ratios))
    assert found.correlation == pytest.approx(np.mean(correlations))


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="as many of each"):
        pose_invariance(np.ones((3, 2)), [1, 1], [1, 1], [0, 1], np.ones((2, 14, 3)))
