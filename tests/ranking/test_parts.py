"""Part by part: distances against a loop over pairs and parts, and what may be done with parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reidentify import Embeddings, InputError, Sightings, evaluate
from reidentify.ranking.distance import DotProduct
from reidentify.ranking.evaluate import search
from reidentify.ranking.expansion import average_query_expansion, database_augmentation, multi_query
from reidentify.ranking.parts import PartDotProduct, appearance, pair_similarities
from reidentify.ranking.rerank import KReciprocal


def rows(count: int, seed: int, parts: int = 4, width: int = 3) -> Embeddings:
    """Random parts of random visibility, many of them unseen, and part 0 always seen."""
    rng = np.random.default_rng(seed)
    visibility = rng.random((count, parts)) * (rng.random((count, parts)) < 0.5)
    visibility[:, 0] = 1
    pids, camids = np.arange(count) % 5 + 1, np.full(count, seed)
    return Embeddings(rng.normal(size=(count, parts * width)), Sightings(pids, camids=camids), visibility)


def by_loop(a: Embeddings, b: Embeddings) -> np.ndarray:
    """The definition, one pair and one part at a time, in double precision."""
    parts = a.visibility.shape[1]
    found = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            total = weight = 0.0
            for p, (u, v) in enumerate(zip(np.split(a.vectors[i], parts), np.split(b.vectors[j], parts))):
                common = float(a.visibility[i, p]) * float(b.visibility[j, p])
                u, v = u.astype(float), v.astype(float)
                length = np.sqrt(u @ u) * np.sqrt(v @ v)
                cosine = (u @ v) / length if length else 0.0
                if p == 0:
                    whole = 1 - cosine
                total, weight = total + common * (1 - cosine), weight + common
            found[i, j] = total / weight if weight else whole
    return found


@pytest.mark.parametrize("device", [None, "cpu"])
def test_distances_are_the_definitions(device: str | None) -> None:
    query, gallery = rows(7, 1), rows(11, 2)
    found = PartDotProduct(query, gallery, device)
    np.testing.assert_allclose(found.block(slice(0, 7), slice(0, 11)), by_loop(query, gallery), atol=1e-6)
    some, others = np.array([3, 1]), np.array([10, 0, 4])
    expected = by_loop(query[some], gallery[others])
    np.testing.assert_allclose(found.block(some, others), expected, atol=1e-6)


def test_parts_that_only_one_shows_do_not_count() -> None:
    """Heads alike, legs unlike: by hand 1/2 (0 + 1) where both show legs, 0 where one does not."""
    sightings = Sightings([1, 1])
    head, right, up = [1.0, 0], [1.0, 0], [0, 1.0]
    both = Embeddings([[*head, *right], [*head, *up]], sightings, [[1, 1], [1, 1]])
    one = Embeddings(both.vectors, sightings, [[1, 1], [1, 0]])
    half = Embeddings(both.vectors, sightings, [[1, 1], [1, 0.5]])
    for second, distance in ((both, 0.5), (one, 0.0), (half, 1 / 3)):
        assert PartDotProduct(both[:1], second[1:]).block(slice(0, 1), slice(0, 1)) == pytest.approx(distance, abs=1e-6)


def test_without_a_common_part_the_whole_is_compared() -> None:
    """As Embeddings of another make may have it: not even the whole is told to be seen."""
    sightings = Sightings([1])
    a = Embeddings([[1, 0, 1, 0, 1, 0]], sightings, [[0, 1, 0]])
    b = Embeddings([[0.6, 0.8, 1, 0, 1, 0]], sightings, [[0, 0, 1]])
    found = PartDotProduct(a, b).block(slice(0, 1), slice(0, 1))
    assert found == pytest.approx(1 - 0.6, abs=1e-6)
    np.testing.assert_allclose(found, by_loop(a, b), atol=1e-6)
    assert pair_similarities(Embeddings.concat([a, b]), np.array([0]), np.array([1])) == pytest.approx(0.6, abs=1e-6)


def test_an_unseen_part_of_zeros_is_no_trouble() -> None:
    query, gallery = rows(3, 1), rows(3, 2)
    shaped = query.vectors.reshape(3, 4, 3) * (query.visibility > 0)[:, :, None]
    zeros = Embeddings(shaped.reshape(3, -1), query.sightings, query.visibility)
    expected = PartDotProduct(query, gallery).block(slice(0, 3), slice(0, 3))
    np.testing.assert_allclose(PartDotProduct(zeros, gallery).block(slice(0, 3), slice(0, 3)), expected, atol=1e-6)


def test_evaluate_search_and_cascade_compare_parts() -> None:
    query, gallery = rows(10, 1), rows(30, 2)
    distances = by_loop(query, gallery)

    class Given:
        def block(self, query_rows: object, gallery_rows: object) -> np.ndarray:
            return distances[query_rows][:, gallery_rows]

    expected = evaluate(query.sightings, gallery.sightings, scorer=Given())
    found = evaluate(query, gallery)
    assert found.mAP == pytest.approx(expected.mAP, abs=1e-9)
    whole = evaluate(*(Embeddings(side.vectors, side.sightings) for side in (query, gallery)))
    assert found.mAP != pytest.approx(whole.mAP, abs=1e-6)
    near, near_by = search(query, gallery, 4)
    np.testing.assert_array_equal(near, np.argsort(distances, axis=1, kind="stable")[:, :4])
    np.testing.assert_allclose(near_by, np.sort(distances, axis=1)[:, :4], atol=1e-6)
    rescored = evaluate(query, gallery, rescore=(appearance(query, gallery), 5))
    assert rescored.mAP == pytest.approx(expected.mAP, abs=1e-9)


def test_reranking_takes_the_same_distances() -> None:
    query, gallery = rows(8, 1), rows(20, 2)
    everyone = Embeddings.concat([query, gallery])
    rerank = KReciprocal(k1=4, k2=2)

    class Given:
        distances = by_loop(everyone, everyone)

        def block(self, query_rows: object, gallery_rows: object) -> np.ndarray:
            return self.distances[query_rows][:, gallery_rows]

    expected = evaluate(query.sightings, gallery.sightings, scorer=rerank.of_scorer(Given(), 8, 20))
    assert evaluate(query, gallery, rerank=rerank).mAP == pytest.approx(expected.mAP, abs=1e-9)


def test_pairs_are_compared_as_blocks_are() -> None:
    everyone = rows(9, 3)
    first, second = np.triu_indices(9, 1)
    expected = 1 - by_loop(everyone, everyone)[first, second]
    np.testing.assert_allclose(pair_similarities(everyone, first, second), expected, atol=1e-6)
    plain = Embeddings(everyone.vectors, everyone.sightings)
    cosines = 1 - DotProduct(plain.vectors, plain.vectors).block(slice(0, 9), slice(0, 9))[first, second]
    np.testing.assert_allclose(pair_similarities(plain, first, second), cosines, atol=1e-6)


def test_visibility_travels_with_the_rows(tmp_path: Path) -> None:
    one, two = rows(5, 1), rows(3, 2)
    joined = Embeddings.concat([one, two])
    joined.save(tmp_path / "rows.parquet")
    read = Embeddings.load(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(read.visibility, np.concatenate([one.visibility, two.visibility]))
    np.testing.assert_array_equal(read.vectors, joined.vectors)
    np.testing.assert_array_equal(read[[6, 0]].visibility, [two.visibility[1], one.visibility[0]])
    assert "in 4 parts" in repr(read)


def test_what_parts_cannot_do_is_refused() -> None:
    query, gallery = rows(4, 1), rows(6, 2)
    plain = Embeddings(gallery.vectors, gallery.sightings)
    for other in (plain, rows(6, 2, parts=2, width=6)):
        with pytest.raises(InputError, match="the same body parts"):
            evaluate(query, other)
        with pytest.raises(InputError, match="cannot be joined"):
            Embeddings.concat([query, other])
    for change in (average_query_expansion, multi_query):
        with pytest.raises(InputError, match="needs one vector for each row"):
            change(query, gallery)
    with pytest.raises(InputError, match="database augmentation needs one vector for each row"):
        database_augmentation(gallery)
    for visibility, said in (([[0.5] * 5] * 4, "12 numbers are not 5 parts"), ([[1.1] * 4] * 4, "from 0"),
                             ([[np.nan] * 4] * 4, "from 0"), ([[1.0] * 4] * 3, "expected shape 4 x any")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            Embeddings(query.vectors, query.sightings, visibility)


def test_it_keeps_no_second_copy_of_all_parts() -> None:
    """A view of the whole pictures would hold the array that they were cut out of."""
    found = PartDotProduct(rows(7, 1), rows(11, 2))
    assert all(side.base is None for side in found._whole)
