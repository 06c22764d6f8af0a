"""Who is a match and who is ignored: a protocol's rule applied to the labels of query and gallery."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError
from reidentify.ranking.protocol import Protocol
from reidentify.values import DISTRACTOR, JUNK, ROUNDING, Sightings

UNKNOWN = -1
"""`camids` value of a camera that is not known; two unknown cameras are never the same."""


@dataclass(frozen=True, eq=False)
class Lists:
    """One list of integers per query, stored flat: list i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        values: M, int64.
        offsets: Q + 1, int64, from 0 to M.
    """

    values: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[np.int64]: ...
    @overload
    def __getitem__(self, index: slice) -> Lists: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.int64] | Lists:
        """One list, or the lists of a slice (of step 1)."""
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            offsets = self.offsets[first : last + 1]
            return Lists(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Entries per list. Q, int64."""
        return np.diff(self.offsets)

    def owners(self) -> NDArray[np.int64]:
        """The list each value belongs to. M, int64."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @staticmethod
    def of(owners: NDArray[np.int64], values: NDArray[np.int64], count: int) -> Lists:
        """From pairs (owner, value) in rising order of owner."""
        return Lists(values, np.searchsorted(owners, np.arange(count + 1)).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Matches:
    """For every query, the gallery rows that are matches and those that are ignored; all others are wrong.

    Args:
        protocol: the rule that was applied.
        query_pids, gallery_pids: Q and G, int64.
        query_camids, gallery_camids: Q and G, int64, or None.
        positives: per query, its matches in gallery order.
        ignored: per query, the rows that its ranking list leaves out, in gallery order (`junk` not repeated).
        junk: gallery rows that every ranking list leaves out (pid -1), in gallery order.
    """

    protocol: Protocol
    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_camids: NDArray[np.int64] | None
    gallery_camids: NDArray[np.int64] | None
    positives: Lists
    ignored: Lists
    junk: NDArray[np.int64]

    def left_out(self, query: int) -> NDArray[np.int64]:
        """All gallery rows that the ranking list of one query leaves out."""
        return np.concatenate([self.junk, self.ignored[query]])

    def require(self) -> None:
        """Raise InputError, saying why, if no query has a match."""
        if len(self.positives.values):
            return
        people, others = (set(p[p > DISTRACTOR].tolist()) for p in (self.query_pids, self.gallery_pids))
        if not people or not others:
            side = "query" if not people else "gallery"
            raise InputError(
                f"no {side} row has an identity: every pid is {JUNK} (junk) or {DISTRACTOR} (distractor); number the"
                " identities from 1"
            )
        if not people & others:
            raise InputError(
                f"no identity of the {len(people)} in the query is in the gallery (query pids {_some(people)}; gallery"
                f" pids {_some(others)}): give both sides the same pid for the same person"
            )
        if self.protocol.same_camera_is_junk or self.protocol.other_camera_shots:
            raise InputError(
                f"every match was seen by the query's own camera, and {self.protocol.name} ignores those (query"
                f" camids {_some(self.query_camids)}; gallery camids {_some(self.gallery_camids)}): give the true"
                " cameras, or evaluate with protocol no-cameras"
            )
        if self.protocol.junk_within:
            raise InputError(
                f"every match is within {self.protocol.junk_within:g} seconds of its query before the same camera, and"
                f" {self.protocol.name} ignores those: give images of other times, or evaluate with another protocol"
            )
        raise InputError(
            "every match is the query's own file, which is ignored: give the gallery other images of the people"
        )


def _some(values: set[int] | NDArray[np.int64] | None) -> str:
    """The first few of the distinct values, for a message."""
    distinct = [] if values is None else sorted({int(v) for v in values})
    return ", ".join(map(str, distinct[:4])) + (", ..." if len(distinct) > 4 else "")


def match(
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None,
    gallery_camids: ArrayLike | None,
    protocol: Protocol,
    own: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    query_times: ArrayLike | None = None,
    gallery_times: ArrayLike | None = None,
) -> Matches:
    """Apply the rule of `protocol` to labels.

    Gallery rows of pid -1 are ignored by every query. A row of the query's identity is ignored where the protocol
    says that the same camera is junk (or draws its shots from other cameras only) and both cameras are known and
    equal, or that it is junk near in time and both times are known too. Every other row of the query's identity is
    right, and the rest is wrong, distractors (pid 0) included. A query whose pid is not above 0 has no match.

    Args:
        query_pids, gallery_pids: Q and G integers.
        query_camids, gallery_camids: Q and G integers, -1 where unknown; None where no camera is known.
        protocol: the rule.
        own: pairs (query row, gallery row) of the same picture, ignored whatever their labels.
        query_times, gallery_times: Q and G, seconds on each camera's clock, NaN where unknown; None where no time is.

    Raises:
        InputError: an empty side, lengths that differ, or a rule that needs cameras or times without them.
    """
    q, g = _labels("query_pids", query_pids), _labels("gallery_pids", gallery_pids)
    for name, labels in (("query", q), ("gallery", g)):
        if not len(labels):
            raise InputError(f"the {name} is empty: there is nothing to evaluate")
    qc = None if query_camids is None else _labels("query_camids", query_camids, len(q))
    gc = None if gallery_camids is None else _labels("gallery_camids", gallery_camids, len(g))
    by_camera, within = protocol.same_camera_is_junk or protocol.other_camera_shots, protocol.junk_within
    if (by_camera or within is not None) and (qc is None or gc is None):
        raise InputError(
            f"protocol {protocol.name} needs the cameras of query and gallery: give camids, or use protocol no-cameras"
        )
    qt, gt = (
        _times(*side) for side in (("query_times", query_times, len(q)), ("gallery_times", gallery_times, len(g)))
    )
    if within is not None and (np.isnan(qt).all() or np.isnan(gt).all()):
        raise InputError(
            f"protocol {protocol.name} needs the times of query and gallery: give times in seconds, or use another"
            " protocol"
        )

    # All pairs of one identity, query by query: with the gallery sorted by pid they are one run for each query.
    order = np.argsort(g, kind="stable")
    first, last = (np.searchsorted(g[order], q, side) for side in ("left", "right"))
    runs = np.where(q > DISTRACTOR, last - first, 0)
    ends = np.cumsum(runs)
    rows = np.repeat(np.arange(len(q)), runs)
    columns = order[np.arange(ends[-1]) - np.repeat(ends - runs, runs) + np.repeat(first, runs)]

    wrong_view = np.zeros(len(rows), bool)
    if qc is not None and gc is not None and (by_camera or within is not None):
        wrong_view = (qc[rows] == gc[columns]) & (qc[rows] != UNKNOWN)
        if within is not None and not by_camera:
            wrong_view &= np.abs(qt[rows] - gt[columns]) <= within + ROUNDING  # never true of NaN
    ignored = rows[wrong_view] * len(g) + columns[wrong_view]
    right = rows[~wrong_view] * len(g) + columns[~wrong_view]
    if own is not None and len(own[0]):
        own_keys = own[0] * len(g) + own[1]
        right = np.setdiff1d(right, own_keys, assume_unique=True)
        ignored = np.union1d(ignored, own_keys[g[own[1]] != JUNK])
    positives, left_out = (Lists.of(keys // len(g), keys % len(g), len(q)) for keys in (right, ignored))
    return Matches(protocol, q, g, qc, gc, positives, left_out, np.flatnonzero(g == JUNK))


def _labels(name: str, values: ArrayLike, length: int | None = None) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (length is not None and len(array) != length):
        expected = "one dimension" if length is None else f"{length} entries"
        raise InputError(f"{name}: expected {expected}, got shape {array.shape}")
    if len(array) and not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name}: expected integers, got {array.dtype}")
    return array.astype(np.int64)


def _times(name: str, values: ArrayLike | None, length: int) -> NDArray[np.float64]:
    times = np.full(length, np.nan) if values is None else np.asarray(values, np.float64)
    if times.shape != (length,):
        raise InputError(f"{name}: expected {length} entries, got shape {times.shape}")
    return times


def same_picture(query: Sightings, gallery: Sightings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of rows that are one picture: the same path, and where both sides know them, the same frame and box.

    A tracklet is taken by its first frame. Frame and box count because several people may be boxes of one file.

    Returns:
        Query rows and gallery rows of the pairs, int64 each, in rising order; empty where one side has no files.
    """
    none = np.empty(0, np.int64)
    if query.files is None or gallery.files is None:
        return none, none
    frames = query.frames is not None and gallery.frames is not None
    boxes = query.boxes is not None and gallery.boxes is not None

    def keys(side: Sightings) -> list[tuple[object, ...]]:
        first = side.offsets[:-1]
        assert side.files is not None
        columns: list[list[object]] = [[os.path.abspath(f) for f in side.files[first]]]
        if frames and side.frames is not None:
            columns.append(side.frames[first].tolist())
        if boxes and side.boxes is not None:
            columns.append([box.tobytes() for box in side.boxes[first]])
        return list(zip(*columns))

    rows: dict[tuple[object, ...], list[int]] = {}
    for row, key in enumerate(keys(query)):
        rows.setdefault(key, []).append(row)
    pairs = sorted((q, g) for g, key in enumerate(keys(gallery)) for q in rows.get(key, ()))
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]
