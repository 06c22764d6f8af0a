"""Whether people are known again after they were lost: the share of tracks that are resumed under the right name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError
from reidentify.ranking.matches import UNKNOWN
from reidentify.ranking.statistics import LEVEL, REPLICATES, Averages, intervals
from reidentify.values import DISTRACTOR, ROUNDING

F64 = NDArray[np.float64]
Int = NDArray[np.int64]

LOST = 1.0  # seconds without a picture after which a track has ended
PERIODS = ((1.0, 10.0), (1.0, 2.0), (2.0, 5.0), (5.0, 10.0))
"""Lengths of gaps that are stated together, seconds: above the first, up to the second."""
FIRST = 1.0
MEMORY = 5.0


@dataclass(frozen=True)
class Share:
    """How often the right person was found after gaps of some length.

    Args:
        low, high: of the gaps, seconds.
        count: of the gaps.
        share: of them after which the right person was nearest; NaN of none.
        interval: by bootstrap over people; NaN where fewer than two people have such a gap.
        chance: what guessing among the people whom the video had shown by then would reach.
    """

    low: float
    high: float
    count: int
    share: float
    interval: tuple[float, float]
    chance: float

    def summary(self) -> dict[str, Any]:
        """As plain data, None for what is not known."""
        known = self.count > 0
        bounds = None if np.isnan(self.interval[0]) else list(self.interval)
        return {
            "low": self.low, "high": self.high, "count": self.count, "share": self.share if known else None,
            "interval": bounds, "chance": self.chance if known else None,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Resumptions:
    """Every track that was resumed after a gap.

    Args:
        pids: E, whose.
        gaps: E, seconds between the last picture before and the first after.
        correct: E, whether the right person was nearest.
        candidates: E, the number of people to choose among.
    """

    pids: Int
    gaps: F64
    correct: NDArray[np.bool_]
    candidates: Int

    def shares(self, level: float = LEVEL, replicates: int = REPLICATES, seed: int = 0) -> list[Share]:
        """One share for each of `PERIODS`."""
        return [self._share(low, high, level, replicates, seed) for low, high in PERIODS]

    def _share(self, low: float, high: float, level: float, replicates: int, seed: int) -> Share:
        rows = np.flatnonzero((self.gaps > low) & (self.gaps <= high))
        nothing = float("nan")
        if not len(rows):
            return Share(low, high, 0, nothing, (nothing, nothing), nothing)
        correct, bounds = self.correct[rows].astype(np.float64), (nothing, nothing)
        if len(np.unique(self.pids[rows])) > 1:
            averages = Averages.of(self.pids[rows], {"share": correct})
            bounds = intervals(averages, level, replicates, seed)["share"]
        chance = float((1 / self.candidates[rows]).mean())
        return Share(low, high, len(rows), float(correct.mean()), bounds, chance)


def resumptions(
    vectors: ArrayLike,
    pids: ArrayLike,
    videos: ArrayLike,
    times: ArrayLike,
    *,
    cut: bool = False,
    memory: float = MEMORY,
    seed: int = 0,
) -> Resumptions:
    """Find every track's person again after a gap of 1 to 10 seconds, by appearance alone.

    A track is a run of pictures of one person in one video with no more than a second between two. After a gap, the
    mean embedding of the new track's first second is compared, by cosine, with one mean for every person who was seen
    in that video before: of the last seconds of their latest track up to then. All of them are candidates, also those
    who are in view at that moment, whom a tracker could rule out. A gap after which nobody else had been seen yet asks
    nothing and is left out. So are distractors, who are no one person, junk, and what no video is known of.

    Args:
        vectors: N x D.
        pids, videos, times: N; videos are -1 where unknown, times are in seconds.
        cut: instead of the gaps that the data have, cut a stretch of each length in `PERIODS` out of every track that
            is long enough to leave a second before and after, one at a time, at a random place.
        memory: how many last seconds of a track are remembered.
        seed: of the cuts.

    Raises:
        InputError: lengths that differ, or a time that is not known.
    """
    x, who, where, when = (np.asarray(a) for a in (vectors, pids, videos, times))
    if len({len(a) for a in (x, who, where, when)}) > 1:
        raise InputError("vectors, pids, videos and times: expected as many of each")
    counted = (who > DISTRACTOR) & (where != UNKNOWN)
    if not np.isfinite(when[counted].astype(np.float64)).all():
        raise InputError(
            "tracks can only be followed if every time is known: give times in seconds, or leave the other pictures out"
        )
    x, who, where, when = x[counted], who[counted], where[counted], when[counted]
    x = x.astype(np.float64) / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    rng = np.random.default_rng(seed)
    found: list[tuple[int, float, bool, int]] = []
    for video in np.unique(where):
        tracks = {
            int(pid): _tracks(np.flatnonzero((where == video) & (who == pid)), when)
            for pid in np.unique(who[where == video])
        }
        for pid, mine in tracks.items():
            for before, after in _cuts(mine, when, rng) if cut else pairwise(mine):
                moment = float(when[after[0]])
                gap = float(_rounded(moment - when[before[-1]]))
                if not PERIODS[0][0] < gap <= PERIODS[0][1]:
                    continue
                known = {pid: before} | {
                    other: past
                    for other, theirs in tracks.items()
                    if other != pid and len(past := _latest(theirs, when, moment))
                }
                if len(known) < 2:
                    continue
                kept = [_mean(x[rows[when[rows] > when[rows[-1]] - memory + ROUNDING]]) for rows in known.values()]
                means = np.stack(kept)
                asked = _mean(x[after[when[after] <= moment + FIRST + ROUNDING]])
                nearest = list(known)[int(np.argmax(means @ asked))]
                found.append((pid, gap, nearest == pid, len(known)))
    columns = zip(*found) if found else ((), (), (), ())
    owners, gaps, correct, candidates = columns
    return Resumptions(
        np.array(owners, np.int64), np.array(gaps, np.float64), np.array(correct, bool), np.array(candidates, np.int64)
    )


def _tracks(rows: NDArray[np.intp], when: F64) -> list[NDArray[np.intp]]:
    """Rows of one person in one video as runs without a longer gap, in order of time."""
    ordered = rows[np.argsort(when[rows], kind="stable")]
    return np.split(ordered, np.flatnonzero(np.diff(when[ordered]) > LOST + ROUNDING) + 1)


def _latest(tracks: list[NDArray[np.intp]], when: F64, moment: float) -> NDArray[np.intp]:
    """What a person's latest track shows before a moment."""
    begun = [track for track in tracks if when[track[0]] < moment]
    return begun[-1][when[begun[-1]] < moment] if begun else np.empty(0, np.intp)


def _cuts(
    tracks: list[NDArray[np.intp]], when: F64, rng: np.random.Generator
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """What is left of each track before and after a stretch of each length."""
    parts = []
    for track in tracks:
        time = when[track]
        begin, end = np.triu_indices(len(track), 1)
        gaps = _rounded(time[end] - time[begin])
        inside = np.minimum(time[begin] - time[0], time[-1] - time[end]) >= FIRST - ROUNDING
        for low, high in PERIODS[1:]:
            fits = np.flatnonzero(inside & (gaps > low) & (gaps <= high))
            if len(fits):
                one = fits[rng.integers(len(fits))]
                parts.append((track[: begin[one] + 1], track[end[one] :]))
    return parts


def _rounded(seconds: F64) -> F64:
    """Lengths of time in steps of `ROUNDING`: 2 seconds are 2, however their ends were rounded."""
    lengths: F64 = np.round(seconds, round(-math.log10(ROUNDING)))
    return lengths


def _mean(vectors: F64) -> F64:
    """The mean of vectors, of length 1."""
    mean = vectors.mean(axis=0)
    normal: F64 = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return normal
