"""Pairs judged one by one, against counts by hand and slow reference code."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reidentify import InputError
from reidentify.ranking.pairwise import PairScores, best_threshold, by_attribute, threshold_from

# Of one person: 0.9, 0.5, 0.4, 0.2; of two: 0.8, 0.5, 0.3, 0.1, 0.1.
SCORES = np.array([0.9, 0.5, 0.4, 0.2, 0.8, 0.5, 0.3, 0.1, 0.1], np.float32)
PIDS = np.array([[1, 1], [1, 1], [2, 2], [3, 3], [1, 2], [1, 3], [2, 3], [3, 1], [2, 1]])


def scored(threshold: float = 0.5) -> PairScores:
    return PairScores(SCORES, PIDS, threshold, "probability", "one half")


def test_figures_by_hand() -> None:
    found = scored()
    assert found.confusion == {"tp": 2, "fn": 2, "fp": 2, "tn": 3}
    assert found.rates == {"accuracy": 5 / 9, "tpr": 0.5, "fpr": 0.4}
    # 0.9 beats all 5; 0.5 beats 3 and ties with one; 0.4 beats 3; 0.2 beats 2.
    assert found.auc == pytest.approx((5 + 3.5 + 3 + 2) / 20)
    said = str(found)
    assert "4 pairs of one person, 5 of two" in said
    assert [line.split()[-2:] for line in said.splitlines()[2:4]] == [["2", "2"], ["2", "3"]]
    assert " 55.56 %" in said
    assert "taken for one person from 0.5 on (one half)" in said


def test_a_threshold_between_two_floats_is_kept() -> None:
    """In 32 bits it would be rounded to the score below it."""
    low, high = np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(1))
    middle = (float(low) + float(high)) / 2
    found = PairScores(np.array([low, high]), np.array([[1, 2], [1, 1]]), middle, "", "")
    assert found.accepted.tolist() == [False, True]


def test_intervals_resample_people() -> None:
    """The same draws, pair by pair: a pair of one person counts as its person, one of two as the product."""
    found = scored()
    drawn = np.random.default_rng(5).multinomial(3, np.full(3, 1 / 3), 100)
    values = []
    for times in drawn:
        cells = dict.fromkeys(product((True, False), repeat=2), 0.0)
        for (a, b), score in zip(PIDS - 1, SCORES):
            cells[bool(a == b), bool(score >= 0.5)] += times[a] if a == b else times[a] * times[b]
        tp, fn, fp, tn = (cells[k] for k in product((True, False), repeat=2))
        values.append([(tp + tn) / (tp + fn + fp + tn), tp / (tp + fn), fp / (fp + tn) if fp + tn else np.nan])
    low, high = np.nanquantile(np.array(values), [0.025, 0.975], axis=0)
    given = found.intervals(replicates=100, seed=5)
    assert list(given) == ["accuracy", "tpr", "fpr"]
    for i, ends in enumerate(given.values()):
        assert ends == pytest.approx((low[i], high[i]))


def test_best_threshold_against_every_threshold() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 6, 12) / 4
        same = rng.random(12) < 0.5
        if same.all() or not same.any():
            continue
        tried = [-1.0, *(np.unique(scores) - 0.125), 9.0]
        accuracy = {t: ((scores >= t) == same).mean() for t in tried}
        found = best_threshold(scores, same)
        assert ((scores >= found) == same).mean() == max(accuracy.values())
        most = [t for t, value in accuracy.items() if value == max(accuracy.values())]
        assert (scores >= found).sum() == min((scores >= t).sum() for t in most)
    # Halfway between the scores that it parts.
    assert best_threshold(np.array([0.1, 0.2, 0.6]), np.array([False, False, True])) == pytest.approx(0.4)


def test_files_and_the_threshold_in_them(tmp_path: Path) -> None:
    scored().save(
        tmp_path,
        {"file_b": np.array([*"abcdefghi"], object)},
        data="street",
        split="train",
        sha256="abc",
        weights="mine",
    )
    stated = json.loads((tmp_path / "metrics.json").read_text())
    assert stated["confusion"] == {"tp": 2, "fn": 2, "fp": 2, "tn": 3}
    assert (stated["pairs_same"], stated["pairs_different"], stated["data"]) == (4, 5, "street")
    table = pq.read_table(tmp_path / "pairs.parquet").to_pydict()
    assert table["file_b"] == [*"abcdefghi"]
    assert table["same"] == [True] * 4 + [False] * 5
    assert table["accepted"] == [True, True, False, False, True, True, False, False, False]
    threshold, rule = threshold_from(tmp_path, "mine", "abc", "probability")
    # Right answers from 0.85 on: 1 + 5 of 9; from 0.35 on: 3 + 3; from 0.15 on: 4 + 2; from 0.45: 2 + 3.
    assert threshold == pytest.approx((0.8 + 0.9) / 2)
    assert rule == "the best accuracy on the 9 pairs of street, train"
    with pytest.raises(InputError, match=r"judged by other weights \(mine\)"):
        threshold_from(tmp_path, "mine", "abd", "probability")
    with pytest.raises(InputError, match="its scores are probability, and now they are similarity"):
        threshold_from(tmp_path, "mine", "abc", "similarity")
    with pytest.raises(InputError, match="no such file; name a folder that `reidentify pairs` wrote"):
        threshold_from(tmp_path / "none", "mine", "abc", "probability")
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match="not written by `reidentify pairs`"):
        threshold_from(tmp_path, "mine", "abc", "probability")


def test_pairs_grouped_by_an_attribute() -> None:
    first = np.array([0, 0, 1, 0, 0, 1, 1, 0, -1])
    second = np.array([0, 1, 1, 0, 1, 1, 0, 0, 0])
    groups = {g.values: g for g in by_attribute(scored(), "light", ("day", "dusk", "night"), first, second)}
    assert list(groups) == ["same", "different", "both day", "both dusk"]
    # Same: scores 0.9, 0.4, 0.2 of one person; 0.5, 0.1 of two: right are 0.9 and 0.1.
    assert (groups["same"].pairs, groups["same"].accuracy) == (5, 2 / 5)
    assert (groups["same"].tpr, groups["same"].fpr) == (1 / 3, 1 / 2)
    # Different: 0.5 of one; 0.8 and 0.3 of two.
    assert (groups["different"].pairs, groups["different"].accuracy) == (3, 2 / 3)
    assert (groups["both day"].pairs, groups["both day"].tpr, groups["both day"].fpr) == (3, 1 / 2, 0)
    assert (groups["both dusk"].pairs, groups["both dusk"].tpr, groups["both dusk"].fpr) == (2, 0, 1)
    only = by_attribute(scored(), "light", ("day", "dusk"), np.zeros(9, int), np.r_[np.ones(4, int), np.full(5, -1)])
    assert [(g.values, g.tpr, g.fpr) for g in only] == [("different", 0.5, None)]


def test_most_confident_of_each_cell() -> None:
    found = scored()
    assert found.most_confident(True, True, 5).tolist() == [0, 1]
    assert found.most_confident(True, False, 5).tolist() == [3, 2]
    assert found.most_confident(False, True, 1).tolist() == [4]
    assert found.most_confident(False, False, 2).tolist() == [7, 8]


def test_what_cannot_be_judged() -> None:
    with pytest.raises(InputError, match="every pair is of one person"):
        PairScores(SCORES[:2], PIDS[:2], 0.5, "", "")
    with pytest.raises(InputError, match="every pair is of two people"):
        PairScores(SCORES[4:], PIDS[4:], 0.5, "", "")
    with pytest.raises(InputError, match="score of pair 1 is not a number"):
        PairScores(np.array([0.5, np.nan]), PIDS[3:5], 0.5, "", "")
    with pytest.raises(InputError, match="expected P scores and P x 2 identities"):
        PairScores(SCORES, PIDS[:3], 0.5, "", "")
