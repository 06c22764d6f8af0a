"""How sure a score is: bootstrap intervals over identities, and the paired comparison of two results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.ranking.distance import blocks
from reidentify.values import DISTRACTOR

REPLICATES = 2000
PERMUTATIONS = 10_000
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Averages:
    """Scores as ratios of sums over identities: what resampling identities needs to know of every query.

    The queries of one person succeed and fail together, so people are drawn, not queries. Queries of nobody known (pid
    0 or -1) may be of as many people, so each of them is an identity of its own.

    Args:
        names: M names of scores.
        sums: K x M, float64. Sum of each score over the queries of an identity.
        counts: K x M, float64. How many queries each of these sums has.
    """

    names: tuple[str, ...]
    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    @staticmethod
    def of(pids: NDArray[np.int64], scores: dict[str, NDArray[np.float64]]) -> Averages:
        """From the identity of each query and its scores (Q each, NaN where a query does not count)."""
        people = np.where(pids > DISTRACTOR, pids, DISTRACTOR - np.arange(len(pids)))
        _, owners = np.unique(people, return_inverse=True)
        values = np.stack(list(scores.values()), axis=1)
        counted = ~np.isnan(values)
        sums, counts = np.zeros((2, owners.max() + 1, len(scores)))
        np.add.at(sums, owners, np.where(counted, values, 0))
        np.add.at(counts, owners, counted)
        return Averages(tuple(scores), sums, counts)

    def resampled(self, replicates: int, seed: int) -> NDArray[np.float64]:
        """Scores of `replicates` draws of K identities with replacement. replicates x M."""
        people, rng = len(self.sums), np.random.default_rng(seed)
        scores = np.empty((replicates, len(self.names)))
        for rows in blocks(replicates, people):
            drawn = rng.multinomial(people, np.full(people, 1 / people), rows.stop - rows.start).astype(np.float64)
            with np.errstate(invalid="ignore"):
                scores[rows] = (drawn @ self.sums) / (drawn @ self.counts)
        return scores


def intervals(averages: Averages, level: float, replicates: int, seed: int) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals over identities (Efron and Tibshirani, 1993, chapter 13).

    Raises:
        InputError: a level outside 0 to 1, or fewer than two identities.
    """
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, got {level}")
    if len(averages.sums) < 2:
        raise InputError("an interval needs the queries of at least two identities")
    draws = averages.resampled(replicates, seed)
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(averages.names, low, high)}


def wilson(share: float, count: int, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a share of `count` independent cases (Wilson, JASA 1927). Unlike a bootstrap interval it
    has a width where the share is 0 or 1.

    Raises:
        InputError: a share or a level outside 0 to 1, or no cases.
    """
    if not (0 <= share <= 1 and count >= 1 and 0 < level < 1):
        raise InputError(
            f"an interval needs a share and a level within 0 to 1, and cases: got {share}, {level}, {count}"
        )
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, half = share + z * z / (2 * count), z * sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    low, high = ((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True)
class Difference:
    """One score of two results.

    Args:
        name: of the score.
        first, second: its values, fractions.
        low, high: 95 % interval of second - first.
        p: probability of a difference at least as large if the two were exchangeable for every person.
    """

    name: str
    first: float
    second: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Two results on the same queries, score by score.

    Args:
        differences: one per score.
        identities: number of people over which they were resampled.
        names: what the two results are called.
    """

    differences: Sequence[Difference]
    identities: int
    names: tuple[str, str] = ("first", "second")

    def __str__(self) -> str:
        """A table in percent."""
        lines = [f"first: {self.names[0]}", f"second: {self.names[1]}"]
        lines.append(f"  {'':<14}{'first':>8}{'second':>8}{'difference':>12}  {'95 % interval':<18}{'p':>7}")
        for d in self.differences:
            first, second, change, low, high = (100 * v for v in (d.first, d.second, d.second - d.first, d.low, d.high))
            interval = f"[{low:+.2f}, {high:+.2f}]"
            p = "<0.001" if d.p < 0.001 else f"{d.p:.3f}"
            lines.append(f"  {d.name:<14}{first:8.2f}{second:8.2f}{change:+12.2f}  {interval:<18}{p:>7}")
        lines.append(
            f"Paired over {self.identities} identities: bootstrap interval of the difference; p by exchanging the two"
            " results at random, person by person."
        )
        return "\n".join(lines)


def paired(
    first: Averages, second: Averages, values: Sequence[tuple[float, float]], names: tuple[str, str], seed: int
) -> Comparison:
    """Compare two results identity by identity: paired bootstrap, and a permutation test that exchanges them."""
    # The same seed draws the same identities for both: that is what pairs them.
    change = second.resampled(REPLICATES, seed) - first.resampled(REPLICATES, seed)
    low, high = np.nanquantile(change, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    by_person = second.sums - first.sums
    observed = np.abs(by_person.sum(axis=0))
    rng, extreme = np.random.default_rng(seed), np.zeros(len(observed))
    for rows in blocks(PERMUTATIONS, len(by_person)):
        signs = rng.choice([-1.0, 1.0], (rows.stop - rows.start, len(by_person)))
        # Rounding of sums must not hide that a permutation gives the observed difference itself.
        extreme += np.count_nonzero(np.abs(signs @ by_person) >= observed * (1 - 1e-9), axis=0)
    p = (1 + extreme) / (1 + PERMUTATIONS)
    return Comparison(
        [
            Difference(name, a, b, float(low[i]), float(high[i]), float(p[i]))
            for i, (name, (a, b)) in enumerate(zip(first.names, values))
        ],
        len(first.sums),
        names,
    )
