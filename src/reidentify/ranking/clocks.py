"""How far the clocks of cameras are apart, from the people who walk between them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.sparse.csgraph import connected_components

from reidentify.ranking.intervals import positions
from reidentify.ranking.spacetime import SpaceTime


@dataclass(frozen=True, eq=False)
class Clocks:
    """How far the clocks of the cameras are apart, as `estimate_offsets` finds it.

    Args:
        cameras: C, int64.
        seconds: C, float64: by how much each clock is ahead of the first camera's; subtract it from the camera's times.
            NaN where nobody links the camera to the first one.
        people: C, int64: identities seen there and by another camera, on whom the estimate rests.
        spread: C, float64, seconds: the median by which the camera's links to the others disagree with the estimate.
            NaN where `seconds` is, and at a camera with a single link, which nothing contradicts.
    """

    cameras: NDArray[np.int64]
    seconds: NDArray[np.float64]
    people: NDArray[np.int64]
    spread: NDArray[np.float64]

    def to_json(self) -> str:
        """An entry per camera; what is unknown is null."""
        entries = [
            {
                "camera": int(camera),
                "seconds_ahead": None if np.isnan(seconds) else float(seconds),
                "people": int(people),
                "spread": None if np.isnan(spread) else float(spread),
            }
            for camera, seconds, people, spread in zip(self.cameras, self.seconds, self.people, self.spread)
        ]
        return json.dumps(entries, indent=2) + "\n"


def estimate_offsets(statistics: SpaceTime, sigma: float = 5.0) -> Clocks:
    """How far the clocks of the cameras are apart, if people walk both ways.

    Where people walk one way as they walk the other, the intervals between two cameras are spread symmetrically about
    the difference of their clocks. That is where the density is most like its mirror image, by the overlap of their
    square roots, which bears one way being walked up to four times as often as the other. The differences of all pairs
    are reconciled by least absolute deviations, weighted with the identities of each pair.

    Where (nearly) everybody walks one way, their walking time cannot be told from a difference of the clocks, and is
    taken for one; a small `spread` does not exclude it. Nor is it seen that a clock jumps or drifts.

    Args:
        statistics: fitted.
        sigma: bandwidth in bins.
    """
    same, _ = statistics.densities(sigma)
    a, b = np.nonzero(np.triu(statistics.people_, 1))
    bins, cameras = statistics.bins, len(statistics.cameras_)
    roots = np.sqrt(same.values[same.rows[a, b]].astype(np.float64))
    # Entry m of the convolution is the overlap with the density mirrored about (m + 1) / 2 - bins, in bins.
    apart = (np.argmax(fftconvolve(roots, roots, axes=1), axis=1) + 1) / 2 - bins
    design = np.zeros((len(a), cameras))
    links = np.arange(len(a))
    design[links, a], design[links, b] = -1, 1
    people = statistics.people_[a, b]
    off = np.ones(len(a))
    for _ in range(50):  # least squares with changing weights, which ends in least absolute deviations
        scale = np.sqrt(people / np.maximum(off, 0.1))
        ahead = np.linalg.lstsq(scale[:, None] * design, scale * apart, rcond=None)[0]
        off = np.abs(design @ ahead - apart)
    _, parts = connected_components(statistics.people_ > 0, directed=False)
    reached = parts == parts[0]
    touching = [off[(a == c) | (b == c)] for c in range(cameras)]
    spread = [np.median(t) if r and len(t) > 1 else np.nan for t, r in zip(touching, reached)]
    return Clocks(
        statistics.cameras_,
        np.where(reached, ahead - ahead[0], np.nan) * statistics.bin_width,
        _linked(statistics),
        np.array(spread) * statistics.bin_width,
    )


def _linked(statistics: SpaceTime) -> NDArray[np.int64]:
    """Of the identities seen by each camera, those that another camera saw too. C, int64."""
    visits, cameras = statistics.visits_, len(statistics.cameras_)
    seen = np.unique(np.stack([visits.pids, positions(statistics.cameras_, visits.camids)], 1), axis=0)
    _, person, places = np.unique(seen[:, 0], return_inverse=True, return_counts=True)
    return np.bincount(seen[places[person] > 1, 1], minlength=cameras)
