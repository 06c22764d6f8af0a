"""Pictures of space-time statistics: that they open, show what there is, and say what they leave out."""

import io

import numpy as np
import pytest
from PIL import Image
from walks import walks

from reidentify import Sightings
from reidentify.ranking.clocks import estimate_offsets
from reidentify.ranking.spacetime import SpaceTime
from reidentify.report import spacetime
from reidentify.report.charts import DARK, LIGHT
from reidentify.report.spacetime import duration, intervals, network


@pytest.fixture(scope="module")
def statistics():
    return SpaceTime().fit(walks(40, ahead=(0, 0, 600, 0)))


@pytest.fixture
def words(monkeypatch):
    """Every text of the pictures that a test draws."""
    found = []
    real = spacetime.to_png

    def png(figure):
        from matplotlib.text import Text

        found.extend(text.get_text() for text in figure.findobj(Text))
        return real(figure)

    monkeypatch.setattr(spacetime, "to_png", png)
    return found


def picture(content):
    image = Image.open(io.BytesIO(content))
    image.load()
    return np.asarray(image.convert("RGB")).reshape(-1, 3)


def has(colour, pixels):
    """Whether a picture holds a colour, as solid lines do."""
    return bool((np.abs(pixels.astype(int) - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=1) < 12).any())


def test_each_pair_of_cameras_has_its_curves(statistics, words):
    pixels = picture(intervals(statistics, LIGHT))
    assert has(LIGHT.same, pixels)
    assert has(LIGHT.different, pixels)
    assert {f"{a} to {b}: 40 people" for a in range(1, 5) for b in range(a + 1, 5)} < set(words)
    assert "Intervals between two cameras" in words


def test_only_so_many_pairs_are_drawn_and_it_is_said(statistics, words, monkeypatch):
    monkeypatch.setattr(spacetime, "PAIRS", 2)
    intervals(statistics, DARK)
    assert sum(": 40 people" in word for word in words) == 2
    assert "Intervals between two cameras, the 2 of 6 pairs that most people passed" in words


def test_the_network_tells_times_and_clocks(words):
    # Four go from 1 to 2 in 30 s, one from 2 to 3 in 5 minutes.
    rows = [(p, c, 1000 * p + 30 * (c - 1)) for p in range(1, 5) for c in (1, 2)] + [(5, 2, 0), (5, 3, 300)]
    pids, camids, times = zip(*rows)
    pixels = picture(network(SpaceTime().fit(Sightings(pids, camids=camids, times=times)), LIGHT))
    assert len(np.unique(pixels, axis=0)) > 3
    assert {"1", "2", "3", "30 s", "5.0 min"} < set(words)
    assert not any("clock" in word for word in words)


def test_clocks_are_stated_and_corrected(statistics, words):
    clocks = estimate_offsets(statistics)
    picture(network(statistics, DARK, clocks))
    assert sum(word.startswith("clock ") for word in words) == 3
    assert any(word.startswith("clock +10.") or word.startswith("clock +9.9") for word in words)
    minutes = [word for word in words if word.endswith(" min") and not word.startswith("clock")]
    assert not minutes  # without the correction camera 3 would seem ten minutes away


def test_only_so_many_links_are_drawn_and_it_is_said(statistics, words, monkeypatch):
    monkeypatch.setattr(spacetime, "LINKS", 2)
    network(statistics, LIGHT)
    assert sum(word.endswith((" s", " min")) for word in words) == 2
    assert any("the 2 busiest of" in word for word in words)


def test_durations():
    assert [duration(s) for s in (0, 8.4, 99.4, 99.6, 210, 5969, 5971, 7560)] == [
        "0 s", "8 s", "99 s", "1.7 min", "3.5 min", "99.5 min", "1.7 h", "2.1 h"
    ]  # fmt: skip
