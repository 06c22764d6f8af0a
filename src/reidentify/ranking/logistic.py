"""A logistic curve through counted pairs of one person and of two, and how well it holds for people it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from reidentify.ranking.distance import Floats
from reidentify.ranking.verify import Counts

FOLDS = 5
BINS = 10
"""Of equal width over the probability, in which predictions are compared with what was observed."""
_EXPONENT, _LINES = 15, (1 << 16) + 1
"""Cosine distances, from 0 to 2, are counted in steps of 2^-15."""


@dataclass(frozen=True)
class Bin:
    """Pairs to which a similar probability was given.

    Args:
        predicted: the mean probability given to them.
        observed: how often they were of one person. In both, pairs of one person and of two weigh equally in all.
        same, different: how many pairs of one person and of two there are.
    """

    predicted: float
    observed: float
    same: int
    different: int


class PairsByFold:
    """Counts pairs by distance, by whether they are of one person, and by the folds of their two identities.

    Args:
        pids: every identity, as often as one likes.
        own: those of them that have a pair of their own; every fold gets its share of them.
        seed: of the folds.

    Attributes:
        folds: the fold of each identity, in rising order of pid.
        identities: how many have a pair of their own.
    """

    def __init__(self, pids: NDArray[np.int64], own: NDArray[np.int64], seed: int) -> None:
        self._identities = np.unique(pids)
        paired = np.isin(self._identities, own)
        order = np.random.default_rng(seed).permutation(len(paired))
        order = order[np.argsort(~paired[order], kind="stable")]
        self.folds = np.empty(len(order), np.int64)
        self.folds[order] = np.arange(len(order)) % FOLDS
        self.identities = int(paired.sum())
        self._table = np.zeros((FOLDS, FOLDS, 2, _LINES), np.int64)

    def add(self, distances: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Take cosine distances with the identities of both sides."""
        a, b = (np.searchsorted(self._identities, pids) for pids in (first, second))
        lines = np.clip(np.ceil(distances * distances.dtype.type(2**_EXPONENT)), 0, _LINES - 1).astype(np.int64)
        place = self.folds[a], self.folds[b], (a == b).astype(np.int64), lines
        cells = np.ravel_multi_index(place, self._table.shape)
        self._table += np.bincount(cells, minlength=self._table.size).reshape(self._table.shape)

    def counts(self) -> Counts:
        """All pairs."""
        return _counts(self._table.sum(axis=(0, 1)))

    def cross_validated(self) -> Judged:
        """Every pair, judged by a curve fitted to pairs of none of the people in the folds of its two identities."""
        log_odds, same, different = [], [], []
        for a, b in combinations_with_replacement(range(FOLDS), 2):
            others = [fold for fold in range(FOLDS) if fold not in (a, b)]
            slope, intercept = logistic(_counts(self._table[np.ix_(others, others)].sum(axis=(0, 1))))
            judged = _counts(self._table[a, b] if a == b else self._table[a, b] + self._table[b, a])
            log_odds.append(slope * similarities(judged) + intercept)
            same.append(judged.same)
            different.append(judged.different)
        return Judged(np.concatenate(log_odds), np.concatenate(same), np.concatenate(different))


@dataclass(frozen=True, eq=False)
class Judged:
    """Log-odds that were predicted (M, float64), and how many pairs of one person and of two they were given to."""

    log_odds: NDArray[np.float64]
    same: NDArray[np.int64]
    different: NDArray[np.int64]

    @property
    def _shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the pairs of one person and of two weigh: half in all each. M each."""
        return self.same / (2 * self.same.sum()), self.different / (2 * self.different.sum())

    def log_loss(self) -> float:
        """Mean negative log-likelihood, in nats."""
        same, different = self._shares
        return float(same @ np.logaddexp(0, -self.log_odds) + different @ np.logaddexp(0, self.log_odds))

    def _sums(self) -> NDArray[np.float64]:
        """For each bin: its weight, that times the mean prediction, its weight of one person, and pairs of both."""
        p, (same, different) = probability(self.log_odds), self._shares
        place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
        columns = same + different, (same + different) * p, same, self.same, self.different
        return np.stack([np.bincount(place, column, BINS) for column in columns], axis=1)

    def bins(self) -> tuple[Bin, ...]:
        """Predicted and observed, bin by bin."""
        filled = [row for row in self._sums().tolist() if row[0]]
        return tuple(Bin(p / w, seen / w, int(same), int(different)) for w, p, seen, same, different in filled)

    def error(self) -> float:
        """Expected calibration error: the mean distance of predicted and observed over the bins, by weight."""
        _, predicted, observed, _, _ = self._sums().T
        return float(np.abs(predicted - observed).sum())


def _counts(cells: NDArray[np.int64]) -> Counts:
    return Counts(_EXPONENT, 0, same=cells[1], different=cells[0])


def similarities(counts: Counts) -> NDArray[np.float64]:
    """The cosine similarity in the middle of each step of the grid."""
    return np.asarray(1 - (counts.first + np.arange(len(counts.same)) - 0.5) * counts.step, np.float64)


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of log-odds; the shape is kept."""
    return np.asarray(np.exp(-np.logaddexp(0, -log_odds)), np.float64)


def logistic(counts: Counts) -> tuple[float, float]:
    """Slope and intercept of the log-odds over the similarity, both classes weighing equally, by Newton's method.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Lin, Lin and Weng, "A Note on Platt's
    Probabilistic Outputs", Machine Learning 68, 2007 (the method).
    """
    same, different = counts.same.sum(), counts.different.sum()
    used = np.flatnonzero(counts.same + counts.different)
    if len(used) == 1:  # all are equally alike
        return 0.0, 0.0
    s = np.stack([similarities(counts)[used], np.ones(len(used))])
    shares = counts.same[used] / (2 * same), counts.different[used] / (2 * different)
    # Platt's targets stand in for certainty: nobody has seen so many pairs that the next could not be otherwise.
    total = shares[0] + shares[1]
    wanted = shares[0] * (same + 1) / (same + 2) + shares[1] / (different + 2)

    def loss(at: NDArray[np.float64]) -> float:
        return float(total @ np.logaddexp(0, at @ s) - wanted @ (at @ s))

    at = np.zeros(2)
    for _ in range(100):
        p = probability(at @ s)
        gradient = s @ (total * p - wanted)
        if np.abs(gradient).max() < 1e-12:
            break
        step = np.linalg.solve((s * (total * p * (1 - p))) @ s.T, gradient)
        # A full step may go too far from where the curve is flat; the loss is convex, so a shorter one goes down.
        while loss(at - step) > loss(at) and np.abs(step).max() > 1e-12:
            step /= 2
        at = at - step
    return float(at[0]), float(at[1])
