"""Joint scores of appearance and time: the published range, log-odds by hand, what fitting chooses, and files."""

import math

import numpy as np
import pytest
from walks import walks

from reidentify import Embeddings, InputError, Sightings, evaluate
from reidentify.ranking import fusion
from reidentify.ranking.fusion import LogisticFusion, LogOddsFusion
from reidentify.ranking.spacetime import SpaceTime

EVERYTHING = slice(None)


def seen(camera, seconds, vector=(1.0, 0.0)):
    return Embeddings(np.array([vector], np.float32), Sightings([1], camids=[camera], times=[seconds]))


def looks(sightings, seed=0, noise=1.0):
    """Embeddings in which people resemble themselves, but not much more than others."""
    rng = np.random.default_rng(seed)
    people = {pid: rng.standard_normal(16) for pid in sightings.identities}
    vectors = np.array([people[pid] for pid in sightings.pids])
    return Embeddings((vectors + noise * rng.standard_normal(vectors.shape)).astype(np.float32), sightings)


@pytest.fixture(scope="module")
def network():
    """Statistics of 80 people, 20 held out, and query and gallery of 150 others."""
    statistics = SpaceTime().fit(walks(80))
    held_out = looks(walks(20, seed=1, first=101), seed=1)
    test = looks(walks(150, seed=2, first=201), seed=2)
    query = np.arange(len(test)) % 6 == 0
    return statistics, held_out, test[query], test[~query]


@pytest.mark.parametrize(("interval", "highest"), [(1000, 0.34228), (0, 0.35120)])
def test_the_factor_of_time_lies_in_the_published_range(interval, highest):
    # All mass in one bin: smoothed with 50 bins, 0.0080 of it stay there, or 0.0159 where one side is cut off.
    fused = LogisticFusion(SpaceTime().fit(Sightings([1, 1], camids=[1, 2], times=[0, interval])))
    visual = 1 / (1 + math.exp(-5))
    times = np.arange(0, 3000, 4.0)
    gallery = Embeddings(
        np.tile(np.float32([1, 0]), (len(times), 1)), Sightings([1] * len(times), [2] * len(times), times)
    )
    factors = (1 - fused.scorer(seen(1, 0.0), gallery).block(EVERYTHING, EVERYTHING)[0]) / visual
    assert factors.min() == pytest.approx(1 / 3, abs=1e-6)
    assert factors.max() == pytest.approx(highest, abs=1e-5)
    assert np.argmax(factors) == interval / 4


def test_the_published_score_by_hand():
    fused = LogisticFusion(SpaceTime().fit(Sightings([1, 1], camids=[1, 2], times=[0, 10])), sigma=0.1)
    query, gallery = seen(2, 60.0, (3, 0)), seen(1, 50.0, (0.6, 0.8))
    # Camera 1 came first, 10 s before: probability 1. The other way it is 0.
    appearance = 1 / (1 + math.exp(-5 * 0.6))
    expected = 1 - appearance / (1 + 2 * math.exp(-5))
    assert fused.scorer(query, gallery).block(EVERYTHING, EVERYTHING) == pytest.approx(expected, abs=1e-6)
    back = fused.scorer(seen(2, 50.0, (3, 0)), seen(1, 60.0, (0.6, 0.8)))
    assert back.block(EVERYTHING, EVERYTHING) == pytest.approx(1 - appearance / 3, abs=1e-6)


def test_log_odds_by_hand(network):
    statistics, *_ = network
    fused = LogOddsFusion(statistics, slope=8, intercept=-3, weight=0.5, sigma=5)
    query, gallery = seen(1, 0.0, (2, 0)), seen(2, 40.0, (0.6, 0.8))
    odds = 8 * 0.6 - 3 + 0.5 * float(statistics.log_ratio(1, 2, 40, 5))
    expected = math.log(1 + math.exp(-odds))
    assert fused.scorer(query, gallery).block(EVERYTHING, EVERYTHING) == pytest.approx(expected, rel=1e-4)


