"""Protocols that ignore what was seen at nearly the same time, and those that draw galleries for the CMC alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import reidentify
from reidentify import InputError, Result, Sightings
from reidentify.ranking.matches import match
from reidentify.ranking.metrics import Ranking, score
from reidentify.ranking.protocol import DANCEREID, DANCEREID_STRICT, NO_CAMERAS, PROTOCOLS, Protocol

NEAR = replace(NO_CAMERAS, name="near", rule="", junk_within=2.0)


def test_only_the_persons_own_images_near_in_time_before_the_same_camera_are_ignored() -> None:
    #        same moment, 2 s, 2.1 s, -2 s, other camera, camera unknown, time unknown, other person, junk
    pids = [5, 5, 5, 5, 5, 5, 5, 6, -1]
    cameras = [1, 1, 1, 1, 2, -1, 1, 1, 1]
    times = [10.0, 12.0, 12.1, 8.0, 10.0, 10.0, np.nan, 10.0, 10.0]
    found = match([5], pids, [1], cameras, NEAR, query_times=[10.0], gallery_times=times)
    assert found.ignored[0].tolist() == [0, 1, 3]
    assert found.positives[0].tolist() == [2, 4, 5, 6]
    assert found.junk.tolist() == [8]
    at_once = match([5], pids, [1], cameras, replace(NEAR, junk_within=0.0), query_times=[10.0], gallery_times=times)
    assert at_once.ignored[0].tolist() == [0]
    both = match([5, 5], pids, [1, 1], cameras, NEAR, query_times=[np.nan, 10.0], gallery_times=times)
    assert [rows.tolist() for rows in both.ignored[:]] == [[], [0, 1, 3]]


def test_so_many_seconds_are_so_many_however_they_are_rounded() -> None:
    """Frames at 30 a second, 120 apart: of some pairs the difference comes out above 4."""
    frames = np.arange(3000)
    early, late = frames / 30, (frames + 120) / 30
    assert (late - early > 4).any()
    near = replace(NEAR, junk_within=4.0)
    found = match(frames + 1, frames + 1, [1] * 3000, [1] * 3000, near, query_times=early, gallery_times=late)
    assert not len(found.positives.values)
    later = (frames + 121) / 30
    found = match(frames + 1, frames + 1, [1] * 3000, [1] * 3000, near, query_times=early, gallery_times=later)
    assert not len(found.ignored.values)


def test_distances_are_scored_with_times() -> None:
    """Matches at 0, 1 and 9 s, of which those at 0 and 1 s are ignored: behind one wrong row, rank 2."""
    scored = score(
        [[0.0, 0.1, 0.2, 0.3]], [1], [1, 1, 2, 1], [5], [5] * 4, NEAR, query_times=[0.0], gallery_times=[0, 1, 5, 9]
    )
    assert scored.matches.tolist() == [1]
    assert scored.first_rank.tolist() == [2]


def test_the_protocols_of_dancers_differ_in_the_time_alone() -> None:
    """One person at 0, 1 and 5 s and another at 0 s in one video; all ask, and all are in the gallery."""
    pids, camids, times = [1, 1, 1, 2], [3, 3, 3, 3], [0.0, 1.0, 5.0, 0.0]
    for name, ignored in (
        ("dancereid", [[0], [1], [2], [3]]),
        ("dancereid-strict", [[0, 1], [0, 1, 2], [1, 2], [3]]),
    ):
        found = match(pids, pids, camids, camids, PROTOCOLS[name], query_times=times, gallery_times=times)
        assert [rows.tolist() for rows in found.ignored[:]] == ignored


def test_average_precision_of_the_whole_gallery_and_ranks_of_the_drawn_ones() -> None:
    """Matches at ranks 1 and 3 of three: AP (1 + 2/3) / 2. A draw sees one of them: rank 1, or 2 behind the wrong."""
    protocol = Protocol("draw", "", same_camera_is_junk=False, shots=1, shots_for="cmc", repeats=400)
    ranking = Ranking(match([1], [1, 2, 1], None, None, protocol))
    ranking.add(slice(0, 1), np.array([[0.1, 0.2, 0.3]]))
    result = ranking.result()
    assert result.mAP == pytest.approx((1 + 2 / 3) / 2)
    assert result.mINP == pytest.approx(2 / 3)
    assert result.matches.tolist() == [2]
    assert result.first_rank.shape == (1, 400)
    assert set(result.first_rank.reshape(-1)) == {1, 2}
    assert result.rank(1) == pytest.approx(0.5, abs=0.1)  # 4 standard deviations of 400 draws


def test_both_parts_equal_those_of_the_plain_protocols() -> None:
    """The average precision is that of a protocol without draws, the CMC that of one with draws for everything."""
    rng = np.random.default_rng(5)
    pids, camids, times = rng.integers(1, 6, 40), rng.integers(0, 3, 40), rng.integers(0, 12, 40).astype(float)
    distances = rng.random((40, 40))

    def scored(protocol: Protocol) -> Result:
        found = match(pids, pids, camids, camids, protocol, query_times=times, gallery_times=times)
        ranking = Ranking(found, seed=3)
        for rows in (slice(20, 40), slice(0, 20)):
            ranking.add(rows, distances[rows])
        return ranking.result()

    both = scored(DANCEREID_STRICT)
    whole, drawn = (scored(replace(DANCEREID_STRICT, **change)) for change in ({"shots": None}, {"shots_for": "all"}))
    np.testing.assert_array_equal(both.ap, whole.ap)
    np.testing.assert_array_equal(both.matches, whole.matches)
    np.testing.assert_array_equal(both.first_rank, drawn.first_rank)
    assert both.first_rank.shape == (40, 10)
    pairs = [result.camera_pairs for result in (both, whole, drawn)]
    assert pairs[0] is not None
    assert pairs[1] is not None
    assert pairs[2] is not None
    np.testing.assert_array_equal(pairs[0].mAP, pairs[1].mAP)
    np.testing.assert_array_equal(pairs[0].queries, pairs[1].queries)
    np.testing.assert_array_equal(pairs[0].rank1, pairs[2].rank1)
    assert (pairs[0].rank1 != pairs[1].rank1).any()
    assert (both.ap != drawn.ap).any()
    # By a loop: how many of a query's own images are left.
    for query, count in enumerate(whole.matches):
        near = (camids == camids[query]) & (np.abs(times - times[query]) <= 4)
        assert count == ((pids == pids[query]) & ~near).sum()


def dancers() -> Sightings:
    """Two people in each of two videos, six images of each, a second apart."""
    pids, seconds = np.repeat([1, 2, 3, 4], 6), np.tile(np.arange(6.0), 4)
    return Sightings(pids, camids=(pids + 1) // 2, times=seconds, files=[f"{i}.jpg" for i in range(24)])


def test_evaluate_takes_the_times_of_the_sightings_and_results_are_kept(tmp_path: Path) -> None:
    rows = dancers()
    vectors = np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32)
    embeddings = reidentify.Embeddings(vectors, rows)
    # Strictly, only the images at 0 s and at 5 s are more than 4 s apart.
    for protocol, by_hand in ((DANCEREID, [5] * 6), (DANCEREID_STRICT, [1, 0, 0, 0, 0, 1])):
        result = reidentify.evaluate(embeddings, embeddings, protocol)
        assert result.matches.tolist() == by_hand * 4
        result.save(tmp_path)
        assert Result.load(tmp_path).protocol == protocol
        assert Result.load(tmp_path).summary() == result.summary()


def test_what_is_missing_is_said() -> None:
    rows = dancers()
    vectors = np.eye(24, dtype=np.float32)
    untimed = reidentify.Embeddings(vectors, rows.replace(times=None))
    with pytest.raises(InputError, match="dancereid needs the times of query and gallery: give times in seconds"):
        reidentify.evaluate(untimed, untimed, DANCEREID)
    unplaced = reidentify.Embeddings(vectors, rows.replace(camids=None))
    with pytest.raises(InputError, match="dancereid needs the cameras"):
        reidentify.evaluate(unplaced, unplaced, DANCEREID)
    at_once = reidentify.Embeddings(vectors, rows.replace(times=np.zeros(24)))
    with pytest.raises(InputError, match="every match is within 4 seconds of its query before the same camera"):
        reidentify.evaluate(at_once, at_once, DANCEREID_STRICT)
    with pytest.raises(InputError, match="query_times: expected 1 entries"):
        match([1], [1], [1], [1], NEAR, query_times=[1.0, 2.0], gallery_times=[0.0])
