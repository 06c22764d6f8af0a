"""What a threshold on the distance does: right and false acceptances over all thresholds, and at a stated rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold and what it does.

    Args:
        threshold: distances up to it, itself included, are accepted.
        false_rate: share of what should be refused and is accepted.
        true_rate: share of what should be accepted and is.
    """

    threshold: float
    false_rate: float
    true_rate: float

    @property
    def similarity(self) -> float:
        """Where distances are cosine distances: the least cosine similarity that is accepted."""
        return 1 - self.threshold


@dataclass(frozen=True, eq=False)
class Curve:
    """Right and false acceptances at every threshold.

    Args:
        thresholds: K, float64, rising. The first accepts nothing; the rates change at each of the others.
        false, true: K, int64. What is falsely and rightly accepted up to each.
        trials: how many there are that should be refused, and that should be accepted.
        cosine: whether distances are cosine distances, so that 1 minus a threshold is a similarity.
    """

    thresholds: NDArray[np.float64]
    false: NDArray[np.int64]
    true: NDArray[np.int64]
    trials: tuple[int, int]
    cosine: bool

    @cached_property
    def false_rate(self) -> NDArray[np.float64]:
        """Share falsely accepted at each threshold. K, float64."""
        return self.false / self.trials[0]

    @cached_property
    def true_rate(self) -> NDArray[np.float64]:
        """Share rightly accepted at each threshold. K, float64."""
        return self.true / self.trials[1]

    def at(self, rate: float) -> OperatingPoint:
        """The largest threshold whose false rate is not above `rate`; nothing is interpolated.

        Raises:
            InputError: a rate that is not above 0 or is above 1, or is below one in all trials.
        """
        if not 0 < rate <= 1:
            raise InputError(f"a false positive rate must lie above 0 and not above 1, got {rate}")
        allowed = self._allowed(rate)
        if not allowed:
            raise InputError(
                f"a false positive rate of {rate:g} cannot be measured from {self.trials[0]:,} trials: at least"
                f" {int(np.ceil(1 / rate)):,} are needed"
            )
        return self.point(int(np.searchsorted(self.false, allowed, "right")) - 1)

    def points(self, rates: Iterable[float]) -> dict[float, OperatingPoint]:
        """The operating points at those of the rates that there are trials enough for."""
        return {rate: self.at(rate) for rate in rates if self._allowed(rate)}

    def point(self, index: int) -> OperatingPoint:
        """The operating point of one of the thresholds."""
        false, true = (float(rates[index]) for rates in (self.false_rate, self.true_rate))
        return OperatingPoint(float(self.thresholds[index]), false, true)

    def _allowed(self, rate: float) -> int:
        """False acceptances that a rate permits, rounded down, but not because of the rounding of the product."""
        return int(rate * self.trials[0] * (1 + 1e-12))

    def words(self, point: OperatingPoint) -> str:
        """A threshold in words."""
        return f"distance {point.threshold:.4f}" + (f" (similarity {point.similarity:.4f})" if self.cosine else "")

    def named(self, point: OperatingPoint, false: str, true: str) -> dict[str, float]:
        """An operating point for JSON, its two rates under the names that they have here."""
        rates = {false: point.false_rate, true: point.true_rate, "distance": point.threshold}
        return rates | ({"similarity": point.similarity} if self.cosine else {})

    def table(self, false: str, true: str) -> pa.Table:
        """One row per threshold, the two rates under the names that they have here."""
        import pyarrow as pa

        columns = {"distance": self.thresholds, false: self.false_rate, true: self.true_rate}
        return pa.table(columns | ({"similarity": 1 - self.thresholds} if self.cosine else {}))
