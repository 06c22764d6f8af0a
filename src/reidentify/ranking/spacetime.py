"""Space and time: how long people take from one camera to another, learned from training sightings.

After Wang et al., "Spatial-Temporal Person Re-identification", AAAI 2019, section 3.2, and its published code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify import files
from reidentify.errors import InputError
from reidentify.ranking.distance import blocks
from reidentify.ranking.intervals import Intervals, bins_of, positions, smoothed
from reidentify.ranking.matches import UNKNOWN, match
from reidentify.ranking.protocol import NO_CAMERAS
from reidentify.values import DISTRACTOR, Sightings

if TYPE_CHECKING:
    from reidentify.ranking.clocks import Clocks

FILE = "spacetime.safetensors"
"""Where statistics lie in a folder that is named instead of them."""
FORMAT = 2
"""The layout of the files that `SpaceTime.save` writes and `SpaceTime.load` understands."""
TINY = 1e-7
"""What the published code adds to the sums that it divides by."""
_COLUMNS = ("pids", "camids", "times")
_SETTINGS = ("bin_width", "bins", "visits", "visit_gap", "same_camera")


@dataclass(frozen=True, eq=False)
class Visits:
    """When people stood before cameras, sorted by identity, camera and time.

    Args:
        pids, camids: V, int64.
        times: V, float64, seconds; the mean over the sightings of a visit.
    """

    pids: NDArray[np.int64]
    camids: NDArray[np.int64]
    times: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pids)

    @staticmethod
    def of(
        pids: NDArray[np.int64], camids: NDArray[np.int64], times: NDArray[np.float64], gap: float = np.inf
    ) -> Visits:
        """Sightings of one identity at one camera are one visit until more than `gap` seconds pass without any."""
        order = np.lexsort((times, camids, pids))
        pids, camids, times = pids[order], camids[order], times[order]
        new = (np.diff(pids) != 0) | (np.diff(camids) != 0) | (np.diff(times) > gap)
        starts = np.flatnonzero(np.concatenate([[True], new]))
        return Visits(
            pids[starts], camids[starts], np.add.reduceat(times, starts) / np.diff(np.append(starts, len(order)))
        )


class SpaceTime:
    """The statistics of a camera network: intervals between sightings of one person, and of different people.

    Args:
        bin_width: seconds. Intervals are counted in bins (published: 100 frames, which are 4 s on Market-1501).
        bins: on each side of zero (published: 5000). Longer intervals are taken for the longest.
        visits: `cluster`: an identity's sightings at a camera are one visit until more than `visit_gap` seconds pass
            without any. `mean`: they are one visit at the mean of their times, as published, even if people return.
        visit_gap: seconds.
        same_camera: of `log_ratios`. `never`: two sightings by one camera are held for different people, as firmly as
            the most unlikely interval; right where a protocol ignores an identity's matches by the query's camera.
            `learn`: from the visits to one camera, as between cameras; right for searching live, where a person may
            be found again by the same camera.

    Learned by `fit`: `visits_`; `left_out_`, the number of training rows without identity, camera or time; `cameras_`
    (C, sorted); `people_` (C x C: identities seen by both cameras).

    Raises:
        InputError: an argument out of range.
    """

    def __init__(
        self,
        bin_width: float = 4.0,
        bins: int = 5000,
        visits: Literal["cluster", "mean"] = "cluster",
        visit_gap: float = 60.0,
        same_camera: Literal["never", "learn"] = "never",
    ) -> None:
        if not (bin_width > 0 and bins >= 1 and visit_gap >= 0):
            raise InputError(
                "space-time statistics need bin_width above 0, bins of at least 1 and no negative visit_gap; got"
                f" {bin_width}, {bins} and {visit_gap}"
            )
        if visits not in ("cluster", "mean") or same_camera not in ("never", "learn"):
            raise InputError(
                f"visits must be cluster or mean, and same_camera never or learn; got {visits!r} and {same_camera!r}"
            )
        self.bin_width, self.bins, self.visits, self.visit_gap = bin_width, bins, visits, visit_gap
        self.same_camera = same_camera

    def __repr__(self) -> str:
        if not hasattr(self, "visits_"):
            return f"SpaceTime(bins of {self.bin_width:g} s, not fitted)"
        identities, linked = len(np.unique(self.visits_.pids)), int((np.triu(self.people_, 1) > 0).sum())
        return (
            f"SpaceTime(bins of {self.bin_width:g} s, {identities} identities, {len(self.visits_)} visits,"
            f" {len(self.cameras_)} cameras, {linked} pairs of cameras)"
        )

    def fit(self, train: Sightings) -> SpaceTime:
        """Learn from training sightings.

        Rows without identity (distractors and junk), camera or time are left out. The work grows with the square of
        the number of visits.

        Raises:
            InputError: rows of the query or the gallery, or nobody who was seen by two cameras at known times.
        """
        if train.split is not None and (wrong := int(np.isin(train.split, ["query", "gallery"]).sum())):
            raise InputError(
                f"space-time statistics are learned from training rows alone, and {wrong} of these {len(train)} are of"
                " the query or the gallery: give the benchmark's train"
            )
        if not len(train):
            raise InputError("space-time statistics need training rows, and there are none")
        times = train.row_times()
        if train.camids is None or (train.camids == UNKNOWN).all():
            raise InputError("space-time statistics need to know which camera made each sighting: give camids")
        if times is None or np.isnan(times).all():
            raise InputError("space-time statistics need to know when each sighting was made: give times, in seconds")
        known = (train.pids > DISTRACTOR) & (train.camids != UNKNOWN) & ~np.isnan(times)
        if not known.any():
            raise InputError(
                "space-time statistics need rows with an identity, a camera and a time: no row has all three"
            )
        self.left_out_ = int((~known).sum())
        gap = self.visit_gap if self.visits == "cluster" else np.inf
        return self._learn(Visits.of(train.pids[known], train.camids[known], times[known], gap))

    def _learn(self, visits: Visits) -> SpaceTime:
        self.visits_, self.cameras_ = visits, np.unique(visits.camids)
        cameras, codes = len(self.cameras_), positions(self.cameras_, visits.camids)
        # Every pair of visits of one identity, both ways, and each visit with itself.
        runs = match(visits.pids, visits.pids, None, None, NO_CAMERAS).positives
        i, j = runs.owners(), runs.values
        pairs = codes[i] * cameras + codes[j]
        # At a pair of cameras an identity counts as one, however often it came.
        weights = _shares(visits.pids[i], pairs)
        self.people_ = np.rint(np.bincount(pairs, weights, cameras**2)).astype(np.int64).reshape(cameras, cameras)
        if not (self.people_ - np.diag(np.diag(self.people_))).any():
            raise InputError(
                "no identity was seen by two cameras at known times, so there is no interval to learn from"
                f" ({len(np.unique(visits.pids))} identities, {cameras} cameras, {self.left_out_} rows left out)"
            )
        self._rows = np.zeros((cameras + 1, cameras + 1), np.int64)
        linked = np.nonzero(self.people_)
        self._rows[linked] = np.arange(1, len(linked[0]) + 1)

        elapsed = (visits.times[j] - visits.times[i]) / self.bin_width
        elapsed[(elapsed == 0) & (i > j)] = -TINY  # of two cameras at one time the second is the later, as published
        index = self._rows[codes[i], codes[j]] * 2 * self.bins + bins_of(elapsed, self.bins)
        shape = (len(linked[0]) + 1, 2 * self.bins)
        self._same = np.asarray(np.bincount(index, weights, shape[0] * shape[1]).reshape(shape), np.float64)
        self._different = np.zeros(shape)
        share = _shares(visits.pids, codes)
        for a, b in zip(*linked):
            if a <= b:
                counts = self._others(np.flatnonzero(codes == a), np.flatnonzero(codes == b), share)
                density = _background(counts, int(min(self.people_[a, a], self.people_[b, b])))
                self._different[self._rows[b, a]], self._different[self._rows[a, b]] = density[::-1], density
        return self

    def _others(self, i: NDArray[np.int64], j: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Intervals from visits i to visits j of different people, per bin."""
        counts, pids, times = np.zeros(2 * self.bins), self.visits_.pids, self.visits_.times / self.bin_width
        for part in blocks(len(i), len(j)):
            k = i[part, None]
            weights = share[k] * share[j] * (pids[k] != pids[j])
            index = bins_of(times[j] - times[k], self.bins)
            counts += np.bincount(index.reshape(-1), weights.reshape(-1), len(counts))
        return counts

    def probabilities(self, sigma: float = 50.0) -> Intervals:
        """The published smoothed histograms: how likely a person who goes from one camera to another takes so long.

        Each direction of each pair is a histogram of its own, divided by its sum, smoothed with a Gaussian that ends at
        3 `sigma`, and divided by its sum again. It is 0 within one camera.

        Args:
            sigma: in bins.
        """
        ways = self._same.reshape(-1, 2, self.bins)
        smooth = smoothed(ways / (ways.sum(axis=2, keepdims=True) + TINY), sigma)
        smooth /= smooth.sum(axis=2, keepdims=True) + TINY
        smooth[np.diag(self._rows)] = 0
        return self._table(smooth.reshape(self._same.shape))

    def log_ratios(self, sigma: float = 5.0, strength: float = 10.0) -> Intervals:
        """Log of how much likelier an interval is between sightings of one person than of different people.

        Both densities are those of `densities`. With n identities seen by both cameras, the former is taken for
        (n same + `strength` different) / (n + `strength`), so that what n identities never did is held for unlikely as
        far as n goes.

        Args:
            sigma: in bins.
            strength: above 0; so many identities' worth of doubt that intervals say anything.
        """
        if not strength > 0:
            raise InputError(f"strength must be above 0, got {strength}")
        same, people = self._of_one_person(sigma)[1:], self.people_[self.people_ > 0][:, None]
        ratios = np.zeros_like(self._different)
        ratios[1:] = np.log((people * same / self._different[1:] + strength) / (people + strength))
        if self.same_camera == "never":
            own = np.diag(self._rows)[:-1]
            ratios[own] = 0
            ratios[own] = ratios.min()
        return self._table(ratios)

    def densities(self, sigma: float = 5.0) -> tuple[Intervals, Intervals]:
        """The share of each bin among the signed intervals of one person, and of different people.

        The former is smoothed with a Gaussian of `sigma` bins. The latter, which changes slowly, is smoothed with one
        of its standard deviation times n^(-1/5) (Scott, "Multivariate Density Estimation", 1992, section 6.3), n being
        the identities at the camera that saw fewer, and one interval spread over all bins keeps it above zero. The
        outermost bins, which stand for all longer intervals, are not smoothed.
        """
        return self._table(self._of_one_person(sigma)), self._table(self._different)

    def _of_one_person(self, sigma: float) -> NDArray[np.float64]:
        smooth = _smooth_inside(self._same, sigma)
        smooth[1:] /= smooth[1:].sum(axis=1, keepdims=True)
        return smooth

    def _table(self, values: NDArray[np.float64]) -> Intervals:
        return Intervals(self.cameras_, self._rows, values.astype(np.float32), self.bin_width)

    def probability(
        self, cameras: ArrayLike, others: ArrayLike, seconds: ArrayLike, sigma: float = 50.0
    ) -> NDArray[np.float32]:
        """`probabilities(sigma).at(...)`: from one of `cameras` to one of `others` in `seconds`."""
        return self.probabilities(sigma).at(cameras, others, seconds)

    def log_ratio(
        self, cameras: ArrayLike, others: ArrayLike, seconds: ArrayLike, sigma: float = 5.0, strength: float = 10.0
    ) -> NDArray[np.float32]:
        """`log_ratios(sigma, strength).at(...)`: evidence for one person between sightings `seconds` apart."""
        return self.log_ratios(sigma, strength).at(cameras, others, seconds)

    def journeys(
        self, clocks: Clocks | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """How people went on: from each visit to the next in time, where that is at another camera.

        Args:
            clocks: what to subtract from the times; while the clocks differ, who came first means little.

        Returns:
            The cameras left, the cameras reached, and the seconds between; J each.
        """
        visits = self.visits_
        ahead = 0.0 if clocks is None else np.nan_to_num(clocks.seconds)[positions(self.cameras_, visits.camids)]
        times = visits.times - ahead
        order = np.lexsort((times, visits.pids))
        pids, camids, times = visits.pids[order], visits.camids[order], times[order]
        on = (np.diff(pids) == 0) & (np.diff(camids) != 0)
        return camids[:-1][on], camids[1:][on], np.diff(times)[on]

    def save(self, path: str | os.PathLike[str], fusion: Mapping[str, Any] | None = None) -> None:
        """Write the visits as safetensors, and the settings as JSON beside them.

        Args:
            path: of the safetensors file; the other has the same name and ends in .json.
            fusion: settings of the joint score that uses the statistics, kept in the JSON.
        """
        from safetensors.numpy import save

        place, visits = Path(path).with_suffix(".safetensors"), self.visits_
        content = save({name: np.ascontiguousarray(getattr(visits, name)) for name in _COLUMNS})
        described = {
            "format": FORMAT,
            "settings": {name: getattr(self, name) for name in _SETTINGS},
            "cameras": self.cameras_.tolist(),
            "identities": len(np.unique(visits.pids)),
            "visits": len(visits),
            "left_out": self.left_out_,
            "fusion": fusion,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        # The statistics last: where they are, everything is.
        files.write(place.with_suffix(".json"), json.dumps(described, indent=2) + "\n")
        files.write(place, content)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> SpaceTime:
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing, is none of these, or they do not belong together.
        """
        return read(path)[0]


def read(path: str | os.PathLike[str]) -> tuple[SpaceTime, dict[str, Any] | None]:
    """Read statistics, and the settings of the joint score that was saved with them. Raises as `SpaceTime.load`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    place = Path(path) / FILE if Path(path).is_dir() else Path(path).with_suffix(".safetensors")
    try:
        described, content = json.loads(place.with_suffix(".json").read_text()), place.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; `reidentify spacetime fit` writes it") from None
    except ValueError as error:
        raise InputError(f"{place.with_suffix('.json')}: not JSON ({error})") from None
    try:
        if described["format"] != FORMAT:
            raise InputError(f"{place}: has layout {described['format']} where {FORMAT} is understood; fit it anew")
        if described["sha256"] != hashlib.sha256(content).hexdigest():
            raise InputError(f"{place}: not the file that the JSON beside it describes (sha256 differs); fit it anew")
        statistics = SpaceTime(**described["settings"])
        statistics.left_out_ = int(described["left_out"])
        columns = load(content)
        return statistics._learn(Visits(*(columns[name] for name in _COLUMNS))), described["fusion"]
    except (KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{place}: not space-time statistics of this program ({error!r})") from None


def _shares(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each entry, 1 divided by the number of entries of its label in its group."""
    _, which, counts = np.unique(np.stack([labels, groups], 1), axis=0, return_inverse=True, return_counts=True)
    return 1 / counts[which.reshape(-1)]


def _smooth_inside(counts: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Smooth along the last axis, but for the first and the last bin."""
    smooth = counts.copy()
    smooth[..., 1:-1] = smoothed(counts[..., 1:-1], sigma)
    return smooth


def _background(counts: NDArray[np.float64], people: int) -> NDArray[np.float64]:
    """The density of the intervals of different people, out of their counts per bin."""
    inside, place = counts[1:-1], np.arange(1, len(counts) - 1)
    mean = inside @ place / max(inside.sum(), TINY)
    spread = np.sqrt(inside @ (place - mean) ** 2 / max(inside.sum(), TINY))
    density = _smooth_inside(counts + 1 / len(counts), max(spread * people**-0.2, 1.0))
    return np.asarray(density / density.sum(), np.float64)
