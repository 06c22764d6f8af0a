"""The picture of a learning-rate range test."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reidentify.report.charts import Theme, canvas, to_png


def range_test(
    rates: NDArray[np.float64], losses: NDArray[np.float64], suggestion: float, current: float, theme: Theme
) -> bytes:
    """The loss over the rising learning rate, as a PNG.

    Args:
        rates: S.
        losses: S.
        suggestion: where the loss falls fastest.
        current: what the recipe has.
        theme: colours.
    """
    figure, axes = canvas(theme, (6.4, 3.6))
    axes.plot(rates, losses, color=theme.ink)
    finite = losses[np.isfinite(losses)]
    low, high = float(finite.min()), float(np.median(finite))
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - 0.1 * (high - low), high + 2 * (high - low))
    )
    axes.axvline(suggestion, color=theme.same, label=f"falls fastest: {suggestion:.1e}")
    axes.axvline(current, color=theme.different, linestyle="--", label=f"the recipe: {current:.1e}")
    axes.legend(frameon=False, labelcolor=theme.ink)
    return to_png(figure)
