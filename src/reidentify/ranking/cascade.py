"""The cascade: one scorer ranks the gallery, another puts the nearest of it in a new order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.ranking.distance import Rows, Scorer, as_array, smallest
from reidentify.ranking.matches import Matches


class Cascade:
    """A quick scorer for the whole gallery and a careful one for its k nearest rows.

    The k rows come first, in the order of the second scorer (of equal distances, in the order of the first); the rest
    follows in the order of the first. Only this order means something: the distances of the k are made up.

    Args:
        first: ranks the whole gallery.
        second: ranks the k nearest rows anew. It is asked for one query and k gallery rows at a time.
        k: how many, at least 1.
        gallery: number of gallery rows.
        matches: rows that its protocol leaves out of a ranking list take none of the k places.
    """

    def __init__(self, first: Scorer, second: Scorer, k: int, gallery: int, matches: Matches | None = None) -> None:
        if k < 1:
            raise InputError(f"rescore: the number of rows to rank anew must be at least 1, got {k}")
        self._first, self._second, self._k = first, second, min(k, gallery)
        self._gallery, self._matches = gallery, matches

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float64]:
        """Distances of some query rows to some gallery rows. len(query_rows) x len(gallery_rows), float64."""
        distances = np.array(as_array(self._first.block(query_rows, slice(0, self._gallery))), np.float64)
        queries = np.arange(query_rows.stop)[query_rows] if isinstance(query_rows, slice) else query_rows
        for query, row in zip(queries.tolist(), distances):
            allowed = row
            if self._matches is not None:
                allowed = row.copy()
                allowed[self._matches.left_out(query)] = np.nan
            near = smallest(allowed, self._k)
            again = as_array(self._second.block(np.array([query]), near))[0]
            if np.isnan(again).any():
                column = near[np.argmax(np.isnan(again))]
                raise InputError(f"rescore: NaN between query row {query} and gallery row {column}")
            near = near[np.argsort(again, kind="stable")]
            row[near] = row.min() - np.arange(len(near), 0, -1)
        return np.asarray(distances[:, gallery_rows])
