"""Charts of verification: they open, follow the theme, and show what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from reidentify import Sightings
from reidentify.ranking.logistic import Bin
from reidentify.ranking.open_set import open_set
from reidentify.ranking.verify import verification
from reidentify.report import verification as charts
from reidentify.report.charts import DARK, LIGHT


class Random:
    """A Scorer of random distances, smaller by `gap` where the two are one person."""

    def __init__(self, query, gallery, gap):
        distances = np.random.default_rng(0).random((len(query), len(gallery)))
        self.distances = distances - gap * (query.pids[:, None] == gallery.pids)

    def block(self, query_rows, gallery_rows):
        return self.distances[query_rows][:, gallery_rows]


def searched(gap, people=10, rows=200):
    query, gallery = (Sightings(np.arange(n) % people + 1) for n in (rows // 2, rows))
    scorer = Random(query, gallery, gap)
    return verification(query, gallery, scorer=scorer), open_set(query, gallery, scorer=scorer)


def bins(observed):
    return [Bin(0.05, 0.02, 3, 4000), Bin(0.55, observed, 40, 50), Bin(0.97, 0.99, 900, 7)]


def drawn(theme, gap=0.3, observed=0.6):
    pairs, search = searched(gap)
    return charts.roc(pairs, theme), charts.open_set(search, theme), charts.reliability(bins(observed), 0.031, theme)


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def test_they_open_in_the_colours_of_the_theme():
    for theme in (LIGHT, DARK):
        for content in drawn(theme):
            picture = pixels(content)
            assert min(picture.shape[:2]) > 500
            paper, same = (tuple(bytes.fromhex(colour[1:])) for colour in (theme.paper, theme.same))
            assert tuple(picture[0, 0]) == paper
            assert (picture == same).all(axis=2).sum() > 500  # the curve


def test_they_show_what_they_are_given():
    for one, other in zip(drawn(LIGHT), drawn(LIGHT, gap=0.1, observed=0.3)):
        a, b = pixels(one), pixels(other)
        assert a.shape != b.shape or (a != b).any()


@pytest.mark.filterwarnings("error")
def test_a_handful_of_pairs_is_drawn_too():
    pairs, search = searched(0.5, people=2, rows=4)
    for content in (
        charts.roc(pairs, LIGHT),
        charts.open_set(search, LIGHT),
        charts.reliability(bins(0.5)[:1], 0, DARK),
    ):
        assert len(Image.open(io.BytesIO(content)).convert("RGB").getcolors(1 << 24)) > 10
