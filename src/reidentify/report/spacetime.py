"""Pictures of space-time statistics: the intervals of each pair of cameras, and the network with its travel times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reidentify.ranking.clocks import Clocks
from reidentify.ranking.spacetime import SpaceTime
from reidentify.report.charts import Theme, canvas, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAIRS = 30
"""Most pairs of cameras drawn in one picture: those that most people passed; its title says so."""
LINKS = 21
"""Most links of the network drawn: those that most people took; its title says so."""
SHARE = 0.75
"""Share of the intervals of one person that a panel shows, about their middle; the others are people who came back."""


def intervals(statistics: SpaceTime, theme: Theme, sigma: float = 5.0) -> bytes:
    """For each pair of cameras, how the intervals of one person and of different people are spread, as PNG.

    A panel shows the interval from a sighting at the first camera to a sighting at the second, in which the most
    frequent intervals of one person lie.

    Args:
        statistics: fitted.
        theme: colours.
        sigma: of the smoothing, in bins.
    """
    a, b = np.nonzero(np.triu(statistics.people_, 1))
    people = statistics.people_[a, b]
    chosen = np.sort(np.argsort(-people, kind="stable")[:PAIRS])
    columns = min(len(chosen), 5)
    rows = -(-len(chosen) // columns)
    figure, axes = canvas(theme, (max(2.5 * columns, 5.2), 2.1 * rows + 0.9))
    axes.remove()
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    same, different = statistics.densities(sigma)
    centres = (np.arange(2 * statistics.bins) - statistics.bins + 0.5) * statistics.bin_width
    for axes, link in zip(grid, chosen):
        row = same.rows[a[link], b[link]]
        _panel(axes, centres, same.values[row], different.values[row], theme)
        first, second = statistics.cameras_[a[link]], statistics.cameras_[b[link]]
        axes.set_title(f"{first} to {second}: {people[link]} people", color=theme.ink, size=9, loc="left")
    for axes in grid[len(chosen) :]:
        axes.remove()
    title = "Intervals between two cameras"
    if len(chosen) < len(people):
        title += f", the {len(chosen)} of {len(people)} pairs that most people passed"
    figure.suptitle(title, color=theme.ink, size=11, ha="left", x=0.01)
    lines, names = grid[0].get_lines(), ("one person", "different people")
    figure.legend(lines, names, loc="outside lower left", ncols=2, frameon=False, labelcolor=theme.ink, fontsize=9)
    return to_png(figure)


def _panel(
    axes: Axes, seconds: NDArray[np.float64], same: NDArray[np.float32], different: NDArray[np.float32], theme: Theme
) -> None:
    """Draw both densities where most intervals of one person lie: the narrowest range that holds `SHARE` of them."""
    total = np.concatenate([[0], np.cumsum(same, dtype=np.float64)])
    ends = np.searchsorted(total, np.minimum(total + SHARE * total[-1], total[-1]))
    widths = np.where(total + SHARE * total[-1] <= total[-1], ends - np.arange(len(total)), len(total))
    first = int(np.argmin(widths))
    margin = max(int(0.5 * widths[first]), 5)
    low, high = max(first - margin, 0), min(first + int(widths[first]) + margin, len(same))
    unit, name = (60, "min") if seconds[high - 1] - seconds[low] > 300 else (1, "s")
    x = seconds[low:high] / unit
    for values, colour in ((same, theme.same), (different, theme.different)):
        axes.plot(x, values[low:high], color=colour, linewidth=1.5)
        axes.fill_between(x, values[low:high], color=colour, alpha=0.2, linewidth=0)
    axes.set_facecolor(theme.paper)
    axes.set(xlim=(x[0], x[-1]), ylim=(0, None), yticks=[])
    axes.set_xlabel(name, color=theme.ink, size=9, labelpad=1)
    axes.tick_params(colors=theme.ink, labelsize=8)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(True, axis="x", color=theme.faint, linewidth=0.8)
    for side, spine in axes.spines.items():
        spine.set(color=theme.faint, visible=side == "bottom")


def network(statistics: SpaceTime, theme: Theme, clocks: Clocks | None = None) -> bytes:
    """The cameras, linked where people go straight from one to the other, with the median time they take, as PNG.

    A link is the thicker the more people take it, in either direction.

    Args:
        statistics: fitted.
        theme: colours.
        clocks: corrects the times, and is stated at each camera.
    """
    left, reached, seconds = statistics.journeys(clocks)
    cameras = statistics.cameras_
    ends = np.sort(np.searchsorted(cameras, np.stack([left, reached], 1)), axis=1)
    links, link, ways = np.unique(ends, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-ways, kind="stable")[:LINKS]
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(cameras)) / len(cameras)
    places = np.stack([np.cos(angles), np.sin(angles)], 1)

    figure, axes = canvas(theme, (7.2, 5.8))
    axes.set_axis_off()
    axes.set(xlim=(-1.65, 1.65), ylim=(-1.25, 1.2), aspect="equal")
    lines = places[links[order, :1]] + np.linspace(0, 1, 41)[:, None] * (
        places[links[order, 1:]] - places[links[order, :1]]
    )
    taken: list[NDArray[np.float64]] = []
    for i, (which, line) in enumerate(zip(order, lines)):
        width = 0.8 + 7 * ways[which] / ways.max()
        axes.plot(*line.T, color=theme.same, linewidth=width, alpha=0.45, zorder=1)
        # Its label, five points of a line as wide, stands where it is farthest from other links and labels.
        labels = line[11:30, None] + np.linspace(-0.1, 0.1, 5)[:, None] * (1, 0)
        around = np.concatenate([*np.delete(lines, i, 0), *taken, places])
        room = np.linalg.norm(labels[:, :, None] - around, axis=3).min(axis=(1, 2))
        taken.append(labels[np.argmax(np.round(room, 3))])
        spot = taken[-1][2]
        box = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
        median = float(np.median(seconds[link.reshape(-1) == which]))
        axes.text(*spot, duration(median), color=theme.ink, size=9, ha="center", va="center", bbox=box, zorder=3)
    axes.scatter(*places.T, s=700, color=theme.paper, edgecolors=theme.same, linewidths=2, zorder=2)
    for code, (place, camera) in enumerate(zip(places, cameras)):
        axes.text(*place, str(camera), color=theme.ink, size=12, ha="center", va="center", zorder=3)
        if clocks is not None and code:
            offset = clocks.seconds[code]
            words = (
                "clock unknown" if np.isnan(offset) else f"clock {'+' if offset >= 0 else '−'}{duration(abs(offset))}"
            )
            side = "center" if abs(place[0]) < 0.3 else "left" if place[0] > 0 else "right"
            axes.text(*(1.17 * place), words, color=theme.ink, size=9, ha=side, va="center")
    title = "Median time from camera to camera; the thicker a link, the more people take it"
    if len(order) < len(links):
        title += f"\n(the {len(order)} busiest of {len(links)} links)"
    axes.set_title(title, color=theme.ink, size=11, loc="left")
    return to_png(figure)


def duration(seconds: float) -> str:
    """Seconds in words: 8 s, 3.5 min, 2.1 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
