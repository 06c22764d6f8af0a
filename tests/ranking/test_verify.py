"""Verification: against arithmetic done by hand, and against a reference that looks at every pair and threshold."""

import json

import numpy as np
import pytest

from reidentify import Embeddings, InputError, Sightings
from reidentify.files import read_parquet
from reidentify.ranking.distance import BLOCK_ROWS
from reidentify.ranking.protocol import CUHK03_CLASSIC, MARKET1501, NO_CAMERAS
from reidentify.ranking.verify import STEPS, verification


class Table:
    """A Scorer that looks distances up."""

    def __init__(self, distances, dtype=np.float64):
        self.distances = np.asarray(distances, dtype)

    def block(self, query_rows, gallery_rows):
        return self.distances[query_rows][:, gallery_rows]


def of_table(distances, query, gallery, protocol=None):
    return verification(query, gallery, protocol, scorer=Table(distances))


BY_HAND = Sightings([1]), Sightings([1, 1, 2, 3, 3, 0])


def by_hand():
    """Pairs of one person at 1/8 and 1/2, of two at 1/4, 3/4, 3/4 and 1, one of them with a distractor."""
    return of_table([[0.125, 0.5, 0.25, 0.75, 0.75, 1]], *BY_HAND)


def test_rates_by_hand():
    found = by_hand()
    assert (found.same, found.different) == (2, 4)
    np.testing.assert_array_equal(found.thresholds[1:], [0.125, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(found.fpr, [0, 0, 0.25, 0.25, 0.75, 1])
    np.testing.assert_array_equal(found.tpr, [0, 0.5, 0.5, 1, 1, 1])
    assert 0.125 - found.thresholds[0] == found.counts.step
    # 1/8 is nearer than all four, 1/2 than three of them.
    assert found.auc == 7 / 8
    # TPR rises from 1/2 to 1 at FPR 1/4, so the refused share comes by 1/4 there.
    assert found.eer.false_rate == 0.25


def test_the_threshold_at_a_rate_is_the_largest_that_keeps_it():
    found = by_hand()
    at = found.at(0.25)
    assert (at.threshold, at.false_rate, at.true_rate) == (0.5, 0.25, 1)
    assert found.at(0.74).threshold == 0.5
    assert found.at(0.75).threshold == 0.75
    assert found.at(1).threshold == 1
    with pytest.raises(InputError, match=r"0\.001 cannot be measured from 4 trials: at least 1,000 are needed"):
        found.at(0.001)
    with pytest.raises(InputError, match="above 0 and not above 1, got 0"):
        found.at(0)


def test_equal_error_rate_between_two_points_by_hand():
    # Points (FPR, TPR): (0, 0), (0, 2/4), (1/2, 3/4), (1, 1). From (0, 1/2) to (1/2, 3/4) the line FPR = 1 - TPR is
    # crossed where x = 1 - (1/2 + x/2), at x = 1/3; of the two points the second is the nearer.
    found = of_table([[0.25, 0.25, 0.5, 0.75, 0.5, 0.75]], Sightings([1]), Sightings([1, 1, 1, 1, 2, 2]))
    assert found.eer.false_rate == pytest.approx(1 / 3)
    assert found.eer.true_rate == pytest.approx(2 / 3)
    assert found.eer.threshold == 0.5


def test_a_tie_counts_half():
    assert of_table([[0.5, 0.5]], Sightings([1]), Sightings([1, 2])).auc == 0.5


def reference(distances, query, gallery, same_camera_is_junk):
    """Distances of the pairs of one person and of two, by a rule written out once more."""
    same, different = [], []
    for i in range(len(query)):
        for j in range(len(gallery)):
            one = query.pids[i] == gallery.pids[j]
            own_camera = query.camids[i] == gallery.camids[j] != -1
            own_picture = query.files[i] == gallery.files[j]
            if query.pids[i] <= 0 or gallery.pids[j] == -1 or own_picture:
                continue
            if one and own_camera and same_camera_is_junk:
                continue
            (same if one else different).append(distances[i, j])
    return np.array(same), np.array(different)


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_a_look_at_every_pair(seed):
    rng = np.random.default_rng(seed)

    def side(n):
        files = [f"{name}.png" for name in rng.integers(0, 30, n)]
        return Sightings(np.concatenate([[1, 2], rng.integers(-1, 5, n - 2)]), rng.integers(-1, 4, n), files=files)

    query, gallery = side(12), side(25)
    query, gallery = query.replace(camids=np.r_[7, query.camids[1:]]), gallery.replace(files=[*gallery.files[:-1], "x"])
    # Multiples of 1/16, many of them equal, some below 0: the grid holds them exactly.
    distances = rng.integers(-8, 24, (12, 25)) / 16
    rule = rng.choice([MARKET1501, NO_CAMERAS])
    same, different = reference(distances, query, gallery, rule.same_camera_is_junk)
    found = of_table(distances, query, gallery, rule)
    values = np.unique(np.concatenate([same, different]))
    np.testing.assert_array_equal(found.thresholds[1:], values)
    np.testing.assert_allclose(found.tpr[1:], (same <= values[:, None]).mean(axis=1))
    np.testing.assert_allclose(found.fpr[1:], (different <= values[:, None]).mean(axis=1))
    above = different - same[:, None]
    assert found.auc == pytest.approx(((above > 0) + (above == 0) / 2).mean())
    allowed = [t for t in values if (different <= t).mean() <= 0.2]
    assert found.at(0.2).true_rate == pytest.approx((same <= max(allowed)).mean() if allowed else 0)


@pytest.mark.parametrize(("growth", "shift"), [(1, 0), (700, 0), (1, 10)])
def test_counts_are_exact_on_a_fine_grid_whatever_the_blocks_hold(growth, shift):
    rng = np.random.default_rng(0)
    query, gallery = (Sightings(rng.integers(1, 9, n)) for n in (600, 70))
    distances = rng.standard_normal((600, 70)).astype(np.float32) - 5
    distances[BLOCK_ROWS:] = growth * distances[BLOCK_ROWS:] + shift  # later blocks leave the range of the first
    found = verification(query, gallery, scorer=Table(distances, np.float32))
    one = query.pids[:, None] == gallery.pids
    same, different = np.sort(distances[one]), np.sort(distances[~one])
    np.testing.assert_allclose(found.tpr, same.searchsorted(found.thresholds, "right") / len(same))
    np.testing.assert_allclose(found.fpr, different.searchsorted(found.thresholds, "right") / len(different))
    assert STEPS / 2 - 1 <= (distances.max() - distances.min()) / found.counts.step <= STEPS


def test_cosine_thresholds_are_similarities_too():
    rng = np.random.default_rng(3)
    sides = [Embeddings(rng.standard_normal((n, 8)), Sightings(rng.integers(1, 9, n))) for n in (40, 90)]
    found = verification(*sides)
    unit = [s.vectors / np.linalg.norm(s.vectors, axis=1, keepdims=True) for s in sides]
    different = (unit[0] @ unit[1].T)[sides[0].sightings.pids[:, None] != sides[1].sightings.pids]
    point = found.at(0.01)
    assert np.mean(different >= point.similarity) == pytest.approx(point.false_rate, abs=1e-3)
    assert f"(similarity {point.similarity:.4f})" in str(found)
    assert "similarity" not in str(by_hand())


def test_a_drawn_gallery_is_not_drawn():
    sides = Sightings([1], [1]), Sightings([1, 1, 2, 2], [2, 2, 2, 2])
    found = of_table([[0.1, 0.2, 0.3, 0.4]], *sides, CUHK03_CLASSIC)
    assert (found.same, found.different) == (2, 2)


def test_it_is_saved(tmp_path):
    found = by_hand()
    found.save(tmp_path)
    content = json.loads((tmp_path / "verification.json").read_text())
    assert (content["auc"], content["eer"]["fpr"]) == (7 / 8, 0.25)
    assert (content["pairs_same"], content["pairs_different"]) == (2, 4)
    assert content["tpr_at_fpr"] == {}  # four pairs show no rate of one in a hundred
    table = read_parquet(tmp_path / "roc.parquet")
    assert table.column_names == ["distance", "fpr", "tpr"]
    np.testing.assert_array_equal(table["distance"], found.thresholds)
    np.testing.assert_array_equal(table["tpr"], found.tpr)


def test_the_table_states_what_there_are_pairs_enough_for():
    # 1,000 pairs of two people at 1/1000 to 1, and one of one person at 0.0115: eleven of the others are nearer.
    distances = np.r_[0.0115, np.arange(1, 1001) / 1000]
    found = of_table(distances[None], Sightings([1]), Sightings(np.r_[1, np.full(1000, 2)]))
    words = str(found)
    assert "TPR at FPR 0.01     0.00 %" in words
    assert "10 false" in words
    assert "TPR at FPR 0.001" in words
    assert "FPR 0.0001" not in words


@pytest.mark.parametrize(
    ("distances", "gallery", "message"),
    [
        ([[0.1, np.inf]], [1, 2], "inf between query row 0 and gallery row 1"),
        ([[np.nan, 0.1]], [1, 2], "nan between query row 0 and gallery row 0"),
        ([[0.1, 0.2]], [1, 1], "every pair is of one person"),
        ([[0.1, 0.2]], [3, 2], "no identity of the 1 in the query is in the gallery"),
        ([[0.1]], [1, 2], r"expected a block of 1 x 2 \(query x gallery\), got \(1, 1\)"),
    ],
)
def test_bad_input_is_named(distances, gallery, message):
    with pytest.raises(InputError, match=message):
        of_table(distances, Sightings([1]), Sightings(gallery))
