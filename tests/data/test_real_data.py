"""The real data sets, where they are at hand, hold what was published."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from reidentify.data.benchmark import Benchmark
from reidentify.data.benchmarks import benchmark, facts
from reidentify.data.benchmarks.market1501 import SEQUENCE_FRAMES
from reidentify.data.inspect import check
from reidentify.data.root import data_root

pytestmark = pytest.mark.real


def real(name: str) -> Benchmark:
    if not (data_root() / facts(name).folder).is_dir():
        pytest.skip(f"{facts(name).title} is not under {data_root()}")
    return benchmark(name)


def test_market1501_counts():
    b = real("market1501")
    assert [(len(x), len(x.identities)) for x in (b.train, b.query, b.gallery)] == [
        (12_936, 751), (3_368, 750), (19_732, 750)
    ]  # fmt: skip
    assert (b.gallery.pids != -1).sum() == 15_913
    assert (b.gallery.pids == -1).sum() == 3_819
    assert (b.gallery.pids == 0).sum() == 2_798
    assert not set(b.train.identities) & set(b.query.identities)
    for part in (b.train, b.query, b.gallery):
        assert sorted(set(part.camids)) == [1, 2, 3, 4, 5, 6]


def test_market1501_times_order_each_camera_by_sequence_then_frame():
    b = real("market1501")
    names = [Path(f).name.split("_") for f in b.sightings.files]
    sequence = np.array([int(n[1][3]) for n in names])
    for camera in range(1, 7):
        rows = b.sightings.camids == camera
        order = np.lexsort((b.sightings.frames[rows], sequence[rows]))
        times = b.sightings.times[rows][order]
        assert (np.diff(times) >= 0).all()
        assert set(sequence[rows]) == set(range(1, len(SEQUENCE_FRAMES[camera]) + 1))
        # A sequence is as long as its last frame number; five of the published lengths fall short by up to 600 frames.
        longest = [b.sightings.frames[rows & (sequence == s)].max() for s in sorted(set(sequence[rows]))]
        beyond = np.array(longest) - SEQUENCE_FRAMES[camera]
        assert ((beyond >= 0) & (beyond <= 600)).all()


def test_market1501_joints_lie_on_the_images():
    b = real("market1501")
    if b.sightings.keypoints is None:
        pytest.skip("no joints beside Market-1501")
    assert b.sightings.keypoints.shape == (36_036, 14, 3)
    people = b.train.keypoints
    # People stand upright: the head (0) is above the hips (8, 11), those above the ankles (10, 13).
    assert (people[:, 0, 1] < people[:, [8, 11], 1].min(1)).mean() > 0.95
    assert (people[:, [8, 11], 1].mean(1) < people[:, [10, 13], 1].mean(1)).mean() > 0.95


def test_cuhk03_of_the_talk():
    b = real("cuhk03-talk")
    assert [len(x.identities) for x in (b.train, b.query, b.gallery)] == [743, 100, 100]
    assert not set(b.train.identities) & set(b.query.identities)
    # The positive pairs of the training part are those of the talk.
    counts = np.bincount(b.train.pids)
    assert (counts * (counts - 1) // 2).sum() == 31_795


def test_the_joined_set_has_the_people_of_both():
    parts = [real("market1501"), real("cuhk03-talk")]
    b = benchmark("market1501+cuhk03-talk")
    assert len(b.train.identities) == 751 + 743
    assert len(np.unique(b.train.camids)) == 8
    for name, part in zip(("market1501", "cuhk03-talk"), parts):
        rows = b.train[b.train.sources == name]
        assert rows.files.tolist() == part.train.files.tolist()
        same = [len(set(g)) == 1 for _, g in itertools.groupby(zip(part.train.pids, rows.pids), key=lambda x: x[0])]
        assert all(same)


def test_every_image_of_the_talk_decodes():
    report = check(real("cuhk03-talk"))
    assert report.ok
    assert report.images == 8_177