def test_distances_neither_saturate_nor_overflow(network):
    statistics, *_ = network
    cosines = np.linspace(-1, 1, 41)
    vectors = np.stack([cosines, np.sqrt(1 - cosines**2)], 1).astype(np.float32)
    gallery = Embeddings(vectors, Sightings([1] * 41))  # no time is known: appearance alone
    distances = LogOddsFusion(statistics, slope=60).scorer(seen(1, 0.0), gallery).block(EVERYTHING, EVERYTHING)[0]
    assert (np.diff(distances) < 0).all()
    assert distances[-1] == pytest.approx(math.exp(-60), rel=1e-3)
    assert distances[0] == pytest.approx(60)


def test_without_time_appearance_decides(network):
    statistics, _, query, gallery = network
    unknown = Embeddings(gallery.vectors, gallery.sightings.replace(times=np.full(len(gallery), np.nan)))
    fused = LogOddsFusion(statistics, slope=10)
    assert evaluate(query, unknown, spacetime=fused).mAP == pytest.approx(evaluate(query, unknown).mAP)
    half = gallery.sightings.times.copy()
    half[::2] = np.nan
    mixed = Embeddings(gallery.vectors, gallery.sightings.replace(times=half))
    distances = [fused.scorer(query, side).block(EVERYTHING, EVERYTHING) for side in (mixed, unknown, gallery)]
    np.testing.assert_array_equal(distances[0][:, ::2], distances[1][:, ::2])
    np.testing.assert_array_equal(distances[0][:, 1::2], distances[2][:, 1::2])


@pytest.mark.parametrize("kind", ["logistic", "log-odds"])
def test_blocks_by_slice_and_by_integers_are_equal(network, kind):
    statistics, _, query, gallery = network
    fused = LogisticFusion(statistics) if kind == "logistic" else LogOddsFusion(statistics, slope=10)
    scorer = fused.scorer(query, gallery)
    whole = scorer.block(slice(0, len(query)), slice(0, len(gallery)))
    assert whole.dtype == np.float32
    rows, columns = np.array([7, 3, 40]), np.array([0, 99, 5, 5])
    np.testing.assert_allclose(scorer.block(rows, columns), whole[np.ix_(rows, columns)], atol=2e-6)
    np.testing.assert_allclose(scorer.block(slice(10, 20), slice(5, 50)), whole[10:20, 5:50], atol=2e-6)


def test_calibrated_time_beats_published_time_beats_appearance(network):
    statistics, held_out, query, gallery = network
    fitted = LogOddsFusion.fit(statistics, held_out)
    appearance, published, calibrated = (
        evaluate(query, gallery, spacetime=f).mAP for f in (None, LogisticFusion(statistics), fitted)
    )
    assert published > appearance + 0.1
    assert calibrated > published + 0.1


def test_fit_states_what_it_rests_on_and_takes_the_likeliest_settings(network):
    statistics, held_out, *_ = network
    fitted = LogOddsFusion.fit(statistics, held_out, sigmas=(0.1, 1, 200), strengths=(3, 1e5))
    basis = fitted.basis
    # 20 people, 12 pictures each: 6 pairs of cameras with 9 pairs of pictures.
    assert (basis["identities"], basis["same_pairs"]) == (20, 20 * 6 * 9)
    assert basis["different_pairs"] == 20 * 19 // 2 * 12 * 9
    assert (fitted.sigma, fitted.strength) == (1, 3)
    assert len(basis["log_loss"]) == 6
    assert basis["log_loss"]["sigma 1, strength 3"] == min(basis["log_loss"].values()) < basis["log_loss_of_appearance"]
    assert fitted.slope > 0
    assert fitted.weight > 0


