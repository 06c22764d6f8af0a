"""k-reciprocal re-ranking against the published algorithm, written densely in float64."""

import numpy as np
import pytest

import reidentify
from reidentify.errors import InputError
from reidentify.ranking.rerank import BASES, KReciprocal, k_reciprocal

POWERS = {"euclidean": 0.5, "sqeuclidean-squared": 2, "cosine-squared": 2}


def base_distances(vectors, base):
    v = vectors.astype(np.float64)
    if base.startswith("cosine"):
        lengths = np.linalg.norm(v, axis=1, keepdims=True)
        v /= np.where(lengths > 0, lengths, 1)
        distances = 1 - v @ v.T
        np.fill_diagonal(distances, 0)
    else:
        distances = np.stack([((v - row) ** 2).sum(axis=1) for row in v])
    return np.maximum(distances, 0) ** POWERS.get(base, 1)


def dense(distances, queries, k1, k2, lambda_value):
    """The published algorithm. N x N distances, queries first, to Q x G."""
    n = len(distances)
    largest = distances.max(axis=1, keepdims=True)
    d = distances / np.where(largest > 0, largest, 1)
    rank = np.argsort(d, axis=1, kind="stable")

    def reciprocal(p, entries):
        return {q for q in rank[p, :entries].tolist() if p in rank[q, :entries]}

    v = np.zeros((n, n))
    for p in range(n):
        near = reciprocal(p, k1 + 1)
        members = set(near)
        for q in near:
            theirs = reciprocal(q, int(np.around(k1 / 2)) + 1)
            if 3 * len(near & theirs) > 2 * len(theirs):
                members |= theirs
        members = sorted(members)
        v[p, members] = np.exp(-d[p, members])
        v[p] /= v[p].sum() or 1
    if k2 > 1:
        v = np.stack([v[rank[p, :k2]].mean(axis=0) for p in range(n)])
    common = np.stack([np.minimum(row, v[queries:]).sum(axis=1) for row in v[:queries]])
    return (1 - lambda_value) * (1 - common / (2 - common)) + lambda_value * d[:queries, queries:]


def people(queries, gallery, seed=0, width=16):
    """Vectors around a dozen centres."""
    rng = np.random.default_rng(seed)
    n = queries + gallery
    v = rng.standard_normal((12, width))[rng.integers(0, 12, n)] + 0.6 * rng.standard_normal((n, width))
    return v[:queries].astype(np.float32), v[queries:].astype(np.float32)


class Table:
    def __init__(self, distances):
        self.distances = distances

    def block(self, query_rows, gallery_rows):
        return self.distances[query_rows][:, gallery_rows]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("queries", "gallery", "k1", "k2", "lambda_value"),
    [
        (30, 150, 20, 6, 0.3),
        (20, 300, 7, 1, 0.5),  # no local expansion; round(3.5) is even
        (20, 300, 9, 3, 0),  # round(4.5) is even
        (20, 100, 1, 1, 1),
        (20, 100, 3, 12, 0.3),  # more rows averaged than neighbours looked at
        (5, 9, 20, 6, 0.3),  # fewer rows than neighbours
        (1, 1, 20, 20, 0.3),
    ],
)
def test_equal_to_the_dense_algorithm(queries, gallery, k1, k2, lambda_value, base):
    q, g = people(queries, gallery, seed=k1)
    expected = dense(base_distances(np.concatenate([q, g]), base), queries, k1, k2, lambda_value)
    distances = k_reciprocal(q, g, k1, k2, lambda_value, base)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, expected, atol=1e-6)


@pytest.fixture(scope="module")
def market():
    """Vectors of the first 300 queries of Market-1501, and of 1,500 gallery images: first those of the same people."""
    try:
        benchmark = reidentify.benchmark("market1501")
    except InputError as missing:
        pytest.skip(str(missing))
    query, gallery = benchmark.query[:300], benchmark.gallery
    order = np.argsort(~np.isin(gallery.pids, query.pids), kind="stable")
    model = reidentify.load("market-small", "cpu")
    return [model.embed_sightings(rows, cache=False, progress=False).vectors for rows in (query, gallery[order[:1500]])]


