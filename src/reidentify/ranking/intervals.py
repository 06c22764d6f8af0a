"""Look-up tables over the interval between two sightings: a number for each pair of cameras and each bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import convolve1d

from reidentify.errors import InputError
from reidentify.ranking.distance import Rows
from reidentify.values import Sightings


@dataclass(frozen=True, eq=False)
class Intervals:
    """A number for each pair of cameras and each bin of the interval between a sighting at one and at the other.

    With B bins on each side of zero, bin B + k holds the intervals of k to k + 1 bin widths, and bin B - 1 - k the same
    intervals where the second camera came first. Longer intervals are taken for the longest. What is not known (a
    camera or a pair that training did not see, a row without camera or time) has the value 0.

    Args:
        cameras: C, int64, sorted.
        rows: C + 1 x C + 1, int64: the row of `values` of each pair; the last camera stands for all unknown ones.
        values: any x 2 B, float32; row 0 is zero.
        bin_width: seconds.
    """

    cameras: NDArray[np.int64]
    rows: NDArray[np.int64]
    values: NDArray[np.float32]
    bin_width: float

    def at(self, cameras: ArrayLike, others: ArrayLike, seconds: ArrayLike) -> NDArray[np.float32]:
        """The values for a sighting at one of `cameras` and another, `seconds` later, at one of `others`.

        The three broadcast; seconds are negative where the other sighting came first, and NaN where a time is unknown.
        """
        elapsed = np.asarray(seconds, np.float64) / self.bin_width
        known = ~np.isnan(elapsed)
        rows = self.rows[positions(self.cameras, cameras), positions(self.cameras, others)]
        return self._values(np.where(known, rows, 0), np.where(known, elapsed, 0))

    def between(self, query: Sightings, gallery: Sightings) -> IntervalScorer:
        """The values between the rows of two sides, in blocks."""
        return IntervalScorer(self, query, gallery)

    def _values(self, rows: NDArray[np.int64], elapsed: NDArray[np.float64]) -> NDArray[np.float32]:
        width = self.values.shape[1]
        return self.values.reshape(-1).take(bins_of(elapsed, width // 2) + width * rows)

    def _place(self, side: Sightings) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Position of the camera, and time in bins, of each row."""
        times = side.row_times()
        if times is None or side.camids is None:
            return np.full(len(side), len(self.cameras)), np.zeros(len(side))
        known = ~np.isnan(times)
        codes = np.where(known, positions(self.cameras, side.camids), len(self.cameras))
        return codes, np.where(known, times, 0) / self.bin_width


class IntervalScorer:
    """The values of `Intervals` for pairs of rows; an interval runs from the query's time to the gallery's."""

    def __init__(self, table: Intervals, query: Sightings, gallery: Sightings) -> None:
        self._table = table
        self._query, self._gallery = table._place(query), table._place(gallery)

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float32]:
        """Values of some query rows with some gallery rows. len(query_rows) x len(gallery_rows), float32."""
        (codes, times), (others, ends) = (
            (c[rows], t[rows]) for (c, t), rows in ((self._query, query_rows), (self._gallery, gallery_rows))
        )
        values = np.empty((len(codes), len(others)), np.float32)
        # Row by row, so that what is computed on the way stays in the processor's cache.
        for value, code, time in zip(values, codes, times):
            value[:] = self._table._values(self._table.rows[code][others], ends - time)
        return values


def positions(cameras: NDArray[np.int64], camids: ArrayLike) -> NDArray[np.int64]:
    """The position of each camera in the sorted `cameras`; their number where it is none of them."""
    wanted = np.asarray(camids)
    found = np.minimum(np.searchsorted(cameras, wanted), len(cameras) - 1)
    return np.where(cameras[found] == wanted, found, len(cameras))


def bins_of(elapsed: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bins of intervals given in bin widths, with `bins` of them on each side of zero."""
    # An interval of whole bins comes out of a subtraction of seconds slightly short.
    away = np.minimum(np.abs(elapsed) + 1e-6, bins - 1).astype(np.int64)
    return np.where(elapsed < 0, -1 - away, away) + bins


def smoothed(counts: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Along the last axis, with a Gaussian that ends at 3 sigma."""
    if not sigma > 0:
        raise InputError(f"sigma, the bandwidth in bins, must be above 0, got {sigma}")
    reach = np.arange(-int(3 * sigma), int(3 * sigma) + 1)
    kernel = np.exp(-(reach**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    smooth: NDArray[np.float64] = convolve1d(counts, kernel, axis=-1, mode="constant")
    return smooth
