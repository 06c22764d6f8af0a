"""Scores against arithmetic done by hand and against a slow float64 reference that sorts every list."""

import math

import numpy as np
import pytest
import torch

from reidentify.errors import InputError
from reidentify.ranking import ranks
from reidentify.ranking.matches import match
from reidentify.ranking.metrics import Ranking, score
from reidentify.ranking.protocol import CUHK03_CLASSIC, MARKET1501, NO_CAMERAS, SINGLE_SHOT, Protocol


def reference(distances, query_pids, gallery_pids, query_camids, gallery_camids, same_camera_is_junk=True):
    """Each query's AP, trapezoid AP, INP and first rank, by sorting Python lists in float64."""
    found = []
    for i, pid in enumerate(query_pids):
        listed = []
        for j, other in enumerate(gallery_pids):
            same_camera = query_camids[i] == gallery_camids[j] != -1
            if other == -1 or (same_camera_is_junk and other == pid and pid > 0 and same_camera):
                continue
            listed.append((float(distances[i][j]), j, other == pid and pid > 0))
        hits = [right for _, _, right in sorted(listed)]
        places = [place for place, right in enumerate(hits) if right]
        n = len(places)
        if not n:
            found.append((math.nan, 0.0, math.nan, 0))
            continue
        plain = sum((k + 1) / (place + 1) for k, place in enumerate(places)) / n
        above = [k / place if place else 1.0 for k, place in enumerate(places)]
        trapezoid = sum((a + (k + 1) / (p + 1)) / 2 for k, (a, p) in enumerate(zip(above, places))) / n
        found.append((plain, trapezoid, n / (places[-1] + 1), places[0] + 1))
    return [np.array(column) for column in zip(*found)]


