"""A Result survives the disk, prints what it means, and refuses files that are not one."""

import json
import re

import numpy as np
import pytest

from reidentify.errors import InputError
from reidentify.ranking.metrics import score
from reidentify.ranking.protocol import CUHK03_CLASSIC, MARKET1501, Protocol
from reidentify.ranking.results import Result


@pytest.fixture
def labels():
    # Query 2 has no match; camera 9 is in the gallery but no query finds anybody there.
    return [1, 2, 7], [1, 2, 1, 0, 3], [1, 2, 1], [2, 1, 3, 1, 9]


@pytest.mark.parametrize("protocol", [MARKET1501, CUHK03_CLASSIC, Protocol("own", "My own rule.", shots=2)])
def test_saved_and_loaded_again(tmp_path, labels, protocol):
    result = score(np.random.default_rng(0).random((3, 5)), *labels, protocol)
    result.save(tmp_path / "run")
    for place in (tmp_path / "run", tmp_path / "run" / "metrics.json"):
        loaded = Result.load(place)
        assert loaded.protocol == protocol
        assert loaded.summary() == result.summary()
        for name in ("pids", "camids", "matches", "ap", "ap_trapezoid", "inp", "first_rank", "cmc", "valid"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(result, name))
        for name in ("query_cameras", "gallery_cameras", "queries", "rank1", "mAP"):
            np.testing.assert_array_equal(getattr(loaded.camera_pairs, name), getattr(result.camera_pairs, name))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["metrics.json", "per_query.parquet"]


def test_metrics_are_fractions_with_their_rule(tmp_path, labels):
    # Every list is the gallery in order. Query 0: match, wrong, match -> AP (1 + 2/3) / 2; query 1: rank 2 -> 1/2.
    result = score(np.zeros((3, 5)), *labels)
    result.save(tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mAP"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    # Trapezoid: (1 + (1/2 + 2/3) / 2) / 2, (0 + 1/2) / 2 and 0, over three queries.
    assert metrics["mAP_trapezoid"] == pytest.approx(((1 + 7 / 12) / 2 + 1 / 4 + 0) / 3)
    assert metrics["mINP"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (metrics["rank1"], metrics["rank5"], metrics["rank10"]) == (0.5, 1.0, 1.0)
    assert (metrics["queries"], metrics["valid_queries"], metrics["protocol"]) == (3, 2, "market1501")
    assert metrics["rule"] == MARKET1501.rule


def test_prints_the_scores_the_rule_and_the_conventions(labels):
    text = str(score(np.zeros((3, 5)), *labels))
    assert re.search(r"mAP +66\.67 % +\[.*\] +plain", text)
    assert "official Market-1501: trapezoid rule, over all queries" in text
    assert "3 queries (2 with a match, over which the scores average)" in text
    assert "distractors (pid 0) stay" in text
    assert max(map(len, text.splitlines())) <= 100


def test_rank_counts_from_one(labels):
    with pytest.raises(InputError, match="counts from 1"):
        score(np.zeros((3, 5)), *labels).rank(0)


def test_files_that_are_no_result_are_named(tmp_path, labels):
    with pytest.raises(InputError, match=r"metrics.json: cannot be read"):
        Result.load(tmp_path)
    (tmp_path / "metrics.json").write_text('{"mAP": 1}')
    with pytest.raises(InputError, match=r"metrics.json: not the metrics of an evaluation"):
        Result.load(tmp_path)
    score(np.zeros((3, 5)), *labels).save(tmp_path)
    (tmp_path / "per_query.parquet").unlink()
    with pytest.raises(InputError, match=r"per_query.parquet: no such file"):
        Result.load(tmp_path)


def test_files_of_different_evaluations_are_refused(tmp_path, labels):
    rng = np.random.default_rng(0)
    first, second = (score(rng.random((3, 5)), *labels) for _ in range(2))
    fewer = score(rng.random((2, 5)), *(side[: 2 if i % 2 == 0 else 5] for i, side in enumerate(labels)))
    assert first.mAP != second.mAP
    for other, said in ((second, r"\(mAP is .* there and .* here\)"), (fewer, r"\(queries is 3 there and 2 here\)")):
        other.save(tmp_path)
        per_query = (tmp_path / "per_query.parquet").read_bytes()
        first.save(tmp_path)
        assert Result.load(tmp_path).mAP == first.mAP
        (tmp_path / "per_query.parquet").write_bytes(per_query)
        with pytest.raises(InputError, match=f"metrics.json and per_query.parquet .* {said}: evaluate again"):
            Result.load(tmp_path)
