"""What must not change a score, or only in one direction: properties of every score, over many random cases."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from reidentify.ranking.metrics import score
from reidentify.ranking.protocol import CUHK03_CLASSIC, MARKET1501, NO_CAMERAS, SINGLE_SHOT, Protocol

AVERAGES = ("mAP", "mAP_trapezoid", "mINP")
PER_QUERY = ("ap", "ap_trapezoid", "inp")


@dataclass
class Case:
    """Distances and labels as `score` takes them."""

    distances: np.ndarray
    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray
    gallery_camids: np.ndarray
    protocol: Protocol

    def score(self):
        labels = self.query_pids, self.gallery_pids, self.query_camids, self.gallery_camids
        return score(self.distances, *labels, self.protocol)

    def with_gallery(self, distances, pids, camids):
        return replace(self, distances=distances, gallery_pids=pids, gallery_camids=camids)

    def permuted(self, order):
        return self.with_gallery(self.distances[:, order], self.gallery_pids[order], self.gallery_camids[order])

    def joined(self, rng, pid, columns):
        """The gallery with rows of one pid and any camera put in anywhere; the order of the others stays."""
        at = rng.integers(0, len(self.gallery_pids) + 1, columns.shape[1])
        return self.with_gallery(
            np.insert(self.distances, at, columns, axis=1),
            np.insert(self.gallery_pids, at, pid),
            np.insert(self.gallery_camids, at, rng.integers(-1, 4, len(at))),
        )


def random_case(seed, protocol=None):
    """Few or many ties, unknown cameras, junk, distractors, and queries with and without a match."""
    rng = np.random.default_rng(seed)
    q, g = int(rng.integers(4, 12)), int(rng.integers(10, 60))
    query_pids, gallery_pids = rng.integers(-1, 6, q), rng.integers(-1, 6, g)
    query_camids, gallery_camids = rng.integers(-1, 4, q), rng.integers(-1, 4, g)
    # Query 0 has a match in another camera, query 1 has none, and query 2 only one that a camera rule ignores.
    query_pids[:3], gallery_pids[:2] = (1, 98, 99), (1, 99)
    query_camids[[0, 2]], gallery_camids[:2] = (1, 3), (2, 3)
    levels = (2, 5, 30, None)[seed % 4]
    distances = rng.random((q, g)) if levels is None else rng.integers(0, levels, (q, g)) / 4
    protocol = protocol or (MARKET1501, NO_CAMERAS)[seed // 4 % 2]
    return rng, Case(distances, query_pids, gallery_pids, query_camids, gallery_camids, protocol)


def assert_same_scores(found, expected):
    """Every score of every query, and of all of them; the galleries may differ in length."""
    for name in (*PER_QUERY, "first_rank", "matches"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in AVERAGES:
        assert getattr(found, name) == getattr(expected, name), name
    ranks = min(len(found.cmc), len(expected.cmc))
    np.testing.assert_array_equal(found.cmc[:ranks], expected.cmc[:ranks])
    assert (found.cmc[ranks:] == 1).all()
    assert (expected.cmc[ranks:] == 1).all()


@pytest.mark.parametrize("seed", range(60))
def test_the_order_of_the_gallery_is_nothing_where_no_match_equals_a_wrong_row(seed):
    rng, case = random_case(seed)
    # Matches at even levels and wrong rows at odd ones: ties within each kind stay. What is ignored ties with both.
    right = case.query_pids[:, None] == case.gallery_pids
    levels = 2 * (4 * case.distances).astype(int) + ~right
    own = right & (case.query_camids[:, None] == case.gallery_camids) & (case.gallery_camids != -1)
    ignored = case.gallery_pids == -1
    if case.protocol.same_camera_is_junk:
        ignored = ignored | own
    distances = np.where(ignored, rng.integers(0, levels.max() + 1, levels.shape), levels)
    case = replace(case, distances=distances)
    assert_same_scores(case.permuted(rng.permutation(len(case.gallery_pids))).score(), case.score())


@pytest.mark.parametrize("seed", range(60))
def test_with_ties_the_order_of_the_gallery_is_the_last_word_and_nothing_else(seed):
    """Places in a stable sort say the same as distances with ties, and then the gallery may have any order."""
    rng, case = random_case(seed)
    places = np.argsort(np.argsort(case.distances, axis=1, kind="stable"), axis=1)
    untied = replace(case, distances=places)
    assert_same_scores(untied.permuted(rng.permutation(len(case.gallery_pids))).score(), case.score())


@pytest.mark.parametrize("seed", range(60))
def test_the_order_of_the_queries_is_nothing_to_any_of_them(seed):
    rng, case = random_case(seed)
    order = rng.permutation(len(case.query_pids))
    turned = replace(
        case,
        distances=case.distances[order],
        query_pids=case.query_pids[order],
        query_camids=case.query_camids[order],
    )
    found, expected = turned.score(), case.score()
    for name in (*PER_QUERY, "first_rank", "matches"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[order], err_msg=name)
    for name in AVERAGES:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12), name
    np.testing.assert_array_equal(found.cmc, expected.cmc)


@pytest.mark.parametrize("protocol", [MARKET1501, NO_CAMERAS, SINGLE_SHOT, CUHK03_CLASSIC], ids=lambda p: p.name)
@pytest.mark.parametrize("seed", range(25))
def test_only_the_order_of_a_querys_distances_counts(seed, protocol):
    """A rising map, another for each query, leaves every score; ties stay ties."""
    rng, case = random_case(seed, protocol)
    values, level = np.unique(case.distances, return_inverse=True)
    rising = np.cumsum(rng.uniform(0.01, 1, (len(case.distances), len(values))), axis=1) - 5
    mapped = np.take_along_axis(rising, level.reshape(case.distances.shape), axis=1)
    assert_same_scores(replace(case, distances=mapped).score(), case.score())
    assert_same_scores(replace(case, distances=mapped.astype(np.float32)).score(), case.score())


@pytest.mark.parametrize("seed", range(60))
def test_distractors_never_raise_a_score(seed):
    rng, case = random_case(seed)
    count = int(rng.integers(1, 20))
    # Drawn from the distances there are: many stand at exactly the distance of a match.
    more = case.joined(rng, 0, rng.choice(case.distances.ravel(), (len(case.distances), count))).score()
    before = case.score()
    valid = before.valid
    np.testing.assert_array_equal(more.matches, before.matches)
    for name in PER_QUERY:
        assert (getattr(more, name)[valid] <= getattr(before, name)[valid]).all(), name
    assert (more.first_rank >= before.first_rank).all()
    for name in AVERAGES:
        assert getattr(more, name) <= getattr(before, name), name
    assert (more.cmc[: len(before.cmc)] <= before.cmc).all()


@pytest.mark.parametrize("seed", range(60))
def test_nearest_distractors_lower_every_score_and_farthest_none(seed):
    rng, case = random_case(seed)
    before, count = case.score(), int(rng.integers(1, 20))
    column = np.ones((len(case.distances), count))
    assert_same_scores(case.joined(rng, 0, column * case.distances.max() + 1).score(), before)
    nearest, valid = case.joined(rng, 0, column * case.distances.min() - 1).score(), before.valid
    np.testing.assert_array_equal(nearest.first_rank[valid], before.first_rank[valid] + count)
    np.testing.assert_array_equal(nearest.cmc, np.r_[np.zeros(count), before.cmc])
    # The last match stood at rank matches / inp.
    np.testing.assert_allclose(
        before.matches[valid] / nearest.inp[valid], before.matches[valid] / before.inp[valid] + count
    )
    for name in AVERAGES:
        assert getattr(nearest, name) < getattr(before, name), name


@pytest.mark.parametrize("seed", range(60))
def test_junk_changes_nothing_wherever_it_stands(seed):
    rng, case = random_case(seed)
    columns = rng.choice(case.distances.ravel(), (len(case.distances), int(rng.integers(1, 20))))
    columns[:, ::3] = case.distances.min() - 1
    assert_same_scores(case.joined(rng, -1, columns).score(), case.score())