def test_cmc_by_hand():
    # Every row ranks the gallery 0, 1, 2, 3. The match of query 0 is first, of query 1 second, and so on.
    result = score(np.tile(np.arange(4), (4, 1)), [1, 2, 3, 4], [1, 2, 3, 4], [1] * 4, [2] * 4)
    np.testing.assert_allclose(result.cmc, [0.25, 0.5, 0.75, 1.0])
    assert [result.rank(k) for k in (1, 2, 4, 100)] == [0.25, 0.5, 1.0, 1.0]
    # One match each: AP is 1/1, 1/2, 1/3, 1/4.
    np.testing.assert_allclose(result.ap, [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(result.inp, result.ap)
    assert result.mAP == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_both_conventions_of_average_precision_by_hand():
    # Matches at 0-based ranks 1 and 2. Plain: (1/2 + 2/3) / 2.
    # Trapezoid: ((0/1 + 1/2) / 2 + (1/2 + 2/3) / 2) / 2 = (0.25 + 0.58333) / 2.
    result = score([[0.1, 0.2, 0.3]], [7], [8, 7, 7], [1], [2, 2, 2])
    assert result.mAP == pytest.approx(0.5833, abs=1e-4)
    assert result.mAP_trapezoid == pytest.approx(0.4167, abs=1e-4)
    assert result.mINP == pytest.approx(2 / 3)
    assert result.first_rank.tolist() == [2]
    assert result.matches.tolist() == [2]


def test_the_trapezoid_counts_a_match_at_the_top_as_full_precision():
    # Ranks 0 and 2: ((1 + 1) / 2 + (1/2 + 2/3) / 2) / 2.
    result = score([[0.1, 0.2, 0.3]], [7], [7, 8, 7], [1], [2, 2, 2])
    assert result.mAP_trapezoid == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)


def test_junk_same_camera_and_distractors():
    #       junk  own camera  distractor  match
    pids, cameras = [-1, 5, 0, 5], [2, 1, 1, 2]
    result = score([[0.0, 0.1, 0.2, 0.3]], [5], pids, [1], cameras)
    assert result.first_rank.tolist() == [2]  # only the distractor stands before the match
    assert result.mAP == 0.5
    no_cameras = score([[0.0, 0.1, 0.2, 0.3]], [5], pids, protocol=NO_CAMERAS)
    assert no_cameras.first_rank.tolist() == [1]
    assert no_cameras.mAP == pytest.approx((1 + 2 / 3) / 2)
    assert no_cameras.camera_pairs is None


def test_an_unknown_camera_is_never_the_same():
    assert score([[0.1, 0.2]], [5], [5, 6], [-1], [-1, -1]).first_rank.tolist() == [1]


def test_queries_without_a_match_count_in_the_official_average_only():
    # The second query's only match is of its own camera; the third is a distractor and matches nobody.
    result = score(np.zeros((3, 3)), [1, 2, 0], [1, 2, 0], [1, 1, 1], [2, 1, 2])
    assert result.valid.tolist() == [True, False, False]
    assert (result.queries, result.valid_queries) == (3, 1)
    assert result.mAP == 1.0
    assert result.mAP_trapezoid == pytest.approx(1 / 3)
    assert result.rank(1) == 1.0
    assert np.isnan(result.ap[1])
    assert result.ap_trapezoid[1] == 0


def test_ties_are_broken_by_gallery_order():
    # All at one distance: the list is the gallery itself, its junk left out.
    result = score(np.zeros((1, 6)), [1], [2, -1, 1, 2, 1, 2], [1], [2] * 6)
    assert result.first_rank.tolist() == [2]
    assert result.ap[0] == pytest.approx((1 / 2 + 2 / 4) / 2)
    # The earlier of two equals goes first, whichever of them is right.
    assert score([[0.5, 0.5]], [1], [1, 2], [1], [2, 2]).first_rank.tolist() == [1]
    assert score([[0.5, 0.5]], [1], [2, 1], [1], [2, 2]).first_rank.tolist() == [2]


def test_infinite_distances_rank_last_and_never_before_what_is_ignored():
    result = score([[np.inf, np.inf, 0.0, np.inf]], [1], [-1, 2, 2, 1], [1], [2] * 4)
    assert result.first_rank.tolist() == [3]


@pytest.mark.parametrize("many", [1, 10**9], ids=["by counting", "by sorting"])
@pytest.mark.parametrize("levels", [2, 5, 1000, None], ids=["2 levels", "5 levels", "1000 levels", "continuous"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("same_camera_is_junk", [True, False])
def test_equal_to_the_reference(levels, dtype, same_camera_is_junk, many, monkeypatch):
    monkeypatch.setattr(ranks, "_MANY", many)
    rng = np.random.default_rng(0)
    for _ in range(200):
        q, g = rng.integers(1, 9), rng.integers(1, 40)
        labels = [rng.integers(-1, 5, n) for n in (q, g)] + [rng.integers(-1, 4, n) for n in (q, g)]
        d = rng.random((q, g)) if levels is None else rng.integers(0, levels, (q, g)) / levels
        d = d.astype(dtype)
        ap, trapezoid, inp, first = reference(d, *labels, same_camera_is_junk)
        protocol = Protocol("test", "", same_camera_is_junk=same_camera_is_junk)
        if not (first > 0).any():
            with pytest.raises(InputError):
                score(d, *labels, protocol)
            continue
        result = score(d, *labels, protocol)
        np.testing.assert_allclose(result.ap, ap, rtol=1e-12)
        np.testing.assert_allclose(result.ap_trapezoid, trapezoid, rtol=1e-12)
        np.testing.assert_allclose(result.inp, inp, rtol=1e-12)
        np.testing.assert_array_equal(result.first_rank, first)
        assert result.mAP == pytest.approx(np.nanmean(ap))
        assert result.mAP_trapezoid == pytest.approx(trapezoid.mean())
        assert result.rank(3) == pytest.approx(np.mean(first[first > 0] <= 3))


def test_blocks_in_any_order_give_the_same_result():
    rng = np.random.default_rng(2)
    labels = [rng.integers(1, 6, n) for n in (9, 50)] + [rng.integers(1, 4, n) for n in (9, 50)]
    d = rng.random((9, 50)).astype(np.float32)
    before = d.copy()
    ranking = Ranking(match(*labels, MARKET1501))
    for rows in (slice(6, 9), slice(0, 4), slice(4, 6)):
        ranking.add(rows, torch.from_numpy(d[rows]))
    np.testing.assert_array_equal(ranking.result().ap, score(d, *labels).ap)
    np.testing.assert_array_equal(d, before)
    unfinished = Ranking(match(*labels, MARKET1501))
    unfinished.add(slice(0, 4), d[:4])
    with pytest.raises(InputError, match="query row 4 were not added"):
        unfinished.result()


def test_camera_pairs_by_hand():
    # One query of camera 1. Its list: wrong (camera 2), match (3), match (2), wrong (3), match (3).
    result = score([[0.1, 0.2, 0.3, 0.4, 0.5]], [1], [9, 1, 1, 9, 1], [1], [2, 3, 2, 3, 3])
    pairs = result.camera_pairs
    assert pairs.query_cameras.tolist() == [1]
    assert pairs.gallery_cameras.tolist() == [2, 3]
    # Camera 2: the matches of camera 3 are taken out: wrong, match, wrong. AP 1/2.
    # Camera 3: wrong, match, wrong, match. AP (1/2 + 2/4) / 2.
    np.testing.assert_allclose(pairs.mAP, [[1 / 2, 1 / 2]])
    np.testing.assert_allclose(pairs.rank1, [[0, 0]])
    assert pairs.queries.tolist() == [[1, 1]]


def test_camera_pairs_equal_scores_with_the_other_cameras_matches_removed():
    rng = np.random.default_rng(3)
    qp, gp = rng.integers(1, 6, 12), rng.integers(0, 6, 80)
    qc, gc = rng.integers(1, 4, 12), rng.integers(-1, 4, 80)
    d = rng.integers(0, 20, (12, 80)) / 20
    pairs = score(d, qp, gp, qc, gc).camera_pairs
    for a, query_camera in enumerate(pairs.query_cameras):
        for b, gallery_camera in enumerate(pairs.gallery_cameras):
            kept = []
            for i in np.flatnonzero(qc == query_camera):
                keep = (gp != qp[i]) | (gc == gallery_camera)
                if ((gp == qp[i]) & keep & (gc != qc[i])).any():
                    kept.append(score(d[[i]][:, keep], qp[[i]], gp[keep], qc[[i]], gc[keep]))
            assert pairs.queries[a, b] == len(kept)
            if kept:
                assert pairs.mAP[a, b] == pytest.approx(np.mean([r.mAP for r in kept]))
                assert pairs.rank1[a, b] == pytest.approx(np.mean([r.rank(1) for r in kept]))
            else:
                assert np.isnan(pairs.mAP[a, b])


def test_one_shot_per_identity_leaves_one_match():
    # Two rows of the query's identity (near and far) and one wrong row between: the draw decides which is seen.
    protocol = Protocol("draw", "", shots=1, repeats=400)
    result = score([[0.1, 0.2, 0.3]], [1], [1, 2, 1], [1], [2, 2, 2], protocol)
    assert result.first_rank.shape == (1, 400)
    assert result.matches.tolist() == [1]
    # The near row is drawn in about half of the draws: rank 1, AP 1; else rank 2, AP 1/2. 4 sigma of 400 draws: 0.1.
    assert result.rank(1) == pytest.approx(0.5, abs=0.1)
    assert result.mAP == pytest.approx(0.5 + result.rank(1) / 2)
    assert result.rank(2) == 1.0


def test_shots_come_from_other_cameras_only_where_the_protocol_says_so():
    # The wrong identity's near row is of the query's camera: unseen under the classic rule, so the match is first.
    labels = [1], [2, 1, 2], [1], [1, 2, 3]
    assert score([[0.1, 0.2, 0.3]], *labels, CUHK03_CLASSIC).rank(1) == 1.0
    result = score([[0.1, 0.2, 0.3]], *labels, SINGLE_SHOT)
    assert set(result.first_rank.reshape(-1)) == {1, 2}


def test_draws_are_seeded_and_keep_distractors():
    rng = np.random.default_rng(4)
    labels = [rng.integers(1, 9, n) for n in (20, 90)] + [rng.integers(1, 4, n) for n in (20, 90)]
    d = rng.random((20, 90))
    first, again, other = (score(d, *labels, CUHK03_CLASSIC, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.first_rank, again.first_rank)
    assert (first.first_rank != other.first_rank).any()
    assert first.first_rank.max() <= 8  # eight identities, one row each
    distractors = score([[0.1, 0.2, 0.3]], [1], [0, 0, 1], [1], [2, 2, 2], SINGLE_SHOT)
    assert (distractors.first_rank == 3).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.1, np.nan]], [1], [1, 2], [1], [2, 2]), "NaN between query row 0 and gallery row 1"),
        (([[0.1]], [1], [1, 2], [1], [2, 2]), r"expected 1 x 2 .* got \(1, 1\)"),
        (([[0.1]], [1.0], [1], [1], [2]), "query_pids: expected integers"),
        (([[0.1]], [1], [1], [1, 1], [2]), "query_camids: expected 1 entries"),
        (([[0.1]], [1], [1]), "needs the cameras"),
        ((np.zeros((0, 1)), [], [1], [], [1]), "query is empty"),
        ((np.zeros((1, 0)), [1], [], [1], []), "gallery is empty"),
        (([[0.1]], [1], [2], [1], [2]), "no identity of the 1 in the query is in the gallery"),
        (([[0.1]], [1], [1], [4], [4]), "seen by the query's own camera"),
        (([[0.1]], [0], [1], [4], [4]), "no query row has an identity"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        score(*arguments)
