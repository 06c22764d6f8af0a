"""Batches in roles: who goes with whom, the rule of space and time, processes, epochs, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from reidentify.data.samplers import BatchSampler
from reidentify.data.samplers_generation import InstanceSampler, SpaceTimeSampler, TargetPairSampler
from reidentify.errors import InputError, ReidentifyWarning

# Six people with 2 to 7 images in random order, numbered as published: not from 0, and with holes.
PIDS = np.repeat([3, 17, 18, 40, 87, 99], [2, 3, 4, 5, 6, 7])[np.random.default_rng(0).permutation(27)]
VIDEO = {3: 0, 17: 0, 18: 0, 40: 5, 87: 5, 99: 8}  # 99 dances alone
VIDEOS = np.array([VIDEO[pid] for pid in PIDS.tolist()])
TIMES = np.random.default_rng(1).permutation(27) / 3  # 0 to 8.7 s, each another one

MAKERS: list[tuple[Callable[..., BatchSampler], int]] = [
    (InstanceSampler, 3),
    (lambda pids, *a, **k: SpaceTimeSampler(pids, VIDEOS, TIMES, *a, gap=1.0, **k), 3),
    (lambda pids, *a, **k: TargetPairSampler(pids, *a, negatives=2, **k), 4 * 3),
]


def drawn(sampler: BatchSampler, roles: int, epochs: int = 1) -> NDArray[np.int64]:
    """All rows of some epochs, roles x M."""
    batches = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches += [np.reshape(batch, (roles, -1)) for batch in sampler]
    return np.concatenate(batches, axis=1)


@pytest.mark.parametrize(("make", "roles"), MAKERS)
def test_each_row_is_an_anchor_once_per_epoch(make: Callable[..., BatchSampler], roles: int) -> None:
    sampler = make(PIDS, 3)
    assert [len(batch) for batch in sampler] == [3 * roles] * 9
    assert len(sampler) == 9
    assert sorted(drawn(sampler, roles)[0].tolist()) == list(range(27))


@pytest.mark.parametrize(("make", "roles"), MAKERS)
def test_processes_share_the_anchors_and_each_batch_is_role_major(
    make: Callable[..., BatchSampler], roles: int
) -> None:
    """Two processes of 2 anchors see what one of 4 sees: role by role, the first and the second half."""
    whole = [np.reshape(batch, (roles, 4)) for batch in make(PIDS, 4)]
    parts = [[np.reshape(batch, (roles, 2)) for batch in make(PIDS, 2, rank=r, world_size=2)] for r in range(2)]
    assert [len(p) for p in parts] == [len(whole)] * 2 == [27 // 4] * 2
    for all_, first, second in zip(whole, *parts):
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), all_)


@pytest.mark.parametrize(("make", "roles"), MAKERS)
def test_a_resumed_epoch_is_the_uninterrupted_one(make: Callable[..., BatchSampler], roles: int) -> None:
    sampler, resumed = make(PIDS, 4, seed=7), make(PIDS, 4, seed=7)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
    resumed.set_epoch(2)
    assert list(resumed) == batches
    assert list(make(PIDS, 4, seed=8)) != list(make(PIDS, 4, seed=7))


def test_positives_are_two_other_images_of_the_person() -> None:
    anchors, first, second = drawn(InstanceSampler(PIDS, 3), 3, epochs=60)
    assert (PIDS[anchors] == PIDS[first]).all()
    assert (PIDS[anchors] == PIDS[second]).all()
    assert ((anchors != first) & (anchors != second)).all()
    two = PIDS[anchors] == 3
    assert (first[two] == second[two]).all()
    assert (first[~two] != second[~two]).all()
    # Every ordered choice of two others occurs about equally often: of the 3 images of 17, one of 2 orders each.
    anchor = np.flatnonzero(PIDS == 17)[0]
    orders = first[anchors == anchor] < second[anchors == anchor]
    assert 15 <= orders.sum() <= 45  # of 60, four standard deviations
    seven = np.flatnonzero(PIDS == 99)
    seen = set(zip(first[anchors == seven[0]].tolist(), second[anchors == seven[0]].tolist()))
    assert len(seen) > 20  # of 6 x 5 = 30, in 60 draws


def test_negatives_are_of_the_same_video_however_people_are_numbered() -> None:
    """The original looked up labels from 0 in a table of published numbers, and took people of other videos."""
    labels = np.unique(PIDS, return_inverse=True)[1]
    for pids in (PIDS, labels, PIDS * 1000 + 5):
        anchors, _, negatives = drawn(SpaceTimeSampler(pids, VIDEOS, TIMES, 3, inter_rate=1.0), 3, epochs=40)
        assert (pids[anchors] != pids[negatives]).all()
        with_others = PIDS[anchors] != 99
        assert (VIDEOS[anchors] == VIDEOS[negatives])[with_others].all()
        # First a person, then an image: 17 has 3 images and 18 has 4, and each is half of the negatives of 3.
        of_3 = PIDS[negatives[PIDS[anchors] == 3]]
        assert set(of_3.tolist()) == {17, 18}
        assert 22 <= (of_3 == 17).sum() <= 58  # of 80, four standard deviations
        alone = negatives[PIDS[anchors] == 99]
        assert set(PIDS[alone].tolist()) == {3, 17, 18, 40, 87}  # anybody, where the video shows nobody else


def test_positives_are_a_gap_apart_or_a_fifth_of_a_short_stay() -> None:
    """Person 1: seen at 0 to 9 s, a gap of 4 s. Person 2: 7 s are shorter than two gaps, so 1.4 s are enough.

    Of row 18, the person 1, no time is known: it is nobody's positive, and any row of the person is its own.
    """
    pids = np.array([1] * 10 + [2] * 8 + [1])
    times = np.concatenate([np.arange(10.0), 1e9 + np.arange(8.0), [np.nan]])
    order = np.random.default_rng(3).permutation(19)
    sampler = SpaceTimeSampler(pids[order], np.zeros(19, int), times[order], 19, inter_rate=1.0, gap=4.0)
    anchors, positives, _ = drawn(sampler, 3, epochs=200)
    pairs = {(int(a), int(b)) for a, b in zip(order[anchors], order[positives])}
    assert {b for a, b in pairs if a == 0} == {4, 5, 6, 7, 8, 9}
    assert {b for a, b in pairs if a == 5} == {0, 1, 9}
    assert {b for a, b in pairs if a == 10} == {12, 13, 14, 15, 16, 17}
    assert {b for a, b in pairs if a == 13} == {10, 11, 15, 16, 17}
    assert {b for a, b in pairs if a == 18} == set(range(10))


def test_a_gap_that_is_exact_but_for_rounding_is_enough() -> None:
    times = np.arange(100) / 10
    sampler = SpaceTimeSampler(np.repeat([1, 2], 50), np.zeros(100), np.tile(times[:50], 2), 10, 1.0, gap=2.0)
    anchors, positives, _ = drawn(sampler, 3, epochs=100)
    apart = np.abs(anchors - positives)
    assert apart.min() == 20  # frames at 10 a second
    # Two gaps are no short stay, of which 0.8 s would be enough, though at 30 a second these come out as less.
    first = next(f for f in range(3000) if (f + 120) / 30 - f / 30 < 4)
    four = np.tile((first + np.array([0, 30, 60, 120])) / 30, 2)
    sampler = SpaceTimeSampler(np.repeat([1, 2], 4), np.zeros(8), four, 8, 1.0, gap=2.0)
    anchors, positives, _ = drawn(sampler, 3, epochs=100)
    assert {int(p) for a, p in zip(anchors, positives) if a == 0} == {2, 3}


def test_where_place_and_time_allow_nothing_any_image_will_do() -> None:
    """Positives: seen once, all at one time, unknown times or video. Each role falls back by itself."""
    pids = np.array([1, 1, 2, 2, 3, 3, 4, 4])
    videos = np.array([0, 1, 0, 0, 0, 0, -1, -1])
    times = np.array([0.0, 9.0, 5.0, 5.0, np.nan, 3.0, 0.0, 9.0])
    anchors, positives, negatives = drawn(SpaceTimeSampler(pids, videos, times, 8, inter_rate=1.0), 3, epochs=60)
    np.testing.assert_array_equal(positives, anchors ^ 1)  # the other of two images
    for row, others in ((0, {2, 3, 4, 5}), (1, {2, 3, 4, 5, 6, 7}), (2, {0, 4, 5}), (6, {0, 1, 2, 3, 4, 5})):
        assert set(negatives[anchors == row].tolist()) == others


def test_the_rate_is_that_of_pairs_by_place_and_time() -> None:
    """At a rate of 0 every other image of the person is as probable, at 0.5 half of the draws follow the rule."""
    pids, videos, times = np.repeat([1, 2, 3], 10), np.repeat([0, 0, 1], 10), np.tile(np.arange(10.0), 3)
    for rate in (0.0, 0.5):
        sampler = SpaceTimeSampler(pids, videos, times, 10, inter_rate=rate, gap=4.0)
        anchors, positives, negatives = drawn(sampler, 3, epochs=100)
        at = anchors == 4  # at 4 s: 0, 8 and 9 s are a gap away, 3 of 9 other images
        expected = rate + (1 - rate) / 3
        share = np.isin(positives[at], [0, 8, 9]).mean()
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 100)
        expected = rate + (1 - rate) / 2  # 10 of the 20 images of others are of the video
        share = (videos[negatives[anchors < 20]] == 0).mean()
        assert abs(share - expected) < 4 * np.sqrt(0.25 / 2000)


def test_pairs_with_targets() -> None:
    sampler = TargetPairSampler(PIDS, 3, negatives=2)
    a, b, target_a, target_b = drawn(sampler, 4 * 3, epochs=40).reshape(4, 3, -1)
    assert (a == a[0]).all()  # each anchor has one positive pair and two negative ones
    assert (PIDS[a[0]] == PIDS[b[0]]).all()
    assert (PIDS[a[1:]] != PIDS[b[1:]]).all()
    assert (a[0] != b[0]).all()
    for row, target in ((a, target_a), (b, target_b)):
        assert (PIDS[row] == PIDS[target]).all()
        assert (row != target)[1:].all()
    assert (target_a[0] == target_b[0]).all()
    assert (target_a[0] != a[0]).all()
    many = PIDS[a[0]] != 3
    assert (target_a[0] != b[0])[many].all()
    anchor = np.flatnonzero(PIDS == 99)[0]
    assert set(b[1:][a[1:] == anchor].tolist()) == set(np.flatnonzero(PIDS != 99).tolist())


def test_identities_with_one_image_are_left_out() -> None:
    pids = np.array([1, 5, 5, 7, 7, 9])
    with pytest.warns(ReidentifyWarning, match="2 of 4 training identities have one image and are left out"):
        sampler = TargetPairSampler(pids, 2, negatives=1)
    assert set(drawn(sampler, 8, epochs=20).reshape(-1).tolist()) == {1, 2, 3, 4}
    with pytest.raises(InputError, match="each of the 3 training identities has one image"):
        InstanceSampler([1, 2, 3], 1)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="4 training rows do not fill one batch of 3 anchors on 2 processes"):
        InstanceSampler([1, 1, 2, 2], 3, world_size=2)
    with pytest.raises(InputError, match="at least 1 anchor"):
        InstanceSampler([1, 1], 0)
    with pytest.raises(InputError, match="only one training identity"):
        SpaceTimeSampler([1, 1], [0, 0], [0.0, 9.0], 1)
    with pytest.raises(InputError, match="only one training identity"):
        TargetPairSampler([1, 1], 1)
    assert len(list(TargetPairSampler([1, 1], 1, negatives=0))) == 2
    with pytest.raises(InputError, match="cannot be -1 negative pairs"):
        TargetPairSampler([1, 1, 2, 2], 1, negatives=-1)
    with pytest.raises(InputError, match="inter_rate must lie between 0 and 1 and gap above 0 seconds, got 2 and 4"):
        SpaceTimeSampler([1, 1, 2, 2], [0] * 4, [0.0] * 4, 1, inter_rate=2)
    with pytest.raises(InputError, match="expected 4 entries each"):
        SpaceTimeSampler([1, 1, 2, 2], [0] * 3, [0.0] * 4, 1)
