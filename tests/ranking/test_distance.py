"""Blocked distances and nearest neighbours against float64."""

import tracemalloc

import numpy as np
import pytest
import torch

from reidentify.errors import InputError
from reidentify.ranking import distance
from reidentify.ranking.distance import DotProduct, as_array, blocks, smallest, topk
from reidentify.ranking.matches import match
from reidentify.ranking.protocol import MARKET1501


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.standard_normal((7, 33)).astype(np.float32), 4 * rng.standard_normal((50, 33)).astype(np.float32)


def exact(query, gallery, metric):
    q, g = query.astype(np.float64), gallery.astype(np.float64)
    if metric == "sqeuclidean":
        return ((q[:, None] - g[None]) ** 2).sum(axis=2)
    return 1 - (q @ g.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(g, axis=1)


@pytest.mark.parametrize(("metric", "tolerance"), [("cosine", 1e-6), ("sqeuclidean", 1e-3)])
def test_distances_equal_float64(vectors, metric, tolerance):
    scorer, expected = DotProduct(*vectors, metric), exact(*vectors, metric)
    whole = scorer.block(slice(0, 7), slice(0, 50))
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, expected, atol=tolerance)
    some = scorer.block(np.array([5, 2]), np.array([9, 8, 40]))
    np.testing.assert_allclose(some, expected[np.ix_([5, 2], [9, 8, 40])], atol=tolerance)


def test_squared_distances_are_never_negative(vectors):
    same = DotProduct(vectors[1], vectors[1], "sqeuclidean").block(slice(None), slice(None))
    assert same.min() == 0
    assert np.diag(same).max() < 1e-3


def test_squared_distances_take_no_second_block():
    vectors = np.ones((1024, 8), np.float32)
    scorer = DotProduct(vectors, vectors, "sqeuclidean")
    tracemalloc.start()
    block = scorer.block(slice(None), slice(None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert block.nbytes <= peak < 1.5 * block.nbytes
    on_tensors = DotProduct(vectors, vectors, "sqeuclidean", "cpu").block(slice(None), slice(None))
    assert float(on_tensors.min()) == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int16", "float64"),
        ("int32", "float64"),
    ],
)
def test_arrays_and_tensors_become_the_same_floats(given, expected):
    value = 2**24 + 1 if given == "int32" else 7  # float32 has no 2**24 + 1
    array = np.array([[value]], given)
    for distances in (array, torch.tensor(array)):
        assert as_array(distances).dtype == expected
        assert as_array(distances).tolist() == [[value]]


def test_a_vector_of_zeros_is_at_distance_one():
    zero, unit = np.zeros((1, 3), np.float32), np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(DotProduct(zero, unit).block(slice(None), slice(None)), [[1, 1, 1]])


def test_vectors_of_different_width_are_an_error():
    with pytest.raises(InputError, match="same width"):
        DotProduct(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match="unknown metric 'l1'"):
        DotProduct(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), "l1")


def test_blocks_cover_every_row_and_stay_small():
    slices = list(blocks(1000, 100_000))
    assert [i for s in slices for i in range(1000)[s]] == list(range(1000))
    assert max(s.stop - s.start for s in slices) * 100_000 <= distance.BLOCK_DISTANCES
    assert len(list(blocks(3, 10**9))) == 3


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
@pytest.mark.parametrize("k", [1, 5, 50, 80])
def test_topk_equals_a_sort(vectors, metric, k):
    rows, distances = topk(*vectors, k, metric=metric)
    expected = exact(*vectors, metric)
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1), atol=1e-3)


def test_topk_keeps_gallery_order_among_equals():
    query, gallery = np.array([[1, 0]], np.float32), np.array([[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    assert topk(query, gallery, 2)[0].tolist() == [[1, 3]]
    assert topk(query, gallery, 4)[0].tolist() == [[1, 3, 4, 0]]


def test_topk_leaves_out_what_the_protocol_ignores():
    query, gallery = np.array([[1, 0]], np.float32), np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1]], np.float32)
    # Junk first, then the query's own camera: the third row is the nearest that is left.
    matches = match([1], [-1, 1, 1, 2], [1], [2, 1, 2, 2], MARKET1501)
    rows, distances = topk(query, gallery, 4, matches=matches)
    assert rows.tolist() == [[2, 3, -1, -1]]
    assert distances[0, 2:].tolist() == [np.inf, np.inf]
    with pytest.raises(InputError, match="k must be at least 1"):
        topk(query, gallery, 0)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("k", [1, 5, 70, 1003])
@pytest.mark.parametrize("values", [1, 4, 10**6], ids=["collapsed", "4 values", "distinct"])
@pytest.mark.parametrize("left_out", [0, 0.3, 0.95])
def test_smallest_equals_a_stable_sort(values, k, tensor, left_out):
    rng = np.random.default_rng(0)
    distances = rng.integers(0, values, (9, 1003)).astype(np.float32)
    distances[rng.random(distances.shape) < 0.01] = np.inf
    distances[rng.random(distances.shape) < 0.01] = -np.inf
    distances[rng.random(distances.shape) < left_out] = np.nan
    columns, nearest = smallest(torch.from_numpy(distances) if tensor else distances, k)
    for row, found, near_by in zip(distances, columns.tolist(), nearest.tolist()):
        expected = sorted((value, column) for column, value in enumerate(row.tolist()) if value == value)[:k]
        missing = k - len(expected)
        assert found == [column for _, column in expected] + [-1] * missing
        assert near_by == [value for value, _ in expected] + [np.inf] * missing
