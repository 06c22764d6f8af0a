"""Calibration: known curves recovered, Bayes by hand, which pairs count, people kept apart, and what it refuses."""

import json
import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.optimize import minimize

from reidentify import Embeddings, InputError, Sightings
from reidentify.ranking.calibration import Bin, Calibration, Threshold
from reidentify.ranking.logistic import FOLDS, Judged, PairsByFold
from reidentify.ranking.verify import verification

PLAIN = Calibration(1.0, 0.0, (Threshold(1e-3, 0.5, 0.7),), 10, 100, 10_000, "x", 0.1, 0.01, (Bin(0.5, 0.5, 1, 1),))


def people_of(rng, same, count=60):
    """Two columns of identities: equal where `same`, else different."""
    first = rng.integers(1, count + 1, len(same))
    return first, np.where(same, first, (first + rng.integers(1, count, len(same)) - 1) % count + 1)


def gaussians(seed=0, spread=0.15):
    """Similarities around 0.6 for 40,000 pairs of one person and around 0.2 for 160,000 of two."""
    rng = np.random.default_rng(seed)
    same = np.arange(200_000) < 40_000
    return (
        np.clip(np.where(same, 0.6, 0.2) + spread * rng.standard_normal(len(same)), -1, 1),
        *people_of(rng, same),
        same,
    )


def test_gaussians_give_their_true_posterior():
    s, *pids, _ = gaussians()
    found = Calibration.of_pairs(s, *pids, "simulated")
    # log N(s; 0.6, 0.15) - log N(s; 0.2, 0.15) = (0.4 s - 0.16) / 0.0225
    assert found.slope == pytest.approx(0.4 / 0.0225, rel=0.02)
    assert found.intercept == pytest.approx(-0.16 / 0.0225, rel=0.02)
    at = np.linspace(-0.2, 1, 25)
    true = 1 / (1 + np.exp(-(0.4 * at - 0.16) / 0.0225))
    np.testing.assert_allclose(found.probability(at), true, atol=0.01)
    # And with another prior, of pairs as they come.
    np.testing.assert_allclose(found.probability(at, 0.2), true / (true + 4 * (1 - true)), atol=0.01)
    assert found.calibration_error < 0.01
    # Of the true posterior: the mean over both classes, by a fine sum.
    x = np.linspace(-1, 2, 30_001)
    density = [np.exp(-((x - m) ** 2) / 0.045) / math.sqrt(0.045 * math.pi) for m in (0.6, 0.2)]
    share = density[0] / (density[0] + density[1] + 1e-300)
    loss = -(density[0] * np.log(share + 1e-300) + density[1] * np.log(1 - share + 1e-300)).sum() / 2 * (x[1] - x[0])
    assert found.log_loss == pytest.approx(loss, abs=0.005)


def test_a_known_logistic_curve_is_recovered():
    rng = np.random.default_rng(1)
    s = rng.uniform(-0.5, 1, 200_000)
    same = rng.random(len(s)) < 1 / (1 + np.exp(-(9 * s - 3)))
    found = Calibration.of_pairs(s, *people_of(rng, same), "simulated")
    assert found.slope == pytest.approx(9, rel=0.02)
    # The pairs come at other odds than even ones; weighing the classes equally takes these out.
    assert found.intercept + math.log(same.sum() / (~same).sum()) == pytest.approx(-3, abs=0.06)
    np.testing.assert_allclose(found.probability(s, same.mean()), 1 / (1 + np.exp(-(9 * s - 3))), atol=0.02)


def test_another_prior_by_hand():
    # Even odds of 3 at similarity ln 3; prior odds of 1/9 make 1/3.
    assert PLAIN.probability(math.log(3)) == pytest.approx(3 / 4)
    assert PLAIN.probability(math.log(3), prior=0.1) == pytest.approx(1 / 4)
    assert PLAIN.probability([[-800, 800]], prior=0.1).tolist() == [[0, 1]]
    with pytest.raises(InputError, match=r"prior must lie between 0 and 1, got 1\.0"):
        PLAIN.probability(0.5, prior=1.0)


def test_thresholds_keep_their_rates_and_no_lower_one_does():
    s, *pids, same = gaussians()
    found = Calibration.of_pairs(s, *pids, "simulated")
    for fpr in (1e-2, 1e-3):
        at = found.at(fpr)
        following = s[s < at.similarity].max() - 2.0**-15  # a step of the grid that holds the next pair
        assert (s[~same] >= at.similarity).mean() <= fpr < (s[~same] >= following).mean()
        assert at.tpr == pytest.approx((s[same] >= at.similarity).mean())
    with pytest.raises(InputError, match=r"no threshold at FPR 0\.0001, only at 0\.01, 0\.001"):
        found.at(1e-4)


