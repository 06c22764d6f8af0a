"""The cascade: the nearest k in the second scorer's order, everything else as it was."""

import io
from functools import partial

import numpy as np
import pytest
import rich.console

from reidentify import InputError, Sightings
from reidentify.ranking.cascade import Cascade
from reidentify.ranking.evaluate import evaluate


class Table:
    def __init__(self, distances):
        self.distances = np.asarray(distances, float)
        self.asked = 0

    def block(self, query_rows, gallery_rows):
        block = self.distances[query_rows][:, gallery_rows]
        self.asked += block.size
        return block


def test_order_by_hand():
    first, second = Table([[0.1, 0.2, 0.3, 0.4]]), Table([[9, 7, 8, 1]])
    order = np.argsort(Cascade(first, second, 3, 4).block(slice(0, 1), slice(0, 4))[0])
    assert order.tolist() == [1, 2, 0, 3]  # column 3 would be first, but was not among the nearest three
    assert second.asked == 3
    assert np.argsort(Cascade(first, second, 99, 4).block(slice(0, 1), slice(0, 4))[0]).tolist() == [3, 1, 2, 0]


def test_blocks_by_integers_and_ties():
    first, second = Table(np.random.default_rng(0).random((5, 9))), Table(np.zeros((5, 9)))
    cascade = Cascade(first, second, 4, 9)
    whole = cascade.block(slice(0, 5), slice(0, 9))
    # All of the second's distances are equal: the order of the first stays.
    np.testing.assert_array_equal(np.argsort(whole, axis=1), np.argsort(first.distances, axis=1))
    part = cascade.block(np.array([3, 1]), np.array([8, 0, 4]))
    np.testing.assert_array_equal(part, whole[[3, 1]][:, [8, 0, 4]])
    np.testing.assert_array_equal(cascade.block(slice(None), slice(None)), whole)
    np.testing.assert_array_equal(cascade.block(slice(1, None, 2), slice(None)), whole[1::2])


@pytest.mark.parametrize(
    ("first", "order"),
    [
        ([np.inf, 0, 1, np.inf, 2], [2, 1, 4, 0, 3]),  # infinitely far: behind everything, in gallery order
        ([1e17, 2e17, 3e17, 4e17, 5e17], [1, 0, 2, 3, 4]),  # 1 less than 1e17 is 1e17
        ([-1e17, 5, 3, -1e17, 5], [3, 0, 2, 1, 4]),
        ([-np.inf, -np.inf, 0, -np.inf, 1], [1, 0, 3, 2, 4]),  # more than two are infinitely near
        ([np.inf] * 5, [1, 0, 2, 3, 4]),
    ],
)
def test_distances_of_any_size(first, order):
    second = Table([[5, 4, 3, 2, np.inf]])  # of the two nearest the later comes first
    cascade = Cascade(Table([first]), second, 2, 5)
    assert np.argsort(cascade.block(slice(0, 1), slice(0, 5))[0], kind="stable").tolist() == order
    query, gallery = Sightings([1]), Sightings([1 if c == order[-1] else 2 for c in range(5)])
    assert evaluate(query, gallery, scorer=Table([first]), rescore=(second, 2)).first_rank.tolist() == [5]


def test_in_an_evaluation_what_is_ignored_takes_no_place():
    # The two nearest rows are of the query's own camera: the cascade looks at the next one.
    query, gallery = Sightings([1], camids=[1]), Sightings([1, 1, 2, 1], camids=[1, 1, 2, 2])
    first, second = Table([[0.1, 0.2, 0.3, 0.4]]), Table([[5, 5, 5, 1]])
    assert evaluate(query, gallery, scorer=first).first_rank.tolist() == [2]
    assert evaluate(query, gallery, scorer=first, rescore=(second, 1)).first_rank.tolist() == [2]
    assert evaluate(query, gallery, scorer=first, rescore=(second, 2)).first_rank.tolist() == [1]


def test_progress_is_shown_by_the_query(monkeypatch):
    screen = io.StringIO()
    console = partial(rich.console.Console, file=screen, force_terminal=True, width=100)
    monkeypatch.setattr("rich.console.Console", console)
    first, second = Table(np.random.default_rng(0).random((5, 9))), Table(np.zeros((5, 9)))
    shown = Cascade(first, second, 4, 9, progress=True).block(slice(2, 5), slice(0, 9))
    assert "Ranking anew queries 3 to 5" in screen.getvalue()
    assert "100%" in screen.getvalue()
    screen.truncate(0)
    silent = Cascade(first, second, 4, 9).block(slice(2, 5), slice(0, 9))
    assert not screen.getvalue().strip("\0")
    np.testing.assert_array_equal(shown, silent)


def test_errors():
    with pytest.raises(InputError, match="at least 1, got 0"):
        Cascade(Table([[1]]), Table([[1]]), 0, 1)
    with pytest.raises(InputError, match="second scorer gives NaN between query row 0 and gallery row 1"):
        Cascade(Table([[2, 1]]), Table([[1, np.nan]]), 1, 2).block(slice(0, 1), slice(0, 2))
    # Also where the row is not among the nearest, and where it is not asked for.
    first = Table([[1, 2, 3], [1, 2, 3], [1, 2, np.nan]])
    for rows in (slice(1, 3), np.array([1, 2])):
        with pytest.raises(InputError, match="first scorer gives NaN between query row 2 and gallery row 2"):
            Cascade(first, Table(np.zeros((3, 3))), 1, 3).block(rows, slice(0, 1))
