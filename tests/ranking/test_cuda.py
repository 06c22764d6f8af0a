"""On a GPU everything that ranks says what it says on the CPU. Skipped where there is none."""

import numpy as np
import pytest
import torch
from walks import walks

from reidentify import Embeddings, Sightings, evaluate
from reidentify.ranking.fusion import LogisticFusion, LogOddsFusion
from reidentify.ranking.metrics import score
from reidentify.ranking.protocol import CUHK03_CLASSIC, MARKET1501, NO_CAMERAS
from reidentify.ranking.rerank import BASES, KReciprocal, k_reciprocal
from reidentify.ranking.spacetime import SpaceTime

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def assert_equal_results(found, expected):
    """Every score, of all queries and of each."""
    for name in ("ap", "ap_trapezoid", "inp", "first_rank", "cmc"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-5, err_msg=name)
    for name in ("mAP", "mAP_trapezoid", "mINP"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=0, abs=1e-5), name


def labels(rng, n):
    """Thirty identities, junk and distractors, before three cameras and some unknown ones."""
    return Sightings(rng.integers(-1, 31, n), camids=rng.integers(-1, 3, n))


def around_centres(rng, sightings):
    """Vectors around one centre for each identity."""
    vectors = rng.standard_normal((sightings.pids.max() + 2, 16))[sightings.pids + 1]
    return Embeddings((vectors + rng.standard_normal(vectors.shape)).astype(np.float32), sightings)


def corners(rng, sightings):
    """Corners of a cube near one for each identity: distances are exact on every device, and many are equal."""
    own = rng.choice(np.float32([-1, 1]), (sightings.pids.max() + 2, 64))[sightings.pids + 1]
    return Embeddings(own * rng.choice(np.float32([-1, 1]), own.shape, p=(0.2, 0.8)), sightings)


def sides(vectors, queries, gallery):
    rng = np.random.default_rng(0)
    everybody = vectors(rng, labels(rng, queries + gallery))
    return everybody[:queries], everybody[queries:]


@pytest.fixture(scope="module")
def walkers():
    """Statistics of a camera network, and query and gallery of other people who walk through it."""
    others = around_centres(np.random.default_rng(0), walks(30, seed=2, first=201))
    query = np.arange(len(others)) % 6 == 0
    return SpaceTime().fit(walks(80)), others[query], others[~query]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [5, None], ids=["5 levels", "continuous"])
@pytest.mark.parametrize(
    ("protocol", "queries", "gallery"),
    [(MARKET1501, 300, 400), (NO_CAMERAS, 300, 400), (CUHK03_CLASSIC, 20, 90)],  # 300 queries are two blocks
    ids=["market1501", "no-cameras", "cuhk03-classic"],
)
def test_score(protocol, queries, gallery, levels, dtype):
    rng = np.random.default_rng(0)
    shape = queries, gallery
    distances = torch.from_numpy(rng.random(shape) if levels is None else rng.integers(0, levels, shape) / levels)
    distances = distances.to(dtype)
    query, rows = (labels(rng, n) for n in shape)
    columns = query.pids, rows.pids, query.camids, rows.camids
    assert_equal_results(score(distances.to(DEVICE), *columns, protocol), score(distances.numpy(), *columns, protocol))


@pytest.mark.parametrize(("vectors", "queries", "gallery"), [(around_centres, 40, 120), (corners, 300, 500)])
def test_evaluate(vectors, queries, gallery):
    query, rows = sides(vectors, queries, gallery)
    assert_equal_results(evaluate(query, rows, device=DEVICE), evaluate(query, rows))


@pytest.mark.parametrize("base", BASES)
def test_k_reciprocal(base):
    query, gallery = (side.vectors for side in sides(corners, 300, 500))
    found = k_reciprocal(*(torch.from_numpy(v).to(DEVICE) for v in (query, gallery)), base=base)
    assert (found.device.type, found.dtype) == (DEVICE, torch.float32)
    np.testing.assert_allclose(found.cpu().numpy(), k_reciprocal(query, gallery, base=base), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rerank", ["k-reciprocal", KReciprocal(8, 3, 0.5, "cosine")], ids=["default", "configured"])
def test_evaluate_reranked(rerank):
    query, gallery = sides(around_centres, 40, 120)
    on_device, expected = (evaluate(query, gallery, rerank=rerank, device=device) for device in (DEVICE, None))
    assert_equal_results(on_device, expected)
    assert expected.mAP != evaluate(query, gallery).mAP


@pytest.mark.parametrize("rerank", [None, "k-reciprocal"])
@pytest.mark.parametrize("kind", ["logistic", "log-odds"])
def test_evaluate_with_spacetime(walkers, kind, rerank):
    statistics, query, gallery = walkers
    fused = LogisticFusion(statistics) if kind == "logistic" else LogOddsFusion(statistics, slope=10)
    on_device, expected = (
        evaluate(query, gallery, spacetime=fused, rerank=rerank, device=device) for device in (DEVICE, None)
    )
    assert_equal_results(on_device, expected)
    assert expected.mAP != evaluate(query, gallery, rerank=rerank).mAP
