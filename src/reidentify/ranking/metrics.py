"""CMC, mAP in both conventions and mINP, from the ranks of the matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError
from reidentify.ranking.distance import as_array, as_matrix, blocks
from reidentify.ranking.matches import UNKNOWN, Lists, Matches, match
from reidentify.ranking.protocol import MARKET1501, Protocol
from reidentify.ranking.ranks import ranks_of
from reidentify.ranking.results import CameraPairs, Result
from reidentify.values import DISTRACTOR, JUNK

if TYPE_CHECKING:
    import torch


def score(
    distances: ArrayLike | torch.Tensor,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None = None,
    gallery_camids: ArrayLike | None = None,
    protocol: Protocol = MARKET1501,
    *,
    query_times: ArrayLike | None = None,
    gallery_times: ArrayLike | None = None,
    seed: int = 0,
) -> Result:
    """Score a matrix of distances.

    Of equal distances the earlier gallery row ranks first. What is ignored, and what each score means, is said by
    `matches.match` and by `Result`.

    Args:
        distances: Q x G, the smaller the nearer; an array or a tensor. It is read, never changed.
        query_pids, gallery_pids: Q and G integers; -1 is junk and 0 a distractor.
        query_camids, gallery_camids: Q and G integers, -1 where unknown.
        protocol: the rule.
        query_times, gallery_times: Q and G, seconds on each camera's clock, NaN where unknown; for protocols that
            ignore what is near in time.
        seed: of the draws, where the protocol draws its gallery.

    Raises:
        InputError: shapes that do not fit, NaN among the distances, missing cameras or times, or no query with a match.
    """
    matches = match(
        query_pids, gallery_pids, query_camids, gallery_camids, protocol,
        query_times=query_times, gallery_times=gallery_times,
    )  # fmt: skip
    matrix = as_matrix(distances)
    expected = (len(matches.query_pids), len(matches.gallery_pids))
    if tuple(matrix.shape) != expected:
        shape = f"{expected[0]} x {expected[1]} (query x gallery)"
        raise InputError(f"distances: expected {shape}, got {tuple(matrix.shape)}")
    ranking = Ranking(matches, seed)
    for rows in blocks(*expected):
        ranking.add(rows, matrix[rows])
    return ranking.result()


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the matches stand in every ranking list.

    A query has one list, or one for each draw of the gallery: list i is of query `i // draws`.

    Args:
        lists: per list, the 0-based ranks of its matches, rising, counted without ignored rows.
        rows: the gallery row of each of them, in the order of `lists.values`.
        draws: lists per query.
    """

    lists: Lists
    rows: NDArray[np.int64]
    draws: int = 1

    def precision(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """At each match: precision down to it (plain), and the mean of that and the precision just above it.

        The second integrates the precision-recall curve by the trapezoid rule, as the toolkit of Market-1501 does
        (Zheng et al., ICCV 2015): with `i` matches above rank r, precision goes from i / r (1 at the very top)
        to (i + 1) / (r + 1). M, float64 each.
        """
        ranks = self.lists.values
        before = np.arange(len(ranks)) - self.lists.offsets[:-1][self.lists.owners()]
        plain = (before + 1) / (ranks + 1)
        above = np.where(ranks > 0, before / np.maximum(ranks, 1), 1.0)
        return plain, (above + plain) / 2


class Ranking:
    """Gathers the ranks of the matches from blocks of distances, in any order, and scores them at the end.

    Args:
        matches: who is right and who is ignored.
        seed: of the draws, where the protocol draws its gallery.

    Raises:
        InputError: no query has a match.
    """

    def __init__(self, matches: Matches, seed: int = 0) -> None:
        matches.require()
        self._matches = matches
        self._draws = None if matches.protocol.shots is None else _Draws(matches, matches.protocol.shots, seed)
        self._kept = matches.gallery_pids != JUNK
        lengths = matches.positives.lengths
        self._whole = self._drawn = None
        if self._draws is not None:
            self._drawn = _unfilled(np.minimum(lengths, self._draws.shots), self._draws.repeats)
        if self._draws is None or matches.protocol.shots_for == "cmc":
            self._whole = _unfilled(lengths)

    def add(self, queries: slice, distances: ArrayLike | torch.Tensor) -> None:
        """Take the distances of some queries to the whole gallery: len(queries) x G, read and not changed.

        Raises:
            InputError: another shape, or NaN (query and gallery row are named).
        """
        block, matches = as_matrix(distances), self._matches
        rows = range(len(matches.query_pids))[queries]
        if tuple(block.shape) != (len(rows), len(matches.gallery_pids)):
            expected = f"{len(rows)} x {len(matches.gallery_pids)}"
            raise InputError(f"distances: expected a block of {expected} (query x gallery), got {tuple(block.shape)}")
        if len(rows) and np.isnan(float(block.min())):
            row, column = np.argwhere(np.isnan(as_array(block)))[0]
            raise InputError(f"distances: NaN between query row {rows[row]} and gallery row {column}")
        if self._whole is not None:
            here, lists = slice(rows.start, rows.stop), self._whole.lists
            out = slice(*lists.offsets[[rows.start, rows.stop]])
            lists.values[out], self._whole.rows[out] = ranks_of(
                block, matches.positives[here], matches.ignored[here], self._kept
            )
        if self._drawn is None or self._draws is None:
            return
        lists = self._drawn.lists
        for query, distances_of_query in zip(rows, as_array(block)):
            for draw in range(self._draws.repeats):
                out = slice(*lists.offsets[query * self._draws.repeats + draw :][:2])
                if out.start < out.stop:
                    drawn, chosen = self._draws.gallery(query, draw)
                    everything = np.ones(len(drawn), np.bool_)
                    lists.values[out], order = ranks_of(distances_of_query[None, drawn], chosen, _NOTHING, everything)
                    self._drawn.rows[out] = drawn[order]

    def result(self) -> Result:
        """The scores of all queries.

        Raises:
            InputError: the distances of a query with a match were never added.
        """
        matches, ranks, of_cmc = self._matches, self._whole or self._drawn, self._drawn or self._whole
        assert ranks is not None
        assert of_cmc is not None
        missing = ranks.lists.values < 0
        if missing.any():
            query = ranks.lists.owners()[np.argmax(missing)] // ranks.draws
            raise InputError(f"the distances of query row {query} were not added")
        lengths = ranks.lists.lengths
        valid = lengths > 0
        plain, trapezoid = (_mean_of_lists(p, ranks.lists) for p in ranks.precision())
        inp, first = np.full(len(lengths), np.nan), np.zeros(len(of_cmc.lists), np.int64)
        inp[valid] = lengths[valid] / (ranks.lists.values[ranks.lists.offsets[1:][valid] - 1] + 1)
        found = of_cmc.lists.lengths > 0
        first[found] = of_cmc.lists.values[of_cmc.lists.offsets[:-1][found]] + 1

        def per_query(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(values.reshape(-1, ranks.draws).mean(axis=1))

        return Result(
            protocol=matches.protocol,
            gallery=len(matches.gallery_pids),
            pids=matches.query_pids,
            camids=matches.query_camids,
            matches=lengths[:: ranks.draws],
            ap=per_query(plain),
            ap_trapezoid=np.nan_to_num(per_query(trapezoid)),
            inp=per_query(inp),
            first_rank=first if of_cmc.draws == 1 else first.reshape(-1, of_cmc.draws),
            camera_pairs=_camera_pairs(ranks, of_cmc, matches),
        )


def _unfilled(lengths: NDArray[np.int64], draws: int = 1) -> Ranks:
    """Ranks of so many matches for each query and draw, -1 until the block that holds the query has come."""
    offsets = np.concatenate([[0], np.cumsum(np.repeat(lengths, draws))])
    return Ranks(Lists(np.full(offsets[-1], -1), offsets), np.empty(offsets[-1], np.int64), draws)


_NOTHING = Lists(np.empty(0, np.int64), np.zeros(2, np.int64))


class _Draws:
    """Galleries of a few rows per identity, drawn anew `repeats` times.

    A draw puts the rows of every identity in a random order, and a query sees the first `shots` of each identity that
    its rule allows. Distractors are nobody's identity and all stay.
    """

    def __init__(self, matches: Matches, shots: int, seed: int) -> None:
        self.shots, self.repeats = shots, matches.protocol.repeats
        self._matches = matches
        count, rng = len(matches.gallery_pids), np.random.default_rng(seed)
        self._priority = [rng.permutation(count) for _ in range(self.repeats)]
        self._seen: dict[tuple[int, int], NDArray[np.int64]] = {}

    def gallery(self, query: int, draw: int) -> tuple[NDArray[np.int64], Lists]:
        """The gallery rows that a query sees, in order, and the places of its matches among them (one list)."""
        matches, priority = self._matches, self._priority[draw]
        camera = UNKNOWN
        if matches.protocol.other_camera_shots and matches.query_camids is not None:
            camera = int(matches.query_camids[query])
        if (draw, camera) not in self._seen:
            self._seen[draw, camera] = self._drawn(priority, camera)
        drawn = self._seen[draw, camera]
        positives = matches.positives[query]
        own = np.sort(positives[np.argsort(priority[positives])[: self.shots]])
        others = drawn[matches.gallery_pids[drawn] != matches.query_pids[query]]
        rows = np.sort(np.concatenate([others, own]))
        return rows, Lists(np.searchsorted(rows, own), np.array([0, len(own)]))

    def _drawn(self, priority: NDArray[np.int64], camera: int) -> NDArray[np.int64]:
        pids, cameras = self._matches.gallery_pids, self._matches.gallery_camids
        allowed = pids != JUNK
        if camera != UNKNOWN and cameras is not None:
            allowed = allowed & (cameras != camera)
        rows = np.flatnonzero(allowed)
        rows = rows[np.lexsort((priority[rows], pids[rows]))]
        _, first, counts = np.unique(pids[rows], return_index=True, return_counts=True)
        place = np.arange(len(rows)) - np.repeat(first, counts)
        return np.asarray(rows[(place < self.shots) | (pids[rows] == DISTRACTOR)])


def _mean_of_lists(values: NDArray[np.float64], lists: Lists) -> NDArray[np.float64]:
    """The mean of each list's values; NaN for an empty list."""
    with np.errstate(invalid="ignore"):
        return np.bincount(lists.owners(), values, minlength=len(lists)) / lists.lengths


def _camera_pairs(ranks: Ranks, of_cmc: Ranks, matches: Matches) -> CameraPairs | None:
    """mAP (of `ranks`) and rank-1 (of `of_cmc`) of each query camera against the matches of each gallery camera.

    The matches that other cameras hold are ignored, as junk is, and every wrong answer stays. So the pairs take
    nothing but the ranks that are known already.
    """
    query_camids, gallery_camids = matches.query_camids, matches.gallery_camids
    if query_camids is None or gallery_camids is None:
        return None
    cameras = [np.unique(c[c != UNKNOWN]) for c in (query_camids, gallery_camids)]
    shape = len(cameras[0]), len(cameras[1])

    def split(ranks: Ranks) -> tuple[Ranks, NDArray[np.int64], NDArray[np.int64]]:
        """A list for each list and gallery camera of its matches; whose it is, and its cell among the pairs."""
        owners, theirs = ranks.lists.owners(), gallery_camids[ranks.rows]
        before = np.arange(len(owners)) - ranks.lists.offsets[:-1][owners]
        known = np.flatnonzero((query_camids[owners // ranks.draws] != UNKNOWN) & (theirs != UNKNOWN))
        # A stable sort keeps the ranks rising within each new list.
        order = known[np.lexsort((theirs[known], owners[known]))]
        keys = np.stack([owners[order], theirs[order]], axis=1)
        starts = np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])[: len(keys)])
        offsets = np.append(starts, len(keys))
        place = np.arange(len(order)) - np.repeat(starts, np.diff(offsets))
        lists = Lists(ranks.lists.values[order] - (before[order] - place), offsets)
        queries = keys[starts, 0] // ranks.draws
        row = np.searchsorted(cameras[0], query_camids[queries])
        cell = row * shape[1] + np.searchsorted(cameras[1], keys[starts, 1])
        return Ranks(lists, ranks.rows[order]), queries, cell

    def total(cells: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> NDArray[Any]:
        return np.bincount(cells, weights, minlength=shape[0] * shape[1]).reshape(shape)

    whole, queries, cell = split(ranks)
    ap = _mean_of_lists(whole.precision()[0], whole.lists)
    first, _, drawn = (whole, queries, cell) if of_cmc is ranks else split(of_cmc)
    hit = first.lists.values[first.lists.offsets[:-1]] == 0
    distinct = np.unique(np.stack([queries, cell]), axis=1)[1]
    with np.errstate(invalid="ignore"):
        return CameraPairs(
            cameras[0],
            cameras[1],
            total(distinct).astype(np.int64),
            rank1=total(drawn, hit.astype(np.float64)) / total(drawn),
            mAP=total(cell, ap) / total(cell),
        )
