"""Space-time statistics against counts by hand and the published code; what may be learned from, and files."""

import json

import numpy as np
import pytest
from walks import walks

from reidentify import InputError, Sightings
from reidentify.ranking.clocks import Clocks
from reidentify.ranking.spacetime import SpaceTime

SHARP = 0.1
"""A bandwidth that leaves every bin as it is."""


def sightings(*rows, **columns):
    """Of rows (identity, camera, seconds)."""
    pids, camids, times = zip(*rows)
    return Sightings(pids, camids=camids, times=times, **columns)


def test_each_direction_is_a_histogram_of_its_own():
    # From 1 to 2: 10 s and 9 s (bin 2 of 4 s), 3 s (bin 0). From 2 to 1: 5 s (bin 1).
    rows = [(1, 1, 0), (1, 2, 10), (2, 1, 50), (2, 2, 59), (3, 1, 7), (3, 2, 10), (4, 2, 0), (4, 1, 5)]
    fitted = SpaceTime().fit(sightings(*rows))
    np.testing.assert_allclose(fitted.probability(1, 2, [0, 4, 8, 11.9, 12], SHARP), [1 / 3, 0, 2 / 3, 2 / 3, 0], 1e-6)
    np.testing.assert_allclose(fitted.probability(2, 1, [0, 4, 8], SHARP), [0, 1, 0], 1e-6)
    assert fitted.probability(1, 2, -5, SHARP) == fitted.probability(2, 1, 5, SHARP)
    assert fitted.probability(1, 1, 0, SHARP) == 0
    assert fitted.people_.tolist() == [[4, 4], [4, 4]]


def test_of_two_cameras_at_one_time_the_second_is_the_later():
    fitted = SpaceTime().fit(sightings((1, 1, 5), (1, 2, 5)))
    assert fitted.probability(1, 2, 0, SHARP) == pytest.approx(1)
    assert fitted.probability(2, 1, 0, SHARP) == 0


def published(frames_by_identity, sigma, bins):
    """As the published code has it: histograms [to][from] of 100 frames a bin, each smoothed by a matrix."""
    histogram = np.zeros((3, 3, bins))
    for cameras in frames_by_identity:
        means = {c: sum(f) / (len(f) + 1e-7) for c, f in cameras.items()}
        for j in range(2):
            for k in range(j + 1, 3):
                if j in means and k in means:
                    late, early = (j, k) if means[j] > means[k] else (k, j)
                    histogram[late][early][int((means[late] - means[early]) / 100)] += 1
    histogram /= histogram.sum(axis=2, keepdims=True) + 1e-7
    away = np.abs(np.arange(bins)[:, None] - np.arange(bins))
    kernel = np.exp(-(away**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)) * (away <= 3 * sigma)
    smooth = histogram @ kernel
    return smooth / (smooth.sum(axis=2, keepdims=True) + 1e-7)


def test_equal_to_the_published_code():
    rng = np.random.default_rng(0)
    people = [
        {c: rng.integers(0, 19_000, rng.integers(1, 5)).tolist() for c in range(3) if rng.random() < 0.8}
        for _ in range(40)
    ]
    rows = [(pid, c + 1, f / 25) for pid, seen in enumerate(people, 1) for c, frames in seen.items() for f in frames]
    fitted = SpaceTime(bins=200, visits="mean").fit(sightings(*rows))
    expected = published(people, 7, 200)
    for to in range(3):
        for start in range(3):
            found = fitted.probability(start + 1, to + 1, 4.0 * np.arange(200), 7)
            np.testing.assert_allclose(found, expected[to, start], rtol=1e-5, atol=1e-9)


def test_visits_are_clustered_or_averaged():
    # Seen by camera 1 at 0 s and, after a long while, at 1000 s; by camera 2 in between, at 20 s.
    rows = sightings((1, 1, 0), (1, 1, 2), (1, 1, 1000), (1, 2, 20), (2, 1, 0), (2, 2, 19))
    clustered = SpaceTime(visit_gap=60).fit(rows)
    assert clustered.visits_.times.tolist() == [1, 1000, 20, 0, 19]
    # Identity 1 counts as one: half an interval of 19 s, half one of 980 s the other way. Identity 2: one of 19 s.
    same, _ = clustered.densities(SHARP)
    np.testing.assert_allclose(same.at(1, 2, [19, -980]), [1.5 / 2, 0.5 / 2], 1e-6)
    mean = SpaceTime(visits="mean").fit(rows)
    assert mean.visits_.times.tolist() == [334, 20, 0, 19]
    np.testing.assert_allclose(mean.probability(2, 1, 314, SHARP), 1, 1e-6)


