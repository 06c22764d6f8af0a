"""How probably two pictures show one person: a logistic curve over the cosine similarity, fitted on held-out people."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError
from reidentify.hints import fits, words
from reidentify.ranking.distance import as_array, blocks
from reidentify.ranking.logistic import Bin, Judged, PairsByFold, logistic, probability, similarities
from reidentify.ranking.matches import UNKNOWN
from reidentify.ranking.parts import appearance
from reidentify.ranking.verify import Verification
from reidentify.values import DISTRACTOR, Embeddings

FALSE_RATES = (1e-2, 1e-3)
"""The false positive rates at which thresholds are stated."""
IDENTITIES = 10
"""So many identities at least must have a pair of their own."""
PAIRS_DIFFERENT = 10_000
"""So many pairs of two people at least: ten of them then lie beyond the threshold at FPR 1e-3."""


@dataclass(frozen=True)
class Threshold:
    """A cosine similarity from which on two pictures are taken to show one person.

    Args:
        fpr: the false positive rate that it does not exceed on the held-out pairs.
        tpr: its true positive rate there.
        similarity: the threshold, itself accepted.
    """

    fpr: float
    tpr: float
    similarity: float


@dataclass(frozen=True)
class Calibration:
    """The probability that two pictures show one person, given their cosine similarity.

    P(same | s) = 1 / (1 + exp(-(slope s + intercept))) at even prior odds: pairs of one person and of two weigh
    equally in all, however many there are of either. `probability` takes another prior.

    Sources: Platt, "Probabilistic Outputs for Support Vector Machines", 1999 (the curve, and its targets, which keep it
    finite where the classes do not overlap); Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
    section 2 (reliability and expected calibration error).

    Args:
        slope: above 0, per unit of similarity.
        intercept: log-odds at similarity 0.
        thresholds: at the false positive rates 1e-2 and 1e-3.
        identities: held-out identities that have a pair of their own.
        pairs_same, pairs_different: pairs of one person and of two that it rests on.
        data: the name of the data they come from.
        log_loss: mean negative log-likelihood in nats, cross-validated over identities; ln 2 = 0.693 says nothing.
        calibration_error: expected calibration error, cross-validated alike: the mean distance in `reliability` between
            predicted and observed.
        reliability: the cross-validated predictions, in `BINS` bins of equal width; empty bins are left out.
    """

    slope: float
    intercept: float
    thresholds: tuple[Threshold, ...]
    identities: int
    pairs_same: int
    pairs_different: int
    data: str
    log_loss: float
    calibration_error: float
    reliability: tuple[Bin, ...]

    @staticmethod
    def fit(held_out: Embeddings, data: str, *, seed: int = 0) -> Calibration:
        """Fit on all pairs of people whom the network was not trained on.

        Each pair of two rows with an identity counts once. Where cameras are known, only pairs of different cameras
        do, for one person and for two; a row whose camera is unknown makes a pair with every other.

        Args:
            held_out: N rows, as of `Benchmark.holdout`; their vectors are compared by cosine similarity.
            data: the name of the data, for the record.
            seed: of the split into folds of identities.

        Raises:
            InputError: fewer than `IDENTITIES` identities with a pair or than `PAIRS_DIFFERENT` pairs of two people, or
                similarities that do not tell people apart.
        """
        held_out = held_out[held_out.sightings.pids > DISTRACTOR]
        pids, cameras, alone = held_out.sightings.pids, held_out.sightings.camids, -2 - np.arange(len(held_out))
        # An unknown camera differs from every other, so that its row makes a pair with any.
        cameras = alone if cameras is None else np.where(cameras == UNKNOWN, alone, cameras)
        views = np.unique(np.stack([pids, cameras]), axis=1)[0]
        pairs = PairsByFold(pids, views[1:][views[1:] == views[:-1]], seed)
        scorer = appearance(held_out, held_out)
        for rows in blocks(len(pids), len(pids)):
            rest = slice(rows.start, len(pids))
            first, second = np.nonzero(np.triu(cameras[rows, None] != cameras[rest], 1))
            pairs.add(as_array(scorer.block(rows, rest))[first, second], pids[rows][first], pids[rest][second])
        return _calibrated(pairs, data)

    @staticmethod
    def of_pairs(
        similarities: ArrayLike, first_pids: ArrayLike, second_pids: ArrayLike, data: str, *, seed: int = 0
    ) -> Calibration:
        """Fit on pairs that are given.

        Args:
            similarities: M cosine similarities.
            first_pids, second_pids: M integers each. The identities of the two pictures.
            data: the name of the data, for the record.
            seed: of the split into folds of identities.

        Raises:
            InputError: as `fit`, or columns that do not fit together.
        """
        values, first, second = np.asarray(similarities), np.asarray(first_pids), np.asarray(second_pids)
        if values.ndim != 1 or not values.shape == first.shape == second.shape:
            raise InputError(
                f"similarities and the two columns of pids must be of one length, got {values.shape}, {first.shape} and"
                f" {second.shape}"
            )
        if not (np.abs(values) <= 1 + 1e-5).all():
            raise InputError("similarities must be cosine similarities, from -1 to 1: at least one is outside or NaN")
        pairs = PairsByFold(np.concatenate([first, second]), first[first == second], seed)
        pairs.add(1 - values.astype(np.float64), first, second)
        return _calibrated(pairs, data)

    def probability(self, similarity: ArrayLike, prior: float = 0.5) -> NDArray[np.float64]:
        """How probably pictures of these cosine similarities show one person; the shape is kept.

        Args:
            similarity: cosine similarities.
            prior: how probable it is before looking, between 0 and 1. The odds of it multiply those of the curve
                (Bayes' rule); 0.5 leaves these as they are.

        Raises:
            InputError: a prior that is not between 0 and 1.
        """
        if not 0 < prior < 1:
            raise InputError(f"prior must lie between 0 and 1, got {prior}")
        log_odds = self.slope * np.asarray(similarity, np.float64) + self.intercept + math.log(prior / (1 - prior))
        return probability(log_odds)

    def at(self, fpr: float) -> Threshold:
        """The threshold at one of the stated false positive rates.

        Raises:
            InputError: no threshold is stated at that rate.
        """
        for threshold in self.thresholds:
            if threshold.fpr == fpr:
                return threshold
        stated = ", ".join(f"{threshold.fpr:g}" for threshold in self.thresholds)
        raise InputError(f"the calibration states no threshold at FPR {fpr:g}, only at {stated}")

    def check(self, verification: Verification) -> tuple[tuple[Bin, ...], float]:
        """How the probabilities hold on other pairs.

        Args:
            verification: of embeddings by the same network, with cosine distances.

        Returns:
            Bins as in `reliability`, and their expected calibration error.

        Raises:
            InputError: a verification by another distance than the cosine distance.
        """
        if not verification.cosine:
            raise InputError("a calibration holds for cosine similarities: verify embeddings without a scorer")
        log_odds = self.slope * similarities(verification.counts) + self.intercept
        judged = Judged(log_odds, verification.counts.same, verification.counts.different)
        return judged.bins(), judged.error()

    def __str__(self) -> str:
        """What it says and what it rests on."""
        at = "; ".join(
            f"FPR {t.fpr:g} at similarity {t.similarity:.4f} (TPR {100 * t.tpr:.1f} %)" for t in self.thresholds
        )
        return (
            f"P(same) = 1 / (1 + exp(-({self.slope:.3f} s {self.intercept:+.3f}))) for a cosine similarity s, at even"
            f" prior odds\n  {at}\n  log loss {self.log_loss:.4f}, calibration error"
            f" {100 * self.calibration_error:.2f} %, cross-validated over identities\n  {self.rests_on}"
        )

    @property
    def rests_on(self) -> str:
        """What it rests on, in words."""
        return (
            f"rests on {self.identities:,} held-out identities of {self.data}: {self.pairs_same:,} pairs of one person,"
            f" {self.pairs_different:,} of two"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, as in the card of weights under `calibration`."""
        content = dataclasses.asdict(self)
        return content | {name: list(content[name]) for name in ("thresholds", "reliability")}

    @staticmethod
    def from_dict(content: object) -> Calibration:
        """The inverse of `to_dict`.

        Raises:
            InputError: something is missing, unknown, or not what it should be; it is named.
        """
        read = _read(Calibration, content, "calibration")
        if read.slope <= 0:
            raise InputError(f"calibration: slope must be above 0, got {read.slope}")
        return read


def _calibrated(pairs: PairsByFold, data: str) -> Calibration:
    """The curve of all pairs, and how well curves fitted without some people do on these."""
    counts = pairs.counts()
    same, different = int(counts.same.sum()), int(counts.different.sum())
    if pairs.identities < IDENTITIES:
        raise InputError(
            f"{data}: {pairs.identities} identities have two pictures to compare, and a calibration needs at least"
            f" {IDENTITIES}: hold more identities out"
        )
    if different < PAIRS_DIFFERENT:
        raise InputError(
            f"{data}: {different:,} pairs of two people are too few for a threshold at FPR"
            f" {min(FALSE_RATES):g}, which needs at least {PAIRS_DIFFERENT:,}: hold more identities out"
        )
    slope, intercept = logistic(counts)
    if slope <= 0:
        raise InputError(f"{data}: pairs of one person are no more alike than pairs of two: nothing to calibrate")
    points = counts.curve(cosine=True).points(FALSE_RATES)
    thresholds = tuple(Threshold(r, p.true_rate, p.similarity) for r, p in points.items())
    judged = pairs.cross_validated()
    return Calibration(
        slope, intercept, thresholds, pairs.identities, same, different, data,
        judged.log_loss(), judged.error(), judged.bins(),
    )  # fmt: skip


def _read(kind: type[Any], content: object, where: str) -> Any:
    """One of the dataclasses above out of JSON, every field checked against its type."""
    types = typing.get_type_hints(kind)
    if not isinstance(content, Mapping) or content.keys() != types.keys():
        got = ", ".join(sorted(map(str, content))) if isinstance(content, Mapping) else type(content).__name__
        raise InputError(f"{where}: expected the fields {', '.join(sorted(types))}, got {got}: calibrate again")
    values: dict[str, Any] = {}
    for name, wanted in types.items():
        value, place = content[name], f"{where}.{name}"
        if typing.get_origin(wanted) is tuple:
            if not isinstance(value, (list, tuple)):
                raise InputError(f"{place}: expected a list, got {value!r}: calibrate again")
            inner = typing.get_args(wanted)[0]
            values[name] = tuple(_read(inner, one, f"{place}[{i}]") for i, one in enumerate(value))
        elif fits(value, wanted):
            values[name] = value
        else:
            raise InputError(f"{place}: expected {words(wanted)}, got {value!r}: calibrate again")
    return kind(**values)
