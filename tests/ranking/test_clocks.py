"""Clocks of cameras: known shifts are found again where people walk both ways."""

import json

import numpy as np
import pytest
from walks import walks

from reidentify import Sightings
from reidentify.ranking.clocks import estimate_offsets
from reidentify.ranking.spacetime import SpaceTime


@pytest.mark.parametrize("ahead", [(0, 0, 0, 0), (0, 30, -75, 1200), (500, 0, 3, -2000)])
def test_known_shifts_are_found_again(ahead):
    clocks = estimate_offsets(SpaceTime().fit(walks(150, seed=1, ahead=ahead)))
    expected = np.array(ahead) - ahead[0]
    np.testing.assert_allclose(clocks.seconds, expected, atol=8)  # two bins
    assert clocks.people.tolist() == [150] * 4
    assert clocks.spread.max() < 8
    written = json.loads(clocks.to_json())
    assert [entry["camera"] for entry in written] == [1, 2, 3, 4]
    assert [entry["seconds_ahead"] for entry in written] == clocks.seconds.tolist()


def test_one_way_may_be_walked_three_times_as_often():
    rng = np.random.default_rng(0)
    rows = []
    for pid in range(1, 201):
        start, way = rng.uniform(0, 5000), rng.choice([1, 1, 1, -1])
        rows += [(pid, 1, start), (pid, 2, start + way * rng.normal(60, 5) + 100)]
    pids, camids, times = zip(*rows)
    clocks = estimate_offsets(SpaceTime().fit(Sightings(pids, camids=camids, times=times)))
    assert clocks.seconds[1] == pytest.approx(100, abs=8)
    assert np.isnan(clocks.spread).all()  # a single link


def test_cameras_that_nobody_links_to_the_first_have_no_clock():
    rows = [(1, 1, 0), (1, 2, 10), (2, 3, 0), (2, 4, 10), (3, 4, 5)]
    pids, camids, times = zip(*rows)
    clocks = estimate_offsets(SpaceTime().fit(Sightings(pids, camids=camids, times=times)))
    assert np.isnan(clocks.seconds).tolist() == [False, False, True, True]
    assert clocks.people.tolist() == [1, 1, 1, 1]