@pytest.mark.real
@pytest.mark.parametrize("base", BASES)
def test_equal_to_the_dense_algorithm_on_real_people(market, base):
    expected = dense(base_distances(np.concatenate(market), base), 300, 20, 6, 0.3)
    np.testing.assert_allclose(k_reciprocal(*market, base=base), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("base", ["euclidean", "sqeuclidean", "sqeuclidean-squared"])
def test_of_equals_the_earlier_row_is_nearer(base):
    """Corners of a cube, each taken by several rows: nearly every distance is a tie."""
    corners = np.random.default_rng(0).integers(0, 2, (80, 4)).astype(np.float32)
    expected = dense(base_distances(corners, base), 20, 6, 4, 0.3)
    np.testing.assert_allclose(k_reciprocal(corners[:20], corners[20:], 6, 4, 0.3, base), expected, atol=1e-6)


def test_everything_in_one_place():
    expected = dense(np.zeros((40, 40)), 10, 20, 6, 0.3)
    ones = np.ones((40, 2), np.float32)
    np.testing.assert_allclose(k_reciprocal(ones[:10], ones[10:]), expected, atol=1e-6)


def test_a_query_of_zeros():
    q, g = people(10, 100)
    q[3] = 0
    expected = dense(base_distances(np.concatenate([q, g]), "cosine"), 10, 20, 6, 0.3)
    np.testing.assert_allclose(k_reciprocal(q, g, base="cosine"), expected, atol=1e-6)


def test_of_scorer_equals_of_vectors():
    q, g = people(30, 200)
    table = base_distances(np.concatenate([q, g]), "sqeuclidean")
    rows, columns = slice(0, 30), slice(0, 200)
    scored = KReciprocal().of_scorer(Table(table), 30, 200).block(rows, columns)
    assert scored.dtype == np.float32
    np.testing.assert_allclose(scored, KReciprocal().of_vectors(q, g).block(rows, columns), atol=1e-6)


def test_a_row_need_not_be_its_own_nearest():
    """As in a joint score with times, where nobody is likely to be in the same place again at once."""
    rng = np.random.default_rng(0)
    table = rng.random((90, 90))
    table += table.T
    scored = KReciprocal(5, 3).of_scorer(Table(table), 20, 70).block(slice(None), slice(None))
    np.testing.assert_allclose(scored, dense(table, 20, 5, 3, 0.3), atol=1e-6)


def test_blocks_of_any_rows():
    q, g = people(40, 300)
    scorer, whole = KReciprocal().of_vectors(q, g), k_reciprocal(q, g)
    for rows, columns in [
        (slice(20, 40), slice(7, 9)),
        (slice(0, 20), slice(None)),
        (slice(None, None, -3), slice(250, None, 2)),
        (np.array([5, 2, 39]), np.array([9, 299, 0, 9])),
        (np.array([4]), slice(0, 300)),
    ]:
        np.testing.assert_allclose(scorer.block(rows, columns), whole[rows][:, columns], atol=1e-6)


def test_with_lambda_1_the_base_distance_ranks():
    q, g = people(20, 200)
    expected = np.argsort(base_distances(np.concatenate([q, g]), "sqeuclidean")[:20, 20:], axis=1)
    np.testing.assert_array_equal(np.argsort(k_reciprocal(q, g, lambda_value=1), axis=1), expected)


@pytest.mark.parametrize("base", BASES)
def test_a_permuted_gallery_permutes_the_columns(base):
    for seed in range(10):
        q, g = people(20, 200, seed)  # no two distances are equal
        order = np.random.default_rng(seed).permutation(200)
        permuted, expected = k_reciprocal(q, g[order], base=base), k_reciprocal(q, g, base=base)[:, order]
        np.testing.assert_allclose(permuted, expected, atol=1e-6, err_msg=f"seed {seed}")


def test_tensors_in_tensor_out():
    import torch

    q, g = people(20, 200)
    distances = k_reciprocal(torch.from_numpy(q).double(), torch.from_numpy(g).half().float())
    assert isinstance(distances, torch.Tensor)
    assert (distances.dtype, distances.device.type) == (torch.float32, "cpu")
    half = torch.from_numpy(g).half().float().numpy()
    np.testing.assert_allclose(distances.numpy(), k_reciprocal(q, half), atol=1e-6)
    with pytest.raises(InputError, match="both tensors on one device"):
        k_reciprocal(torch.from_numpy(q), g)


def test_the_progress_bar_is_for_people_only(capsys):
    q, g = people(20, 200)
    np.testing.assert_array_equal(k_reciprocal(q, g, progress=True), k_reciprocal(q, g))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 0}, "k1 of the re-ranking must be a whole number from 1, got 0"),
        ({"k2": 1.5}, "k2 of the re-ranking"),
        ({"lambda_value": 1.1}, "lambda_value of the re-ranking must lie between 0 and 1"),
        ({"lambda_value": float("nan")}, "lambda_value"),
        ({"base": "l1"}, "unknown base distance 'l1' of the re-ranking: expected euclidean, "),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        KReciprocal(**settings)


def test_bad_input_is_named():
    q, g = people(3, 9)
    with pytest.raises(InputError, match="the gallery is empty"):
        k_reciprocal(q, g[:0])
    with pytest.raises(InputError, match="the same width, got"):
        k_reciprocal(q, g[:, 1:])
    g[2, 0] = np.nan
    with pytest.raises(InputError, match="NaN or infinity"):
        k_reciprocal(q, g)
    with pytest.raises(InputError, match="distances of 0 or more, row 1 "):
        KReciprocal().of_scorer(Table(np.array([[0.0, 2], [-1, 2]])), 1, 1)