def embedded(seed=0, people=30, rows=360):
    """Rows around a centre per person, some of them junk or distractors, some of unknown cameras."""
    rng = np.random.default_rng(seed)
    pids = np.r_[np.arange(1, people + 1), rng.integers(-1, people + 1, rows - people)]
    vectors = rng.standard_normal((people + 2, 32))[pids + 1] + 0.8 * rng.standard_normal((rows, 32))
    return Embeddings(vectors, Sightings(pids, rng.integers(-1, 4, rows)))


@pytest.mark.parametrize("cameras", [True, False])
def test_pairs_are_those_of_different_cameras_each_once(cameras):
    held = embedded()
    held = held if cameras else Embeddings(held.vectors, held.sightings.replace(camids=None))
    unit = held.vectors / np.linalg.norm(held.vectors, axis=1, keepdims=True)
    pids, camids = held.sightings.pids, held.sightings.camids
    pairs = [
        (i, j)
        for i in range(len(held))
        for j in range(i)
        if pids[i] > 0 and pids[j] > 0 and (not cameras or camids[i] != camids[j] or camids[i] == -1)
    ]
    a, b = np.array(pairs).T
    expected = Calibration.of_pairs((unit[a] * unit[b]).sum(axis=1), pids[a], pids[b], "x")
    found = Calibration.fit(held, "x")
    assert (found.pairs_same, found.pairs_different) == (expected.pairs_same, expected.pairs_different)
    assert found.pairs_same + found.pairs_different == len(pairs)
    assert found.identities == expected.identities == 30
    assert found.slope == pytest.approx(expected.slope, rel=1e-3)
    assert found.log_loss == pytest.approx(expected.log_loss, rel=1e-3)


def test_cross_validation_keeps_people_apart():
    """Against fits with scipy, each to pairs of none of the people whom it judges."""
    rng = np.random.default_rng(2)
    same = np.arange(4000) < 1000
    s = np.where(same, 0.6, 0.2) + 0.2 * rng.standard_normal(4000)
    a, b = people_of(rng, same, 20)
    pairs = PairsByFold(np.arange(1, 21), np.arange(1, 21), seed=0)
    pairs.add(1 - s, a, b)
    assert np.bincount(pairs.folds).tolist() == [4] * FOLDS
    fold_a, fold_b = pairs.folds[a - 1], pairs.folds[b - 1]
    losses, kept = [], []
    for x, y in combinations_with_replacement(range(FOLDS), 2):
        test = ((fold_a == x) & (fold_b == y)) | ((fold_a == y) & (fold_b == x))
        people = set(a[test]) | set(b[test])
        train = ~np.isin(fold_a, [x, y]) & ~np.isin(fold_b, [x, y])
        assert not people & (set(a[train]) | set(b[train]))
        n1, n0 = (train & same).sum(), (train & ~same).sum()
        weight = np.where(same, 1 / n1, 1 / n0)[train]
        target = np.where(same, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))[train]

        def loss(w, s=s[train], weight=weight, target=target):
            return (weight * (np.logaddexp(0, w[0] * s + w[1]) - target * (w[0] * s + w[1]))).sum()

        slope, intercept = minimize(loss, [1.0, 0.0], tol=1e-12).x
        z = slope * s[test] + intercept
        losses.append(np.logaddexp(0, np.where(same[test], -z, z)))
        kept.append(same[test])
    losses, kept = np.concatenate(losses), np.concatenate(kept)
    judged = pairs.cross_validated()
    assert (judged.same.sum(), judged.different.sum()) == (1000, 3000)  # every pair once
    assert judged.log_loss() == pytest.approx((losses[kept].mean() + losses[~kept].mean()) / 2, abs=1e-4)


def test_log_loss_bins_and_error_by_hand():
    # 0.3 was given to one pair of one person and four of two, 0.8 to four and one: observed 0.2 and 0.8.
    judged = Judged(np.log([3 / 7, 4]), np.array([1, 4]), np.array([4, 1]))
    low, high = judged.bins()
    assert (low.same, low.different, high.same, high.different) == (1, 4, 4, 1)
    assert (low.predicted, low.observed, high.predicted, high.observed) == pytest.approx((0.3, 0.2, 0.8, 0.8))
    assert judged.error() == pytest.approx(0.5 * 0.1)
    by_hand = -(math.log(0.3) + 4 * math.log(0.7) + 4 * math.log(0.8) + math.log(0.2)) / 10
    assert judged.log_loss() == pytest.approx(by_hand)


