"""Query expansion, database augmentation and multi-query against arithmetic done by hand."""

import numpy as np
import pytest

from reidentify import Embeddings, InputError, Sightings
from reidentify.ranking.expansion import average_query_expansion, database_augmentation, multi_query


def side(vectors, pids=None, camids=None):
    return Embeddings(np.array(vectors, np.float32), Sightings(pids or [1] * len(vectors), camids=camids))


# The query's direction is (0.6, 0.8), so its cosines with the gallery are 0.6, 0.8 and -0.6.
QUERY, GALLERY = side([[30, 40]]), side([[1, 0], [0, 2], [-1, 0]])


@pytest.mark.parametrize(
    ("k", "alpha", "total"),
    [
        (1, 0, [0.6, 0.8 + 1]),
        (2, 0, [0.6 + 1, 0.8 + 1]),
        (3, 0, [0.6 + 1 - 1, 0.8 + 1]),
        (2, 2, [0.6 + 0.6**2, 0.8 + 0.8**2]),
        (9, 2, [0.6 + 0.6**2, 0.8 + 0.8**2]),  # more than there are; a negative cosine weighs nothing
    ],
)
def test_query_expansion(k, alpha, total):
    expanded = average_query_expansion(QUERY, GALLERY, k, alpha)
    np.testing.assert_allclose(expanded.vectors, [total / np.linalg.norm(total)], atol=1e-6)
    assert expanded.sightings is QUERY.sightings


def test_labels_change_nothing():
    rng = np.random.default_rng(0)
    vectors, query = rng.standard_normal((30, 4)), side(rng.standard_normal((5, 4)))
    plain, labelled = side(vectors), side(vectors, rng.integers(-1, 3, 30).tolist(), rng.integers(1, 3, 30))
    for function in (lambda g: average_query_expansion(query, g), database_augmentation):
        np.testing.assert_array_equal(function(plain).vectors, function(labelled).vectors)


def test_database_augmentation():
    # Directions (1, 0), (0, 1), (0.8, 0.6): the nearest others are the third, the third and the first.
    gallery = side([[2, 0], [0, 1], [4, 3]])
    augmented = database_augmentation(gallery, 1).vectors
    np.testing.assert_allclose(
        augmented, np.array([[1.8, 0.6], [0.8, 1.6], [1.8, 0.6]]) / np.sqrt([[3.6], [3.2], [3.6]])
    )
    everything = database_augmentation(gallery, 5).vectors
    np.testing.assert_allclose(everything, np.tile(np.array([1.8, 1.6]) / np.sqrt(5.8), (3, 1)), atol=1e-6)


def test_equal_rows_stay_where_they_are():
    # The last two are not among the first two of their equals; none counts itself as a neighbour.
    np.testing.assert_allclose(database_augmentation(side([[1, 0]] * 4), 1).vectors, [[1, 0]] * 4)


def test_multi_query():
    query = side([[2, 0], [0, 3], [1, 0], [1, 0]], [1, 2, 0, 3], [1, 1, 1, -1])
    gallery = side([[0, 7], [-1, 0], [0, 1], [0, 1], [0, 1]], [1, 1, 0, 3, 2], [1, 2, 1, -1, 3])
    # Only the first has another image of its identity and camera; a distractor and an unknown camera stay alone.
    expected = [[np.sqrt(0.5), np.sqrt(0.5)], [0, 1], [1, 0], [1, 0]]
    joined = multi_query(query, gallery)
    np.testing.assert_allclose(joined.vectors, expected, atol=1e-6)
    assert joined.sightings is query.sightings


def test_queries_of_one_pass_become_one():
    query = side([[1, 0], [0, 1]], [1, 1], [1, 1])
    joined = multi_query(query, side([[-1, 0]], [1], [2])).vectors
    np.testing.assert_allclose(joined, np.full((2, 2), np.sqrt(0.5)), atol=1e-6)


def test_bad_settings_are_named():
    with pytest.raises(InputError, match="k must be at least 1"):
        average_query_expansion(QUERY, GALLERY, 0)
    with pytest.raises(InputError, match="k must be at least 1"):
        database_augmentation(GALLERY, 0)
    with pytest.raises(InputError, match="alpha must be"):
        average_query_expansion(QUERY, GALLERY, alpha=-1)
    with pytest.raises(InputError, match="the gallery has no camids"):
        multi_query(side([[1, 0]], camids=[1]), GALLERY)
