"""Both protocols of MARS on its official split files (mars-annotations under the data root)."""

import numpy as np
import pytest
from scipy.io import loadmat

from reidentify import Sightings
from reidentify.data.benchmark import Benchmark
from reidentify.data.root import data_root
from reidentify.ranking.matches import match
from reidentify.ranking.protocol import MARS_OFFICIAL, MARS_TORCHREID

pytestmark = pytest.mark.real
FOLDER = data_root() / "mars-annotations"


@pytest.fixture(scope="module")
def mars():
    if not FOLDER.is_dir():
        pytest.skip(f"{FOLDER} is not there")
    tracks = loadmat(FOLDER / "tracks_test_info.mat")["track_test_info"].astype(np.int64)
    queries = loadmat(FOLDER / "query_IDX.mat")["query_IDX"].reshape(-1).astype(np.int64) - 1
    split = np.full(len(tracks), "gallery", object)
    split[queries] = "query"
    return Sightings(tracks[:, 2], tracks[:, 3], split=split)


@pytest.mark.parametrize(
    ("protocol", "gallery", "with_a_match"), [(MARS_OFFICIAL, 12_180, 1980), (MARS_TORCHREID, 10_200, 1840)]
)
def test_queries_that_have_a_match(mars, protocol, gallery, with_a_match):
    benchmark = Benchmark("mars", mars, protocol)
    query, rows = benchmark.query, benchmark.gallery
    assert (len(query), len(rows)) == (1980, gallery)
    found = match(query.pids, rows.pids, query.camids, rows.camids, protocol)
    assert (found.positives.lengths > 0).sum() == with_a_match
    # Independently: a match is a gallery tracklet of the same person and another camera.
    pairs = query.pids[:, None] == rows.pids
    pairs &= query.camids[:, None] != rows.camids
    np.testing.assert_array_equal(found.positives.lengths, pairs.sum(axis=1))
