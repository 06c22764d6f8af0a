"""Appearance and time in one score: the published fusion of st-ReID, and calibrated log-odds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from reidentify.errors import InputError
from reidentify.ranking.distance import Rows, as_array
from reidentify.ranking.intervals import Intervals
from reidentify.ranking.matches import match
from reidentify.ranking.parts import appearance, pair_similarities
from reidentify.ranking.protocol import NO_CAMERAS
from reidentify.ranking.spacetime import SpaceTime, read
from reidentify.values import DISTRACTOR, Embeddings, Sightings

Combine: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]

SIGMAS = (2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""Bandwidths, in bins, that `LogOddsFusion.fit` tries."""
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Strengths of the prior that `LogOddsFusion.fit` tries."""
DIFFERENT_PAIRS = 500_000
"""Pairs of different people that `LogOddsFusion.fit` draws where there are more."""
RIDGE = 1e-4
"""Keeps the coefficients finite where the held-out pairs are told apart without error."""


class JointScorer:
    """A Scorer out of cosine similarities, a table over intervals, and a function that makes distances of the two.

    Torch computes the cosines on `device` where one is given; the look-up of intervals and the joint score stay on the
    CPU.
    """

    def __init__(
        self, query: Embeddings, gallery: Embeddings, table: Intervals, combine: Combine, device: str | None = None
    ) -> None:
        self._appearance = appearance(query, gallery, device)
        self._intervals = table.between(query.sightings, gallery.sightings)
        self._combine = combine

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float32]:
        """Distances of some query rows to some gallery rows. len(query_rows) x len(gallery_rows), float32."""
        cosine = np.asarray(1 - as_array(self._appearance.block(query_rows, gallery_rows)), np.float32)
        return self._combine(cosine, self._intervals.block(query_rows, gallery_rows))


class LogisticFusion:
    """The published joint score: f(cosine; 1, 5) f(p; 2, 5), with f(x; l, g) = 1 / (1 + l exp(-g x)).

    p is the value of `SpaceTime.probabilities`; of rows without camera or time it is 0, as for a pair of cameras that
    training did not link. Wang et al., "Spatial-Temporal Person Re-identification", AAAI 2019, equation 5.

    Args:
        spacetime: fitted; with `visits="mean"` and bins of 100 frames it is the published model.
        sigma: bandwidth in bins.
        visual, temporal: l and g of the two factors.
    """

    def __init__(
        self,
        spacetime: SpaceTime,
        sigma: float = 50.0,
        visual: Sequence[float] = (1.0, 5.0),
        temporal: Sequence[float] = (2.0, 5.0),
    ) -> None:
        self.spacetime, self.sigma = spacetime, sigma
        self.visual, self.temporal = tuple(visual), tuple(temporal)

    def __repr__(self) -> str:
        return f"LogisticFusion({self.spacetime!r}, sigma={self.sigma:g}, {self.visual}, {self.temporal})"

    def scorer(self, query: Embeddings, gallery: Embeddings, device: str | None = None) -> JointScorer:
        """Distances are 1 minus the joint score."""
        return JointScorer(query, gallery, self.spacetime.probabilities(self.sigma), self._distance, device)

    def _distance(self, cosine: NDArray[np.float32], probability: NDArray[np.float32]) -> NDArray[np.float32]:
        return 1 - _logistic(cosine, *self.visual) * _logistic(probability, *self.temporal)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write statistics and settings, as `SpaceTime.save` does."""
        settings = {"sigma": self.sigma, "visual": self.visual, "temporal": self.temporal}
        self.spacetime.save(path, {"kind": "logistic", **settings})


