"""Open-set search: a matrix worked out by hand, and what must hold of any."""

import json

import numpy as np
import pytest

from reidentify import InputError, Sightings
from reidentify.files import read_parquet
from reidentify.ranking.evaluate import evaluate
from reidentify.ranking.open_set import open_set


class Table:
    """A Scorer that looks distances up."""

    def __init__(self, distances):
        self.distances = np.asarray(distances, float)

    def block(self, query_rows, gallery_rows):
        return self.distances[query_rows][:, gallery_rows]


def by_hand():
    """Three queries of camera 1; the last gallery row is of person 1 by the same camera, and ignored by query 0.

    Query 0: nearest right 0.1, nearest wrong 0.3. Query 1: right and wrong both at 0.4, the wrong row earlier.
    Query 2 has no match; nearest wrong 0.15.
    """
    distances = [[0.2, 0.3, 0.6, 0.1, 0.05], [0.4, 0.4, 0.7, 0.9, 0.8], [0.5, 0.6, 0.15, 0.9, 0.7]]
    sides = Sightings([1, 2, 4], [1, 1, 1]), Sightings([1, 2, 3, 1, 1], [2, 2, 2, 2, 1])
    return open_set(*sides, scorer=Table(distances))


def test_rates_by_hand():
    found = by_hand()
    assert (found.absent, found.present) == (3, 2)
    np.testing.assert_array_equal(found.nearest_wrong, [0.3, 0.4, 0.15])
    np.testing.assert_array_equal(found.nearest_right, [0.1, 0.4, np.inf])
    np.testing.assert_array_equal(found.first, [True, False, False])
    np.testing.assert_array_equal(found.thresholds[1:], [0.1, 0.15, 0.3, 0.4])
    np.testing.assert_allclose(found.fpir, [0, 0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(found.dir, [0, 1 / 2, 1 / 2, 1 / 2, 1 / 2])
    at = found.at(0.5)
    assert (at.threshold, at.true_rate) == (0.15, 0.5)
    assert at.false_rate == pytest.approx(1 / 3)
    with pytest.raises(InputError, match=r"0\.01 cannot be measured from 3 trials"):
        found.at(0.01)


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_searching_with_and_without_the_person(seed):
    rng = np.random.default_rng(seed)
    query, gallery = (
        Sightings(np.r_[1, rng.integers(-1, 7, n - 1)], np.r_[n, rng.integers(1, 4, n - 1)]) for n in (30, 40)
    )
    distances = rng.integers(0, 60, (30, 40)) / 64  # with ties
    found = open_set(query, gallery, scorer=Table(distances))
    people = np.flatnonzero(query.pids > 0)
    np.testing.assert_array_equal(found.rows, people)
    without = [distances[q, (gallery.pids != query.pids[q]) & (gallery.pids != -1)].min() for q in people]
    np.testing.assert_array_equal(found.nearest_wrong, without)
    result = evaluate(query, gallery, scorer=Table(distances))
    assert found.dir[-1] == pytest.approx(result.rank(1))
    hits = result.first_rank[people] == 1
    for threshold, fpir, dir in zip(found.thresholds, found.fpir, found.dir):
        assert fpir == pytest.approx((np.array(without) <= threshold).mean())
        near = np.array([distances[q].min(where=mine(query, gallery, q), initial=9) for q in people]) <= threshold
        assert dir == pytest.approx((hits & near).sum() / result.valid_queries)


def mine(query, gallery, q):
    """The matches of a query."""
    return (gallery.pids == query.pids[q]) & (gallery.camids != query.camids[q])


def test_it_is_saved_and_printed(tmp_path):
    # A hundred queries of person 1, found at 1/8; a wrong row is nearer than 1/2 for one of them only, at 1/16.
    distances = np.tile([0.125, 0.5], (100, 1))
    distances[0, 1] = 0.0625
    sides = Sightings(np.ones(100, int)), Sightings([1, 2])
    found = open_set(*sides, scorer=Table(distances))
    assert "DIR at FPIR 0.01   99.00 %   up to distance 0.1250, 1 false alarms" in str(found)
    found.save(tmp_path)
    content = json.loads((tmp_path / "open_set.json").read_text())
    assert content["dir_at_fpir"]["0.1"] == {"fpir": 0.01, "dir": 0.99, "distance": 0.125}
    assert content["dir_without_threshold"] == 0.99
    table = read_parquet(tmp_path / "open_set.parquet")
    np.testing.assert_array_equal(table["distance"], found.thresholds)
    np.testing.assert_allclose(table["fpir"], [0, 0.01, 0.01, 1])


def test_a_gallery_of_one_person_is_refused():
    with pytest.raises(InputError, match="nobody but each query's own person"):
        open_set(Sightings([1]), Sightings([1, 1, -1]), scorer=Table([[0.1, 0.2, 0.3]]))
