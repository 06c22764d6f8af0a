"""Charts of verification: the ROC curve, how true the probabilities are, and open-set search."""

from __future__ import annotations

from collections.abc import Sequence

from reidentify.ranking.logistic import BINS, Bin
from reidentify.ranking.open_set import FALSE_ALARMS, OpenSet
from reidentify.ranking.thresholds import Curve
from reidentify.ranking.verify import FALSE_RATES, Verification
from reidentify.report.charts import Theme, canvas, style, to_png


def roc(verification: Verification, theme: Theme) -> bytes:
    """True against false positive rate, the latter on a logarithmic axis, as PNG."""
    names = "pairs of two people taken for one, % (FPR)", "pairs of one person recognised, % (TPR)"
    note = f"equal error rate {100 * verification.eer.false_rate:.2f} %"
    return _rates(verification.curve, FALSE_RATES, theme, names, note)


def open_set(found: OpenSet, theme: Theme) -> bytes:
    """Detection and identification rate at rank 1 against the false-positive identification rate, as PNG."""
    names = "false alarms where the person is absent, % (FPIR)", "found first where the person is there, % (DIR)"
    return _rates(found.curve, FALSE_ALARMS, theme, names, f"without a threshold {100 * found.dir[-1]:.1f} (rank-1)")


def _rates(curve: Curve, stated: Sequence[float], theme: Theme, names: tuple[str, str], note: str) -> bytes:
    """True against false rates in percent, named x and y, with the stated operating points marked."""
    figure, axes = canvas(theme)
    points = curve.points(stated)
    low = min(0.1, max(min(points, default=1.0) / 10, 1 / curve.trials[0]))
    first = int(curve.false_rate.searchsorted(low, "right")) - 1
    false, true = curve.false_rate[first:].clip(low), curve.true_rate[first:]
    # What a threshold reaches holds up to the next false acceptance, so the curve is a stair.
    axes.step(100 * false, 100 * true, where="post", color=theme.same, linewidth=2)
    for rate, point in points.items():
        at = 100 * rate, 100 * point.true_rate
        axes.plot(*at, "o", color=theme.same, clip_on=False)
        axes.annotate(f"{at[1]:.1f}", at, (4, -15), textcoords="offset points", color=theme.ink)
    bottom = max(0.0, 10 * ((100 * true[0] - 8) // 10))
    axes.set(xlabel=names[0], ylabel=names[1], xscale="log", xlim=(100 * low, 100), ylim=(bottom, 100))
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
    axes.minorticks_off()
    axes.annotate(note, (0.98, 0.04), xycoords="axes fraction", ha="right", color=theme.ink)
    return to_png(figure)


def reliability(bins: Sequence[Bin], error: float, theme: Theme) -> bytes:
    """Predicted probability against how often it came true, above the pairs that each point stands for, as PNG.

    Args:
        bins: of a Calibration, or of `Calibration.check`.
        error: the expected calibration error that belongs to them.
        theme: its colours.
    """
    figure, axes = canvas(theme, (5.2, 5.4))
    above, strip = figure.add_gridspec(2, 1, height_ratios=(3, 1))
    axes.set_subplotspec(above)
    axes.plot([0, 1], [0, 1], color=theme.ink, linewidth=1, linestyle=(0, (4, 4)))
    observed = [b.observed for b in bins]
    axes.plot([b.predicted for b in bins], observed, "o-", color=theme.same, linewidth=2, clip_on=False, zorder=3)
    axes.annotate(f"calibration error {100 * error:.2f} %", (0.03, 0.93), xycoords="axes fraction", color=theme.ink)
    axes.set(ylabel="share that are of one person", xlim=(0, 1), ylim=(0, 1))
    axes.tick_params(labelbottom=False)

    below = figure.add_subplot(strip, sharex=axes)
    style(below, theme)
    below.grid(False)
    places = [min(int(b.predicted * BINS), BINS - 1) for b in bins]
    for side, counts, name, colour in (
        (0.1, [b.same for b in bins], "of one person", theme.same),
        (0.5, [b.different for b in bins], "of two", theme.different),
    ):
        below.bar([(p + side) / BINS for p in places], counts, 0.4 / BINS, align="edge", color=colour, label=name)
    below.set_yscale("log")
    below.set_ylim(0.8, 30 * below.get_ylim()[1])  # room for the legend above the bars
    below.set(xlabel="predicted probability of one person", ylabel="pairs")
    below.minorticks_off()
    below.legend(loc="upper center", frameon=False, labelcolor=theme.ink, ncols=2)
    return to_png(figure)