def test_fit_finds_the_coefficients_that_made_the_pairs(network):
    # Of pairs drawn from known log-odds; both classes are as frequent, so that weighting changes nothing.
    rng = np.random.default_rng(0)
    features = rng.normal([0.3, 0.0], [0.2, 2.0], (400_000, 2))
    same = rng.random(len(features)) < 1 / (1 + np.exp(-(features @ [12.0, 0.7] - 3.6)))
    (slope, weight, intercept), loss = fusion._regress(features, same)
    assert slope == pytest.approx(12, rel=0.03)
    assert weight == pytest.approx(0.7, rel=0.03)
    assert intercept == pytest.approx(-3.6, rel=0.03)
    assert 0 < loss < math.log(2)


def test_calibrated_odds_mean_what_they_say(network):
    statistics, held_out, query, gallery = network
    distances = LogOddsFusion.fit(statistics, held_out).scorer(query, gallery).block(EVERYTHING, EVERYTHING)
    same = query.sightings.pids[:, None] == gallery.sightings.pids
    other_camera = query.sightings.camids[:, None] != gallery.sightings.camids
    probability, weights = np.exp(-distances), np.where(same, 1 / same.sum(), 1 / (~same).sum())
    for low, high in [(0.2, 0.5), (0.5, 0.8), (0.9, 1.0)]:
        bin_ = (probability >= low) & (probability <= high) & other_camera
        observed = weights[bin_ & same].sum() / weights[bin_].sum()
        assert low - 0.15 < observed < high + 0.15


def test_fit_refuses_what_it_cannot_learn_from(network):
    statistics, held_out, *_ = network
    with pytest.raises(InputError, match="1 of the 1 held-out identities, 80 the first"):
        LogOddsFusion.fit(statistics, looks(walks(1, first=80)))
    with pytest.raises(InputError, match=r"0 of different people.*hold out more"):
        LogOddsFusion.fit(statistics, looks(walks(1, first=101)))
    one_camera = held_out[held_out.sightings.camids == 2]
    with pytest.raises(InputError, match="0 pairs of one person"):
        LogOddsFusion.fit(statistics, one_camera)
    with pytest.raises(InputError, match="need camids and times"):
        LogOddsFusion.fit(statistics, Embeddings(held_out.vectors, held_out.sightings.replace(times=None)))


def test_many_pairs_are_drawn(network, monkeypatch):
    statistics, held_out, *_ = network
    monkeypatch.setattr(fusion, "DIFFERENT_PAIRS", 2000)
    drawn = LogOddsFusion.fit(statistics, held_out, sigmas=(5,))
    assert drawn.basis["same_pairs"] == 20 * 6 * 9
    assert 1000 < drawn.basis["different_pairs"] <= 2000
    again = LogOddsFusion.fit(statistics, held_out, sigmas=(5,))
    assert (again.slope, again.weight) == (drawn.slope, drawn.weight)


def test_files_give_back_the_same_distances(network, tmp_path):
    statistics, held_out, query, gallery = network
    kinds = LogisticFusion(statistics, 30, (1, 6), (2, 4)), LogOddsFusion.fit(statistics, held_out)
    for fused in kinds:
        fused.save(tmp_path / "joint.safetensors")
        again = fusion.load(tmp_path / "joint.safetensors")
        assert repr(again) == repr(fused)
        found, expected = (f.scorer(query, gallery).block(EVERYTHING, EVERYTHING) for f in (again, fused))
        np.testing.assert_array_equal(found, expected)
    assert again.basis == fused.basis


def test_statistics_without_a_joint_score_are_an_error(network, tmp_path):
    network[0].save(tmp_path / "network.safetensors")
    with pytest.raises(InputError, match="without a joint score"):
        fusion.load(tmp_path / "network.safetensors")
    network[0].save(tmp_path / "network.safetensors", {"kind": "other"})
    with pytest.raises(InputError, match="not a joint score"):
        fusion.load(tmp_path / "network.safetensors")
