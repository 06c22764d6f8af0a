"""The cascade: the nearest k in the second scorer's order, everything else as it was."""

import numpy as np
import pytest

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


def test_in_an_evaluation_what_is_ignored_takes_no_place():
    # The two nearest rows are of the query's own camera: the cascade looks at the next one.
    query, gallery = Sightings([1], camids=[1]), Sightings([1, 1, 2, 1], camids=[1, 1, 2, 2])
    first, second = Table([[0.1, 0.2, 0.3, 0.4]]), Table([[5, 5, 5, 1]])
    assert evaluate(query, gallery, scorer=first).first_rank.tolist() == [2]
    assert evaluate(query, gallery, scorer=first, rescore=(second, 1)).first_rank.tolist() == [2]
    assert evaluate(query, gallery, scorer=first, rescore=(second, 2)).first_rank.tolist() == [1]


def test_errors():
    with pytest.raises(InputError, match="at least 1, got 0"):
        Cascade(Table([[1]]), Table([[1]]), 0, 1)
    with pytest.raises(InputError, match="NaN between query row 0 and gallery row 1"):
        Cascade(Table([[2, 1]]), Table([[1, np.nan]]), 1, 2).block(slice(0, 1), slice(0, 2))
