"""Charts of a Result: the CMC curve, similarities of same and different pairs, and the matrix of camera pairs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reidentify.ranking.distance import Scorer, as_array
from reidentify.ranking.matches import Matches
from reidentify.ranking.results import CameraPairs, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours of a chart: paper, ink, faint lines, and the two series."""

    paper: str
    ink: str
    faint: str
    same: str
    different: str


LIGHT = Theme(paper="#ffffff", ink="#22262b", faint="#d9dce0", same="#2466c2", different="#d9772b")
DARK = Theme(paper="#1c2026", ink="#e4e7eb", faint="#3a4048", same="#6ea8fe", different="#f0a35e")


@dataclass(frozen=True)
class Pairs:
    """Distances of pairs of one person and of two.

    Args:
        same: every query with each of its matches.
        different: every query with some wrong answers, drawn at random.
    """

    same: NDArray[np.float64]
    different: NDArray[np.float64]


def sample_pairs(scorer: Scorer, matches: Matches, negatives: int = 100_000, seed: int = 0) -> Pairs:
    """Distances of all pairs of query and match, and of about `negatives` pairs of query and wrong answer.

    Each query draws as many gallery rows, without replacement; those that turn out to be matches or ignored are put
    back, so slightly fewer may remain.
    """
    rng, count = np.random.default_rng(seed), len(matches.gallery_pids)
    each = min(count, -(-negatives // len(matches.query_pids)))
    same, different = [], []
    for query in range(len(matches.query_pids)):
        positives = matches.positives[query]
        drawn = rng.choice(count, each, replace=False)
        drawn = drawn[~np.isin(drawn, np.concatenate([positives, matches.left_out(query)]))]
        distances = as_array(scorer.block(slice(query, query + 1), np.concatenate([positives, drawn])))[0]
        same.append(distances[: len(positives)])
        different.append(distances[len(positives) :])
    return Pairs(np.concatenate(same).astype(np.float64), np.concatenate(different).astype(np.float64))


def cmc(result: Result, theme: Theme) -> bytes:
    """Rank-k against k up to 50, as PNG."""
    figure, axes = canvas(theme)
    curve = 100 * result.cmc[:50]
    ranks = np.arange(1, len(curve) + 1)
    axes.plot(ranks, curve, color=theme.same, linewidth=2, marker="o" if len(curve) < 12 else None, clip_on=False)
    for k in (1, 5, 10, 20):
        if k <= len(curve):
            axes.plot(k, curve[k - 1], "o", color=theme.same, clip_on=False)
            axes.annotate(
                f"{curve[k - 1]:.1f}", (k, curve[k - 1]), (4, -15), textcoords="offset points", color=theme.ink
            )
    low = max(0.0, 10 * np.floor((curve[0] - 8) / 10))
    axes.set(xlabel="rank k", ylabel="queries with a match among the first k, %", ylim=(low, 100))
    axes.set_xlim(0.5 if len(curve) < 12 else 0, max(len(curve), 2))
    axes.set_xticks([k for k in (1, 5, 10, 20, 30, 40, 50) if k <= len(curve)])
    return to_png(figure)


def similarity(pairs: Pairs, theme: Theme, cosine: bool) -> bytes:
    """Histogram of same and different pairs, as PNG; over the cosine similarity, or the distance of another scorer."""
    figure, axes = canvas(theme)
    sides = [(1 - d if cosine else d) for d in (pairs.same, pairs.different)]
    sides = [side[np.isfinite(side)] for side in sides]
    bins = np.histogram_bin_edges(np.concatenate(sides), 60).tolist()
    names = (f"same person ({len(sides[0]):,} pairs)", f"different people ({len(sides[1]):,} sampled)")
    for side, name, colour in zip(sides, names, (theme.same, theme.different)):
        weights = np.full(len(side), 100 / max(len(side), 1))
        axes.hist(side, bins, weights=weights, histtype="stepfilled", color=colour, alpha=0.35)
        axes.hist(side, bins, weights=weights, histtype="step", color=colour, linewidth=1.8, label=name)
    axes.set(xlabel="cosine similarity" if cosine else "distance", ylabel="share of pairs, %")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.28)  # room for the legend above the curves
    axes.legend(loc="upper center", frameon=False, labelcolor=theme.ink, ncols=1)
    return to_png(figure)


def camera_matrix(pairs: CameraPairs, metric: str, theme: Theme) -> bytes:
    """Rank-1 or mAP (`rank1`, `mAP`) of each query camera against each gallery camera, as PNG."""
    from matplotlib.colors import LinearSegmentedColormap

    values = 100 * getattr(pairs, metric)
    rows, columns = values.shape
    size = max(4.2, 0.55 * max(rows, columns) + 1.4)
    figure, axes = canvas(theme, (size, size * (rows + 1) / (columns + 1) if rows != columns else size))
    colours = LinearSegmentedColormap.from_list("score", [theme.paper, theme.same]).with_extremes(bad=theme.faint)
    axes.imshow(np.ma.masked_invalid(values), colours, vmin=0, vmax=100, aspect="equal")
    if max(rows, columns) <= 20:
        for a, b in np.argwhere(np.isfinite(values)):
            strong = values[a, b] > 55
            axes.text(b, a, f"{values[a, b]:.0f}", ha="center", va="center", color=theme.paper if strong else theme.ink)
    axes.set(xlabel="gallery camera", ylabel="query camera")
    axes.set_title("rank-1, %" if metric == "rank1" else "mAP, %", color=theme.ink, size=11, loc="left")
    axes.set_xticks(range(columns), pairs.gallery_cameras)
    axes.set_yticks(range(rows), pairs.query_cameras)
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return to_png(figure)


def canvas(theme: Theme, size: tuple[float, float] = (5.2, 3.9)) -> tuple[Figure, Axes]:
    """A figure of its own, apart from pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(size, dpi=160, facecolor=theme.paper, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    style(axes, theme)
    return figure, axes


def style(axes: Axes, theme: Theme, size: float = 11) -> None:
    """Colours, grid and spines of a chart; its labels are of `size` points, those of its ticks one point smaller."""
    axes.set_facecolor(theme.paper)
    axes.grid(True, color=theme.faint, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink, labelsize=size - 1)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.ink, size=size)
    for side, spine in axes.spines.items():
        spine.set(color=theme.faint, visible=side in ("left", "bottom"))


def to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    return buffer.getvalue()