def test_classes_weigh_equally_in_the_bins():
    # Two pairs of one person and eight of two: one of two in the upper bin is 1/8 against 2/2.
    judged = Judged(np.log([1 / 9, 9]), np.array([0, 2]), np.array([7, 1]))
    low, high = judged.bins()
    assert (low.observed, high.observed) == pytest.approx((0, 1 / (1 + 1 / 8)))


def test_people_told_apart_without_fail_still_give_a_finite_curve():
    rng = np.random.default_rng(3)
    same = np.arange(12_000) < 1000
    found = Calibration.of_pairs(np.where(same, 0.9, 0.1), *people_of(rng, same), "easy")
    assert found.slope < 100
    # Platt's target for a thousand pairs of one person is 1001 / 1002.
    assert found.probability(0.9) == pytest.approx(1001 / 1002, abs=1e-4)


def test_it_is_checked_on_other_pairs():
    found = Calibration.fit(embedded(), "x")
    query, gallery = embedded(1)[:100], embedded(1)[100:]
    sides = [Embeddings(s.vectors, s.sightings.replace(camids=None)) for s in (query, gallery)]
    measured = verification(*sides)
    bins, error = found.check(measured)
    assert sum(b.same for b in bins) == measured.same
    assert sum(b.different for b in bins) == measured.different
    s, d = measured.same, measured.different
    weights = [(b.same / s + b.different / d) / 2 for b in bins]
    assert error == pytest.approx(sum(w * abs(b.predicted - b.observed) for w, b in zip(weights, bins)))
    with pytest.raises(InputError, match="cosine"):
        found.check(verification(Sightings([1]), Sightings([1, 2]), scorer=Flat()))


class Flat:
    """A Scorer that knows two distances."""

    def block(self, query_rows, gallery_rows):
        return np.array([[0.1, 0.2]])[query_rows][:, gallery_rows]


def test_too_little_is_refused_with_the_numbers():
    with pytest.raises(InputError, match=r"x: 9 identities have two pictures to compare, .* at least 10: hold more"):
        Calibration.fit(embedded(people=9), "x")
    with pytest.raises(
        InputError, match=r"[\d,]+ pairs of two people are too few for a threshold at FPR 0\.001, .*10,000"
    ):
        Calibration.fit(embedded(rows=100), "x")
    with pytest.raises(InputError, match="x: 0 identities"):
        Calibration.fit(embedded()[:0], "x")


def test_similarities_that_say_nothing_are_refused():
    s, *pids, _ = gaussians()
    with pytest.raises(InputError, match="no more alike"):
        Calibration.of_pairs(-s, *pids, "x")
    with pytest.raises(InputError, match="no more alike"):
        Calibration.of_pairs(np.full(len(s), 0.5), *pids, "x")
    with pytest.raises(InputError, match="from -1 to 1"):
        Calibration.of_pairs(np.where(s > 0.5, np.nan, s), *pids, "x")
    with pytest.raises(InputError, match=r"of one length, got \(3,\), \(2,\) and \(3,\)"):
        Calibration.of_pairs([0.1, 0.2, 0.3], [1, 2], [1, 2, 3], "x")


def test_it_survives_json():
    found = Calibration.fit(embedded(), "x")
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found
    assert "30 held-out identities of x" in str(again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slope": -1.0}, "calibration: slope must be above 0, got -1"),
        ({"slope": "steep"}, "calibration.slope: expected a number, got 'steep'"),
        ({"intercept": float("nan")}, "calibration.intercept: expected a number, got nan"),
        ({"identities": 3.5}, "calibration.identities: expected a whole number, got 3.5"),
        ({"pairs_same": True}, "calibration.pairs_same: expected a whole number, got True"),
        ({"data": None}, "calibration.data: expected text, got None"),
        ({"thresholds": 0.7}, "calibration.thresholds: expected a list, got 0.7"),
        (
            {"thresholds": [{"fpr": 0.01}]},
            r"calibration.thresholds\[0\]: expected the fields fpr, similarity, tpr, got fpr",
        ),
        ({"odd": 1}, "calibration: expected the fields .* got .*odd"),
    ],
)
def test_a_card_that_says_something_else_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Calibration.from_dict(PLAIN.to_dict() | change)


def test_a_card_without_fields_is_refused():
    with pytest.raises(InputError, match=r"calibration: expected the fields .*, got NoneType"):
        Calibration.from_dict(None)
