"""Look-up tables over intervals: bins, directions, what is unknown, and blocks."""

import numpy as np
import pytest

from reidentify import InputError, Sightings
from reidentify.ranking.intervals import Intervals, bins_of, positions, smoothed


@pytest.fixture
def table():
    """Cameras 3 and 7, three bins of 2 s on each side; the pair (7, 3) is the mirror image of (3, 7)."""
    values = np.array([[0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]], np.float32)
    return Intervals(np.array([3, 7]), np.array([[0, 1, 0], [2, 0, 0], [0, 0, 0]]), values, 2.0)


def test_bins_are_counted_from_zero_both_ways():
    elapsed = np.array([0.0, 0.5, 1.0, 2.9, -0.5, -1.0, -2.9])
    assert bins_of(elapsed, 3).tolist() == [3, 3, 4, 5, 2, 1, 0]


def test_a_difference_of_whole_bins_is_not_cut_short():
    times = np.array([452, 352]) / 25.0  # 100 frames apart, and slightly less than 4 s as floating point
    assert (times[0] - times[1]) / 4.0 < 1
    assert bins_of((times[:1] - times[1:]) / 4.0, 10).tolist() == [11]


def test_longer_intervals_are_taken_for_the_longest():
    assert bins_of(np.array([1e12, -1e12]), 3).tolist() == [5, 0]


def test_values_by_camera_and_signed_seconds(table):
    np.testing.assert_array_equal(table.at(3, 7, [0, 3, 5, 99, -1, -3, -99]), [4, 5, 6, 6, 3, 2, 1])
    np.testing.assert_array_equal(table.at(7, 3, [1, -1]), [3, 4])
    np.testing.assert_array_equal(table.at([3, 7], [7, 3], 1), [4, 3])


def test_what_is_unknown_is_zero(table):
    np.testing.assert_array_equal(table.at([3, 5, -1, 9, 3], [3, 7, 7, 3, 7], [1, 1, 1, 1, np.nan]), np.zeros(5))


def test_blocks_hold_the_interval_from_query_to_gallery(table):
    query = Sightings([1, 1, 1], camids=[3, 7, 3], times=[10, 10, np.nan])
    gallery = Sightings([1, 1, 1, 1], camids=[7, 3, 7, -1], times=[13, 9, 4, 10])
    scorer = table.between(query, gallery)
    whole = scorer.block(slice(0, 3), slice(0, 4))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, [[5, 0, 1, 0], [0, 4, 0, 0], [0, 0, 0, 0]])
    some = scorer.block(np.array([1, 0]), np.array([2, 1, 0]))
    np.testing.assert_array_equal(some, whole[[1, 0]][:, [2, 1, 0]])


def test_sides_without_times_or_cameras_are_unknown(table):
    known, everything = Sightings([1], camids=[3], times=[0]), slice(None)
    for other in (Sightings([1], camids=[7]), Sightings([1], times=[1])):
        assert table.between(known, other).block(everything, everything).tolist() == [[0]]


def test_positions_of_cameras():
    assert positions(np.array([2, 5]), [5, 2, 1, 9, 3]).tolist() == [1, 0, 2, 2, 2]


def test_smoothing_spreads_a_gaussian_that_ends_at_three_sigma():
    spread = smoothed(np.array([0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0]), 1)
    bell = np.exp(-np.array([4.5, 2, 0.5, 0])) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(spread, [0, 0, *bell, *bell[2::-1], 0], rtol=1e-12)
    with pytest.raises(InputError, match=r"sigma.*above 0, got 0"):
        smoothed(np.ones(3), 0)