def test_long_intervals_are_taken_for_the_longest():
    fitted = SpaceTime(bins=10).fit(sightings((1, 1, 0), (1, 2, 500)))
    np.testing.assert_allclose(fitted.probability(1, 2, [35.9, 36, 1e6], SHARP), [0, 1, 1], 1e-6)


def test_log_ratio_by_hand():
    # One person: 8 s, twice. Different people: 108 s and -92 s, and one interval spread over all 100 bins.
    fitted = SpaceTime(bins=50).fit(sightings((1, 1, 0), (1, 2, 8), (2, 1, 100), (2, 2, 108)))
    bins = np.arange(1, 99)  # the outermost stand apart
    counts = np.full(98, 0.01) + (bins == 50 + 27) + (bins == 49 - 23)
    sigma = 25.5 * 2**-0.2  # half of 77 - 26, and two people
    bell = np.exp(-((bins[:, None] - bins) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    bell[np.abs(bins[:, None] - bins) > 3 * sigma] = 0
    different = np.concatenate([[0.01], bell @ counts, [0.01]])
    different /= different.sum()
    elapsed = 4 * np.arange(-50, 50) + 2
    _, found = fitted.densities(SHARP)
    np.testing.assert_allclose(found.at(1, 2, elapsed), different, 1e-5)
    same = np.arange(100) == 52
    expected = np.log((2 * same / different + 2) / 4)
    np.testing.assert_allclose(fitted.log_ratio(1, 2, elapsed, SHARP, 2), expected, 1e-4)
    np.testing.assert_allclose(fitted.log_ratio(2, 1, -elapsed, SHARP, 2), expected, 1e-4)


def test_the_outermost_bins_are_not_smoothed():
    rows = [(1, 1, 0), (1, 2, 10), (2, 1, 0), (2, 2, 5000), (3, 1, 0), (3, 2, 5100)]
    same, _ = SpaceTime(bins=100).fit(sightings(*rows)).densities(5)
    np.testing.assert_allclose(same.at(1, 2, [390, 397, 1e9]), [0, 2 / 3, 2 / 3], 1e-3)
    assert same.at(1, 2, 10) < 0.1


def test_pairs_are_trusted_by_the_people_seen_there():
    few, many = (SpaceTime().fit(walks(n)) for n in (3, 300))
    never_seen = -3000
    assert few.log_ratio(1, 2, never_seen) == pytest.approx(np.log(10 / 13), abs=1e-3)
    assert many.log_ratio(1, 2, never_seen) == pytest.approx(np.log(10 / 310), abs=1e-3)
    assert many.log_ratio(1, 2, 40) > few.log_ratio(1, 2, 40) > 1


def test_what_training_did_not_see_says_nothing():
    # Nobody was seen by both 1 and 3.
    rows = sightings((1, 1, 0), (1, 2, 8), (2, 2, 100), (2, 3, 108))
    fitted = SpaceTime().fit(rows)
    np.testing.assert_array_equal(fitted.log_ratio([1, 3, 1, -1], [3, 1, 9, 2], 8), np.zeros(4))
    np.testing.assert_array_equal(fitted.probability([1, 3, 1], [3, 1, 9], 8), np.zeros(3))
    assert fitted.log_ratio(1, 2, np.nan) == 0


def test_one_camera_is_never_or_learnt():
    never, learnt = (SpaceTime(same_camera=rule).fit(walks(50)) for rule in ("never", "learn"))
    table = never.log_ratios(5)
    np.testing.assert_array_equal(table.at(2, 2, [-9999, 0, 9999]), np.full(3, table.values.min()))
    np.testing.assert_array_equal(table.at(1, 2, 40), learnt.log_ratio(1, 2, 40, 5))
    assert learnt.log_ratio(2, 2, 0) > 2
    assert learnt.log_ratio(2, 2, 3000) < -1


def test_test_rows_are_refused():
    rows = walks(5)
    for split in ("query", "gallery"):
        with pytest.raises(InputError, match="1 of these 60 are of the query or the gallery"):
            SpaceTime().fit(rows.replace(split=["train"] * 59 + [split]))


def test_rows_without_identity_camera_or_time_are_left_out_and_counted():
    rows = [(1, 1, 0), (1, 2, 10), (1, -1, 99), (0, 1, 3), (-1, 2, 5), (1, 2, np.nan)]
    fitted = SpaceTime().fit(sightings(*rows))
    assert fitted.left_out_ == 4
    assert len(fitted.visits_) == 2


def test_what_cannot_be_learned_from_is_an_error():
    whole = walks(5)
    with pytest.raises(InputError, match="give camids"):
        SpaceTime().fit(whole.replace(camids=None))
    with pytest.raises(InputError, match="give camids"):
        SpaceTime().fit(whole.replace(camids=np.full(60, -1)))
    with pytest.raises(InputError, match="give times"):
        SpaceTime().fit(whole.replace(times=np.full(60, np.nan)))
    with pytest.raises(InputError, match="no row has all three"):
        SpaceTime().fit(whole.replace(pids=np.zeros(60, int)))
    with pytest.raises(InputError, match=r"two cameras.*5 identities, 1 cameras"):
        SpaceTime().fit(whole[whole.camids == 2])
    with pytest.raises(InputError, match="bin_width above 0"):
        SpaceTime(bin_width=0)
    with pytest.raises(InputError, match="strength must be above 0"):
        SpaceTime().fit(whole).log_ratios(strength=0)
    with pytest.raises(InputError, match="there are none"):
        SpaceTime().fit(whole[:0])
    with pytest.raises(InputError, match="cluster or mean"):
        SpaceTime(visits="median")


def test_journeys_go_from_visit_to_visit():
    fitted = SpaceTime().fit(sightings((1, 1, 0), (1, 2, 30), (1, 1, 100), (2, 2, 5), (2, 1, 9)))
    left, reached, seconds = fitted.journeys()
    assert [*zip(left, reached, seconds)] == [(1, 2, 30), (2, 1, 70), (2, 1, 4)]
    # If the clock of camera 2 is 10 s ahead, the second person was there 5 s before 0.
    clocks = Clocks(np.array([1, 2]), np.array([0.0, 10.0]), np.array([2, 2]), np.array([0.0, 0.0]))
    assert [*zip(*fitted.journeys(clocks))] == [(1, 2, 20), (2, 1, 80), (2, 1, 14)]


def test_a_tracklet_counts_at_its_middle():
    rows = Sightings([1, 1], camids=[1, 2], times=[0, 1, 2, 20, 22], offsets=[0, 3, 5])
    assert SpaceTime().fit(rows).visits_.times.tolist() == [1, 21]


def test_files_give_back_the_same_tables(tmp_path):
    fitted = SpaceTime(bin_width=2.5, bins=300, visit_gap=9, same_camera="learn").fit(walks(30))
    fitted.save(tmp_path / "network.safetensors")
    again = SpaceTime.load(tmp_path / "network.safetensors")
    assert vars(again).keys() == vars(fitted).keys()
    np.testing.assert_array_equal(again.log_ratios(4).values, fitted.log_ratios(4).values)
    np.testing.assert_array_equal(again.probabilities(9).values, fitted.probabilities(9).values)
    assert (again.bin_width, again.visits, again.visit_gap, again.left_out_) == (2.5, "cluster", 9, 0)
    described = json.loads((tmp_path / "network.json").read_text())
    assert (described["identities"], described["visits"], described["cameras"]) == (30, 120, [1, 2, 3, 4])


def test_files_that_are_not_whole_are_errors(tmp_path):
    path = tmp_path / "network.safetensors"
    with pytest.raises(InputError, match="no such file"):
        SpaceTime.load(path)
    SpaceTime().fit(walks(5)).save(path)
    described = json.loads(path.with_suffix(".json").read_text())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="sha256 differs"):
        SpaceTime.load(path)
    for text, message in [
        ("{", "not JSON"),
        ("{}", "not space-time statistics"),
        (json.dumps(described | {"format": 99}), "layout 99"),
    ]:
        path.with_suffix(".json").write_text(text)
        with pytest.raises(InputError, match=message):
            SpaceTime.load(path)
