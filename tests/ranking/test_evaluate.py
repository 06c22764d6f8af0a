"""The entry: embeddings or a scorer in, the right protocol, the query's own picture, errors that say why."""

import subprocess
import sys

import numpy as np
import pytest

import reidentify
from reidentify import Embeddings, InputError, Sightings
from reidentify.ranking.evaluate import evaluate
from reidentify.ranking.metrics import score
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS


def random_side(rng, n, **columns):
    vectors = rng.standard_normal((n, 16)).astype(np.float32)
    return Embeddings(vectors, Sightings(rng.integers(1, 6, n), **columns))


def test_equal_to_the_score_of_the_whole_matrix():
    rng = np.random.default_rng(0)
    q, g = (random_side(rng, n, camids=rng.integers(1, 4, n)) for n in (300, 400))  # two blocks of queries
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q.vectors.astype(float), g.vectors.astype(float))]
    labels = q.sightings.pids, g.sightings.pids, q.sightings.camids, g.sightings.camids
    expected = score(1 - unit[0] @ unit[1].T, *labels)
    result = reidentify.evaluate(q, g)
    assert result.protocol is MARKET1501
    assert result.mAP == pytest.approx(expected.mAP, abs=1e-6)
    np.testing.assert_array_equal(result.matches, expected.matches)


def test_without_cameras_the_rule_changes_and_says_so():
    rng = np.random.default_rng(1)
    result = evaluate(random_side(rng, 10), random_side(rng, 30, camids=rng.integers(1, 4, 30)))
    assert result.protocol is NO_CAMERAS
    assert "No cameras are known" in str(result)
    unknown = evaluate(random_side(rng, 10, camids=np.full(10, -1)), random_side(rng, 30, camids=np.full(30, -1)))
    assert unknown.protocol is NO_CAMERAS
    with pytest.raises(InputError, match="needs the cameras"):
        evaluate(random_side(rng, 10), random_side(rng, 30), MARKET1501)


def test_the_querys_own_file_is_ignored():
    vectors = np.array([[1, 0], [1, 0.1], [0.9, 0.3]], np.float32)
    everybody = Embeddings(vectors, Sightings([1, 2, 1], files=["a/x.jpg", "a/y.jpg", "a/z.jpg"]))
    query = everybody[[0]]
    # Without the own file: wrong (y), right (z).
    assert evaluate(query, everybody).first_rank.tolist() == [2]
    # The same path spelt otherwise is the same file.
    respelt = Embeddings(query.vectors, query.sightings.replace(files=["b/../a/x.jpg"]))
    assert evaluate(respelt, everybody).first_rank.tolist() == [2]
    # Another person's box in the same picture is somebody else and stays.
    boxes = np.array([[0, 0, 5, 9], [6, 0, 9, 9], [0, 0, 5, 9]], np.float32)
    one_file = everybody.sightings.replace(files=["v.png", "v.png", "w.png"], boxes=boxes)
    shared = Embeddings(vectors, one_file)
    assert evaluate(shared[[0]], shared).first_rank.tolist() == [2]


def test_any_scorer_will_do():
    class Table:
        def __init__(self, distances):
            self.distances = distances

        def block(self, query_rows, gallery_rows):
            return self.distances[query_rows][:, gallery_rows]

    query, gallery = Sightings([1, 2], camids=[1, 1]), Sightings([2, 1, 2], camids=[2, 2, 2])
    distances = np.array([[0.1, 0.2, 0.3], [0.2, 0.1, 0.3]])
    result = evaluate(query, gallery, scorer=Table(distances))
    np.testing.assert_allclose(result.ap, [1 / 2, (1 / 2 + 2 / 3) / 2])
    with pytest.raises(InputError, match="no vectors to compare"):
        evaluate(query, gallery)


def test_when_nothing_matches_the_message_says_why():
    vectors = np.eye(2, dtype=np.float32)
    people = Embeddings(vectors, Sightings([1, 2], files=["x", "y"]))
    with pytest.raises(InputError, match="own file"):
        evaluate(people, people)
    with pytest.raises(InputError, match=r"query pids 1, 2; gallery pids 3, 4"):
        evaluate(people, Embeddings(vectors, Sightings([3, 4])))
    one_camera = Embeddings(vectors, Sightings([1, 2], camids=[7, 7]))
    with pytest.raises(InputError, match=r"own camera.*query camids 7;.*no-cameras"):
        evaluate(one_camera, one_camera)


def test_search_needs_no_identities():
    gallery = Embeddings(np.array([[1, 0], [0, 1], [1, 1]], np.float32), Sightings([0, 0, 0]))
    query = Embeddings(np.array([[0, 2]], np.float32), Sightings([0]))
    rows, distances = reidentify.search(query, gallery, k=2)
    assert rows.tolist() == [[1, 2]]
    np.testing.assert_allclose(distances, [[0, 1 - np.sqrt(0.5)]], atol=1e-6)


def test_options_that_exclude_each_other_are_refused():
    rng = np.random.default_rng(2)
    q, g = random_side(rng, 4), random_side(rng, 9)
    with pytest.raises(InputError, match="cannot be combined with spacetime or rerank"):
        evaluate(q, g, scorer=object(), rerank="k-reciprocal")
    with pytest.raises(InputError, match="unknown re-ranking 'k-nearest'"):
        evaluate(q, g, rerank="k-nearest")


def test_a_device_that_is_not_there_is_named():
    rng = np.random.default_rng(3)
    sides = random_side(rng, 4), random_side(rng, 9)
    for rerank in (None, "k-reciprocal"):
        with pytest.raises(InputError, match="device cuda:77: "):
            evaluate(*sides, device="cuda:77", rerank=rerank)
    plain, on_cpu = evaluate(*sides), evaluate(*sides, device="cpu")
    np.testing.assert_allclose(on_cpu.ap, plain.ap)


def test_evaluation_needs_neither_torch_nor_matplotlib():
    code = "import sys, reidentify; reidentify.evaluate; print({'torch', 'matplotlib', 'pyarrow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
