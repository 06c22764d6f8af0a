"""The real attribute tables and Market-1501's tracklets, where they are at hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.io import loadmat

from reidentify.data.attributes import read_identities
from reidentify.data.benchmark import Benchmark
from reidentify.data.benchmarks import benchmark, facts, market1501_attributes, mars_attributes
from reidentify.data.inspect import _compare
from reidentify.data.root import data_root

pytestmark = pytest.mark.real
MARKET, MARS = (data_root() / f"{name}-annotations" for name in ("market1501", "mars"))


@pytest.fixture(scope="module")
def tracklets() -> Benchmark:
    if not (data_root() / facts("market1501").folder).is_dir():
        pytest.skip(f"Market-1501 is not under {data_root()}")
    return benchmark("market1501-tracklets")


def test_tracklets_of_market1501(tracklets):
    train, test = tracklets.train, tracklets.query
    assert (len(train), (train.lengths >= 4).sum(), train.lengths.max()) == (3_541, 1_393, 42)
    assert (len(test), (test.lengths >= 4).sum(), test.lengths.max()) == (3_618, 1_454, 43)
    assert len(tracklets.gallery) == 3_618
    other = [set(test.camids[test.pids == p].tolist()) - {c} for p, c in zip(test.pids, test.camids.tolist())]
    assert all(other)  # every query has a match
    assert all(c.agrees for c in _compare(tracklets, tracklets.facts))
    for rows in (train, test):
        within = np.diff(rows.frame_rows()) == 0
        assert (np.diff(rows.times)[within] >= 0).all()
        assert np.median(np.diff(rows.times)[within]) == 2
        assert (np.diff(rows.times)[within] == 0).mean() == pytest.approx(1 / 11, abs=0.01)


def test_attributes_of_market1501(tracklets):
    if not (MARKET / market1501_attributes.NAME).is_file():
        pytest.skip(f"no attributes in {MARKET}")
    identity = [a for a in tracklets.schema if a.identity]
    assert len(identity) == 12
    columns = {a.name: tracklets.sightings.attributes[a.name] for a in identity}
    assert all((values >= 0).all() for values in columns.values())
    _, first = np.unique(tracklets.sightings.pids, return_index=True)
    assert (columns["upper_colour"][first] == 8).sum() == 147
    assert (columns["lower_colour"][first] == 9).sum() == 74
    assert np.bincount(columns["age"][first]).tolist() == [16, 1209, 263, 13]


def test_orientation_lasts_for_seconds(tracklets):
    """Neighbouring images up to a second apart show one side far more often than chance, and minutes apart do not."""
    rows = tracklets.train
    if rows.keypoints is None:
        pytest.skip(f"no joints in {MARKET}")
    side = market1501_attributes.derive(rows.keypoints)["orientation"]
    shares = np.bincount(side[side >= 0]) / (side >= 0).sum()
    both = (np.diff(rows.frame_rows()) == 0) & (side[1:] >= 0) & (side[:-1] >= 0)
    gaps, same = np.diff(rows.times), side[1:] == side[:-1]
    assert same[both & (gaps > 0) & (gaps <= 1)].mean() > 0.75
    assert same[both & (gaps > 60)].mean() < (shares**2).sum()
    assert 0.05 < (side < 0).mean() < 0.1


def test_version_1_of_mars_labels_every_tracklet_of_an_identity():
    path = MARS / mars_attributes.NAME
    if not path.is_file():
        pytest.skip(f"no attributes in {MARS}")
    keys = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64)[:, :3]
    columns, schema = mars_attributes.read(path, *keys.T)
    assert len(schema) == 12
    assert all((values >= 0).all() for values in columns.values())
    assert all(values.max() == len(a.values) - 1 for a, values in zip(schema, columns.values()))
    tracks = [loadmat(MARS / f"tracks_{part}_info.mat")[f"track_{part}_info"] for part in ("train", "test")]
    published = np.concatenate(tracks).astype(np.int64)[:, 2:4]
    published = published[published[:, 0] > 0]
    assert Counter(map(tuple, published.tolist())) == Counter(map(tuple, keys[:, :2].tolist()))


def test_mars_and_market1501_mean_the_same_values():
    """Both sets show the same identities: the labels agree by name, so that no value is read as another."""
    paths = MARS / mars_attributes.NAME, MARKET / market1501_attributes.NAME
    if not all(path.is_file() for path in paths):
        pytest.skip("not both tables are at hand")
    keys = np.loadtxt(paths[0], delimiter=",", skiprows=1, dtype=np.int64)[:, :3]
    mars, schema = mars_attributes.read(paths[0], *keys.T)
    market, other = read_identities(paths[1], market1501_attributes.STRUCT, market1501_attributes.FIELDS, keys[:, 0])
    named = {a.name: np.array(a.values)[market[a.name]] for a in other}
    for attribute in schema:
        mine = np.array([v.replace("complex", "other") for v in attribute.values])[mars[attribute.name]]
        assert (mine == named[attribute.name]).mean() > 0.92, attribute.name