class LogOddsFusion:
    """Calibrated log-odds that two sightings show one person: slope * cosine + intercept + weight * log ratio.

    The log ratio is the value of `SpaceTime.log_ratios`; of rows without camera or time it is 0, so that appearance
    alone decides. The odds are those of a pair that is as likely of one person as of two before it is looked at; add
    the log of other prior odds to the intercept.

    Args:
        spacetime: fitted.
        slope, intercept, weight: of the log-odds.
        sigma, strength: of the log ratios, as `SpaceTime.log_ratios` takes them.
        basis: what the numbers rest on, as `fit` states it.
    """

    def __init__(
        self,
        spacetime: SpaceTime,
        slope: float,
        intercept: float = 0.0,
        weight: float = 1.0,
        sigma: float = 5.0,
        strength: float = 10.0,
        basis: Mapping[str, Any] | None = None,
    ) -> None:
        self.spacetime, self.slope, self.intercept, self.weight = spacetime, slope, intercept, weight
        self.sigma, self.strength, self.basis = sigma, strength, dict(basis or {})

    def __repr__(self) -> str:
        return (
            f"LogOddsFusion({self.spacetime!r}, {self.slope:.3g} * cosine {self.intercept:+.3g}"
            f" {self.weight:+.3g} * log ratio, sigma={self.sigma:g}, strength={self.strength:g})"
        )

    @classmethod
    def fit(
        cls,
        spacetime: SpaceTime,
        held_out: Embeddings,
        sigmas: Sequence[float] = SIGMAS,
        strengths: Sequence[float] = STRENGTHS,
        seed: int = 0,
    ) -> LogOddsFusion:
        """Logistic regression on pairs of held-out training images, at bandwidth and strength of the smallest loss.

        Pairs of one camera are left out unless the statistics learn them. All pairs of one person count as much as all
        pairs of different people; of the latter at most `DIFFERENT_PAIRS` are drawn.

        Args:
            spacetime: fitted on other identities than these.
            held_out: embeddings of training identities that neither the network nor `spacetime` was fitted on, as
                `Benchmark.holdout` sets them aside.
            sigmas: bandwidths to try, in bins.
            strengths: of the prior, to try.
            seed: of the draw.

        Raises:
            InputError: identities that `spacetime` has seen, or no pair of one kind.
        """
        rows = held_out[held_out.sightings.pids > DISTRACTOR]
        known = np.intersect1d(rows.sightings.pids, spacetime.visits_.pids)
        if len(known):
            raise InputError(
                f"{len(known)} of the {len(rows.sightings.identities)} held-out identities, {known[0]} the first, are"
                " among those that the space-time statistics were learned from: learn them on the rows that"
                " Benchmark.holdout leaves"
            )
        i, j, same = _pairs(rows.sightings, spacetime.same_camera == "learn", seed)
        cosine = pair_similarities(rows, i, j).astype(np.float64)
        camids, times = rows.sightings.camids, rows.sightings.row_times()
        assert camids is not None
        assert times is not None
        found = {}
        for sigma, strength in itertools.product(sigmas, strengths):
            ratio = spacetime.log_ratio(camids[i], camids[j], times[j] - times[i], sigma, strength)
            found[sigma, strength] = _regress(np.stack([cosine, ratio], 1), same)
        sigma, strength = min(found, key=lambda tried: found[tried][1])
        slope, weight, intercept = found[sigma, strength][0]
        basis = {
            "identities": len(rows.sightings.identities),
            "same_pairs": int(same.sum()),
            "different_pairs": int((~same).sum()),
            "log_loss": {f"sigma {s:g}, strength {p:g}": loss for (s, p), (_, loss) in found.items()},
            "log_loss_of_appearance": _regress(cosine[:, None], same)[1],
        }
        return cls(spacetime, slope, intercept, weight, sigma, strength, basis)

    def scorer(self, query: Embeddings, gallery: Embeddings, device: str | None = None) -> JointScorer:
        """Distances are -log P(one person)."""
        return JointScorer(query, gallery, self.spacetime.log_ratios(self.sigma, self.strength), self._distance, device)

    def _distance(self, cosine: NDArray[np.float32], ratio: NDArray[np.float32]) -> NDArray[np.float32]:
        odds = np.float32(self.slope) * cosine + np.float32(self.intercept) + np.float32(self.weight) * ratio
        # log(1 + exp(-odds)), accurate where the probability is nearly 1 and finite where it is nearly 0.
        return np.maximum(-odds, 0) + np.log1p(np.exp(-np.abs(odds)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write statistics and settings, as `SpaceTime.save` does."""
        names = ("slope", "intercept", "weight", "sigma", "strength", "basis")
        self.spacetime.save(path, {"kind": "log-odds", **{name: getattr(self, name) for name in names}})


Fusion: TypeAlias = LogisticFusion | LogOddsFusion
KINDS: Mapping[str, type[Fusion]] = {"logistic": LogisticFusion, "log-odds": LogOddsFusion}


def load(path: str | os.PathLike[str]) -> Fusion:
    """Read what the `save` of a joint score wrote, whichever it is.

    Raises:
        InputError: a file is missing or is none of these, or holds statistics without a joint score.
    """
    spacetime, settings = read(path)
    if settings is None:
        raise InputError(f"{path}: holds space-time statistics without a joint score; make one of SpaceTime.load(path)")
    try:
        settings = dict(settings)
        return KINDS[settings.pop("kind")](spacetime, **settings)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a joint score of this program ({error!r})") from None


def _logistic(x: NDArray[np.float32], scale: float, growth: float) -> NDArray[np.float32]:
    """1 / (1 + scale exp(-growth x))."""
    return 1 / (1 + np.float32(scale) * np.exp(np.float32(-growth) * x))


def _pairs(
    sightings: Sightings, one_camera: bool, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Pairs of rows, and whether they show one person."""
    pids, camids, count = sightings.pids, sightings.camids, len(sightings)
    if camids is None or sightings.times is None:
        raise InputError("held-out sightings need camids and times, so that the weight of time can be learned")
    runs = match(pids, pids, None, None, NO_CAMERAS).positives
    forward = runs.owners() < runs.values
    if count * (count - 1) // 2 > DIFFERENT_PAIRS:
        i, j = np.random.default_rng(seed).integers(count, size=(2, DIFFERENT_PAIRS))
    else:
        i, j = np.triu_indices(count, 1)
    others = pids[i] != pids[j]
    i, j = (np.concatenate(pair) for pair in ((runs.owners()[forward], i[others]), (runs.values[forward], j[others])))
    kept = (camids[i] != camids[j]) | one_camera
    i, j = i[kept], j[kept]
    same = pids[i] == pids[j]
    if same.all() or not same.any():
        raise InputError(
            f"the held-out sightings make {same.sum()} pairs of one person and {(~same).sum()} of different people, and"
            " need both, by two cameras: hold out more identities"
        )
    return i, j, same


def _regress(features: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Logistic regression with both classes weighted equally.

    Args:
        features: N x F; none may speak against `same` by being large.
        same: N.

    Returns:
        F coefficients, none below 0, and the intercept; and the log loss.
    """
    mean, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-12)
    inputs = np.concatenate([(features - mean) / spread, np.ones((len(features), 1))], axis=1)
    sign, weights = np.where(same, 1.0, -1.0), 0.5 * np.where(same, 1 / same.sum(), 1 / (~same).sum())

    def loss(coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = sign * (inputs @ coefficients)
        slope = weights * sign * expit(-odds)
        penalty = RIDGE * coefficients
        return weights @ np.logaddexp(0, -odds) + penalty @ coefficients / 2, penalty - slope @ inputs

    bounds = [(0, None)] * features.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
    scaled = found.x[:-1] / spread
    return np.append(scaled, found.x[-1] - scaled @ mean), float(found.fun)
