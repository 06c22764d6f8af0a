"""The cascade: one scorer ranks the gallery, another puts the nearest of it in a new order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.ranking.distance import Floats, Rows, Scorer, as_array, smallest
from reidentify.ranking.matches import Matches


class Cascade:
    """A quick scorer for the whole gallery and a careful one for its k nearest rows.

    The k rows come first, in the order of the second scorer (of equal distances, in the order of the first); the rest
    follows in the order of the first. Distances of any size may be among those of either, infinite ones too. Only the
    order means something: the k are at distances -k to -1, and the rest from 0 on, one apart (equals stay equal).

    Args:
        first: ranks the whole gallery.
        second: ranks the k nearest rows anew. It is asked for one query and k gallery rows at a time.
        k: how many, at least 1.
        gallery: number of gallery rows.
        matches: rows that its protocol leaves out of a ranking list take none of the k places.
        progress: show how many queries of a block are done, where a person is there to see it.
    """

    def __init__(
        self,
        first: Scorer,
        second: Scorer,
        k: int,
        gallery: int,
        matches: Matches | None = None,
        progress: bool = False,
    ) -> None:
        if k < 1:
            raise InputError(f"rescore: the number of rows to rank anew must be at least 1, got {k}")
        self._first, self._second, self._k = first, second, min(k, gallery)
        self._gallery, self._matches, self._progress = gallery, matches, progress

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float64]:
        """Distances of some query rows to some gallery rows. len(query_rows) x len(gallery_rows), float64.

        Raises:
            InputError: NaN from either scorer (query and gallery row are named).
        """
        distances = np.array(as_array(self._first.block(query_rows, slice(0, self._gallery))), np.float64)
        if isinstance(query_rows, slice):
            queries = (query_rows.start or 0) + (query_rows.step or 1) * np.arange(len(distances))
        else:
            queries = query_rows
        for query, row in _tracked(queries.tolist(), distances, self._progress):
            _refuse_nan("first", row, query, np.arange(self._gallery))
            allowed = row.copy()
            if self._matches is not None:
                allowed[self._matches.left_out(query)] = np.nan
            near = smallest(allowed[None], self._k)[0][0]
            near = near[near >= 0]
            again = as_array(self._second.block(np.array([query]), near))[0]
            _refuse_nan("second", again, query, near)
            row[:] = np.unique(row, return_inverse=True)[1]
            row[near[np.argsort(again, kind="stable")]] = np.arange(-len(near), 0)
        return np.asarray(distances[:, gallery_rows])


def _tracked(
    queries: list[int], distances: NDArray[np.float64], progress: bool
) -> Iterable[tuple[int, NDArray[np.float64]]]:
    """Queries with their distances, under a bar that is wiped out in the end: of a large set every block has one."""
    rows = zip(queries, distances)
    if not progress or not queries:
        return rows
    from rich.console import Console
    from rich.progress import track

    console = Console()
    title = f"Ranking anew queries {min(queries) + 1:,} to {max(queries) + 1:,}"
    return track(rows, title, len(queries), console=console, transient=True, disable=not console.is_terminal)


def _refuse_nan(scorer: str, distances: Floats, query: int, gallery_rows: NDArray[np.int64]) -> None:
    wrong = np.isnan(distances)
    if wrong.any():
        column = gallery_rows[np.argmax(wrong)]
        raise InputError(f"rescore: the {scorer} scorer gives NaN between query row {query} and gallery row {column}")
