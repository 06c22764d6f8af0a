"""Intervals and comparisons: by hand, against textbook formulas, and where they must refuse."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from reidentify.errors import InputError
from reidentify.ranking import distance
from reidentify.ranking.metrics import score
from reidentify.ranking.protocol import NO_CAMERAS
from reidentify.ranking.results import Result
from reidentify.ranking.statistics import wilson


def result_of(ranks, pids=None):
    """One match per query at a stated rank among ten rows."""
    n = len(ranks)
    pids = np.arange(1, n + 1) if pids is None else np.asarray(pids)
    columns = {"matches": np.ones(n, int), "ap": 1 / np.asarray(ranks), "ap_trapezoid": 1 / np.asarray(ranks)}
    return Result(NO_CAMERAS, 10, pids, None, inp=1 / np.asarray(ranks), first_rank=np.asarray(ranks), **columns)


def test_interval_of_a_share_is_that_of_the_binomial():
    hits = np.repeat([1, 2], [300, 100])  # rank-1 is 0.75 of 400 people
    low, high = result_of(hits).intervals()["rank1"]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - half, abs=0.006)
    assert high == pytest.approx(0.75 + half, abs=0.006)


def test_people_are_drawn_not_queries():
    # The same queries, once of 400 people and once of 40 people with ten equal queries each: sqrt(10) times as wide.
    hits = np.repeat([1, 2], [300, 100])
    alone, together = (result_of(hits, p).intervals()["rank1"] for p in (None, np.arange(400) // 10 + 1))
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(10), rel=0.1)


def test_intervals_are_seeded_and_contain_the_scores():
    rng = np.random.default_rng(0)
    labels = [rng.integers(1, 30, n) for n in (60, 300)]
    result = score(rng.random((60, 300)), *labels, protocol=NO_CAMERAS)
    assert result.intervals() == result.intervals()
    assert result.intervals(seed=1) != result.intervals()
    for name, (low, high) in result.intervals().items():
        assert low <= result.summary()[name] <= high
    wide, narrow = (result.intervals(level=level)["mAP"] for level in (0.99, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    with pytest.raises(InputError, match="level must lie between 0 and 1"):
        result.intervals(level=95)
    with pytest.raises(InputError, match="at least two identities"):
        result_of([1, 2], [3, 3]).intervals()


def test_a_comparison_by_hand():
    # Six people, each better by the same step: of the 64 exchanges two are as extreme, so p is 2 / 64.
    first, second = result_of([2] * 6), result_of([1] * 6)
    found = {d.name: d for d in first.compare(second).differences}["mAP"]
    assert (found.first, found.second, found.low, found.high) == (0.5, 1.0, 0.5, 0.5)
    assert found.p == pytest.approx(2 / 64, abs=0.006)
    assert "+50.00" in str(first.compare(second, ("plain", "re-ranked")))
    same = first.compare(first).differences[0]
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)


def test_pairing_finds_what_two_intervals_would_not():
    rng = np.random.default_rng(0)
    ranks = rng.integers(2, 11, 200)
    better = np.where(rng.random(200) < 0.1, ranks - 1, ranks)  # a tenth of the people one place better
    first, second = result_of(ranks), result_of(better)
    assert first.intervals()["mAP"][1] > second.mAP  # the intervals overlap
    change = first.compare(second).differences[0]
    assert change.low > 0
    assert change.p < 0.01


def test_the_p_value_is_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(1)
    p = [
        result_of(rng.integers(1, 11, 40)).compare(result_of(rng.integers(1, 11, 40))).differences[0].p
        for _ in range(60)
    ]
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) < 0.05) < 0.2


def test_results_of_different_queries_are_refused():
    with pytest.raises(InputError, match="different queries or galleries"):
        result_of([1, 2, 3]).compare(result_of([1, 2]))
    with pytest.raises(InputError, match="different queries or galleries"):
        result_of([1, 2], [1, 2]).compare(result_of([1, 2], [2, 1]))
    first, second = (dataclasses.replace(result_of([1, 2]), camids=np.array(c)) for c in ([1, 1], [1, 2]))
    with pytest.raises(InputError, match="different queries or galleries"):
        first.compare(second)
    for other in (first, result_of([1, 2])):  # cameras that one side does not know say nothing
        assert first.compare(other).differences[0].p == 1


def test_results_under_different_protocols_are_told_what_differs():
    def under(**changes):
        return dataclasses.replace(result_of([1, 2]), protocol=dataclasses.replace(NO_CAMERAS, **changes))

    for changes, said in (
        ({"name": "own"}, "no-cameras and own"),
        ({"shots": 1, "repeats": 10}, "both are named no-cameras, but shots is None and 1; repeats is 1 and 10"),
        ({"rule": "Other words."}, "both are named no-cameras, but their rules are in other words"),
    ):
        with pytest.raises(InputError, match=rf"protocols differ \({said}\): evaluate both"):
            under().compare(under(**changes))


def test_a_comparison_is_the_same_in_blocks_and_needs_little_memory(monkeypatch):
    rng = np.random.default_rng(0)
    first, second = (result_of(rng.integers(1, 11, 1000)) for _ in range(2))
    tracemalloc.start()
    found = first.compare(second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # the signs of all 10,000 permutations would take 80 MB
    monkeypatch.setattr(distance, "BLOCK_DISTANCES", 17_000)
    for a, b in zip(found.differences, first.compare(second).differences):
        assert (a.low, a.high, a.p) == pytest.approx((b.low, b.high, b.p), abs=1e-12)


def test_queries_of_nobody_known_are_drawn_one_by_one():
    # 300 people whose query finds its match at once, and 100 queries of distractors and junk, which count as 0 in the
    # official mAP: if these are 100 people, it is a share of 400 people.
    pids = np.concatenate([np.arange(1, 301), np.repeat([0, -1], 50)])
    found = np.arange(400) < 300
    ap = np.where(found, 1.0, np.nan)
    result = Result(
        NO_CAMERAS, 10, pids, None, matches=found.astype(int), ap=ap, ap_trapezoid=np.nan_to_num(ap), inp=ap,
        first_rank=found.astype(int),
    )  # fmt: skip
    low, high = result.intervals()["mAP_trapezoid"]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.006)
    assert result.compare(result).identities == 400


def test_join_averages_over_splits():
    joined = Result.join([result_of([1, 2]), result_of([4, 4])])
    assert joined.queries == 4
    assert joined.mAP == pytest.approx((1 + 0.5 + 0.25 + 0.25) / 4)
    assert joined.rank(2) == 0.5


def test_the_interval_of_wilson() -> None:
    # The ends are the shares p for which the z of a share of 8 in 10 is 1.96: |0.8 - p| = 1.96 sqrt(p (1 - p) / 10).
    low, high = wilson(0.8, 10)
    for p in (low, high):
        assert abs(0.8 - p) == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / 10), rel=1e-6)
    assert low < 0.8 < high
    assert wilson(1.0, 10) == pytest.approx((10 / (10 + 1.959964**2), 1.0), rel=1e-6)
    assert wilson(0.0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(0.5, 10, level=0.5)[0] > wilson(0.5, 10)[0]
    for share, count, level in ((1.1, 10, 0.95), (0.5, 0, 0.95), (0.5, 10, 1.0)):
        with pytest.raises(InputError, match="an interval needs"):
            wilson(share, count, level)
