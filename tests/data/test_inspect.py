"""Counts beside published ones, images that do not decode, and sizes of splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from synthetic import pictures

from reidentify import Sightings
from reidentify.data import inspect
from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.inspect import Comparison, SplitStatistics, check, stats


def text(report: object) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report)
    return console.export_text()


@pytest.fixture
def small(tmp_path: Path) -> Benchmark:
    files = pictures(tmp_path / "a [b]", [f"{i}.png" for i in range(8)])
    sightings = Sightings(
        np.array([1, 1, 1, 2, 3, 3, 0, -1]),
        camids=[1, 2, 2, 1, 1, 4, 1, 1],
        split=np.array(["train"] * 4 + ["query"] + ["gallery"] * 3, dtype=object),
        files=np.array([str(f) for f in files], dtype=object),
    )
    counts = {"train": Counts(4, 2, 2), "query": Counts(1, 2), "gallery": Counts(3, 1, 2)}
    return Benchmark("small", sightings, facts=Facts("Small", "A Paper, 2015", "none", "Ask.", "small", counts))


def test_counts_are_compared_with_the_published(small):
    report = check(small)
    assert report.comparisons == (
        Comparison("train", "images", 4, 4), Comparison("train", "identities", 2, 2),
        Comparison("train", "cameras", 2, 2), Comparison("query", "images", 1, 1),
        Comparison("query", "identities", 1, 2), Comparison("gallery", "images", 3, 3),
        Comparison("gallery", "identities", 1, 1), Comparison("gallery", "cameras", 2, 2),
    )  # fmt: skip
    assert [c.agrees for c in report.comparisons].count(False) == 1
    assert not report.ok
    assert "A Paper, 2015" in text(report)
    assert "8 images: all decode" in text(report)


def test_a_set_as_published_is_fine(small):
    facts = Facts("Small", "A Paper, 2015", "none", "Ask.", "small", {"train": Counts(4, 2, 2)})
    assert check(small, facts).ok
    assert check(small.replace(facts=None)).comparisons == ()


def test_tracklets_are_counted_beside_their_images():
    sightings = Sightings([5, 5, 6], offsets=[0, 3, 4, 10], split=np.full(3, "train", object))
    facts = Facts("Clips", "A Paper, 2015", "none", "Ask.", "clips", {"train": Counts(10, tracklets=4)})
    assert check(Benchmark("clips", sightings), facts).comparisons == (
        Comparison("train", "images", 10, 10), Comparison("train", "tracklets", 3, 4),
    )  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2])
def test_every_image_that_does_not_decode_is_named(small, monkeypatch, processes):
    monkeypatch.setattr(inspect, "IN_PROCESS", 0)
    monkeypatch.setattr(inspect, "BLOCK", 3)
    files = [Path(f) for f in small.sightings.files]
    large = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 40, 3), np.uint8))
    large.save(files[1], format="JPEG")
    files[1].write_bytes(files[1].read_bytes()[:900])  # its header is whole, its pixels are not
    files[3].write_bytes(b"no image")
    large.save(files[4])
    broken = bytearray(files[4].read_bytes())
    broken[200:260] = bytes(60)
    files[4].write_bytes(broken)
    files[6].unlink()
    report = check(small, processes=processes)
    assert report.missing == (str(files[6]),)
    assert [path for path, _ in report.unreadable] == [str(files[1]), str(files[3]), str(files[4])]
    assert "truncated" in dict(report.unreadable)[str(files[1])]
    assert "cannot identify" in dict(report.unreadable)[str(files[3])]
    assert not report.ok
    shown = text(report)
    assert all(str(files[i]) in shown for i in (1, 3, 4, 6))
    assert "8 images: 1 missing, 3 unreadable" in shown


def test_stats(small):
    report = stats(small)
    train, query, gallery = report.splits
    assert train == SplitStatistics("train", 2, 4, 4, 2, 0, 0, 1, 2.0, 2.0, 3)
    assert query == SplitStatistics("query", 1, 1, 1, 1, 0, 0, 1, 1.0, 1.0, 1)
    assert gallery == SplitStatistics("gallery", 1, 3, 3, 2, 1, 1, 1, 1.0, 1.0, 1)
    lines = [line.split("│")[1:-1] for line in text(report).splitlines() if "│" in line]
    shown = {cells[0].strip(): [c.strip() for c in cells[1:]] for cells in lines}
    assert shown["identities"] == ["2", "1", "1"]
    assert shown["images of junk"] == ["0", "0", "1"]
    assert shown["mean"] == ["2.0", "1.0", "1.0"]
    assert "tracklets" not in shown


def test_stats_of_tracklets_without_cameras():
    sightings = Sightings(
        np.array([5, 5, 6]), offsets=[0, 3, 4, 10], split=np.full(3, "train", object), times=np.zeros(10)
    )
    (train,) = stats(Benchmark("clips", sightings)).splits
    assert train == SplitStatistics("train", 2, 3, 10, None, 0, 0, 4, 5.0, 5.0, 6)
    shown = text(stats(Benchmark("clips", sightings)))
    assert "unknown" in shown
    assert "tracklets" in shown
