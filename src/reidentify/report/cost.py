"""Accuracy against cost: how many operations and how much time a network takes for a tracklet."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from reidentify.errors import InputError
from reidentify.report.charts import Theme, canvas, style, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cost:
    """What one network reaches, and what it takes for a tracklet.

    Args:
        name: of the network.
        mAP: from 0 to 1.
        gflops: floating-point operations for a tracklet, in 10^9; a multiply-add is two of them.
        milliseconds: for a tracklet.
    """

    name: str
    mAP: float
    gflops: float
    milliseconds: float


def flops(network: nn.Module, *inputs: Any) -> int:
    """Floating-point operations of one call: those of products and convolutions, a multiply-add being two.

    Papers often state multiply-adds, which are half as many. Element-wise operations, normalisation and pooling are
    not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    # oneDNN and cuDNN run a recurrent layer as one operation that the counter does not know, so they are switched off;
    # torch then warns of a precision that only Intel's GPUs have.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", "TF32", UserWarning)
        without = torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False)
        with without[0], without[1], FlopCounterMode(display=False) as counter:
            network(*inputs)
    return int(counter.get_total_flops())


def chart(costs: Sequence[Cost], frames: int, theme: Theme) -> bytes:
    """mAP over operations and over time, as PNG.

    Args:
        costs: a point each.
        frames: of the tracklet that they are for.
        theme: colours.
    """
    if not costs:
        raise InputError("there is no network to draw")
    figure, axes = canvas(theme, (10.4, 4.6))
    axes.remove()
    left, right = figure.subplots(1, 2, sharey=True)
    panels = (
        (left, [c.gflops for c in costs], "GFLOPs for a tracklet (a multiply-add is two)"),
        (right, [c.milliseconds for c in costs], "milliseconds for a tracklet"),
    )
    scores = [100 * c.mAP for c in costs]
    for panel, values, name in panels:
        style(panel, theme)
        panel.set_xlabel(name)
        panel.plot(values, scores, "o", color=theme.same, markersize=8, markeredgecolor=theme.paper)
        panel.set_xlim(0, 1.15 * max(values))
    room = max(0.15 * (max(scores) - min(scores)), 1.0)
    left.set_ylim(min(scores) - room, max(scores) + room)
    left.set_ylabel("mAP, %")
    figure.suptitle(f"Accuracy against cost, tracklets of {frames} frames", color=theme.ink, size=11, ha="left", x=0.01)
    figure.canvas.draw()  # the layout stands, so that labels can be placed in pixels
    figure.set_layout_engine("none")
    for panel, values, _ in panels:
        _label(figure, panel, [*zip(values, scores)], [c.name for c in costs], theme)
    return to_png(figure)


def _label(
    figure: Figure, axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], theme: Theme
) -> None:
    """Write each name where it covers the least of points, other names and the margin."""
    from matplotlib.transforms import Bbox

    places = [(x, y) for y in (0, 1, -1, 2, -2, 3, -3) for x in (1, -1, 0) if (x, y) != (0, 0)]
    shown = axes.get_window_extent()
    spots = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in spots]
    for point, name in zip(points, names):
        best = None
        for x, y in places:
            label = axes.annotate(
                name, point, (8 * x, 11 * y), textcoords="offset points", color=theme.ink, size=9,
                ha={1: "left", 0: "center", -1: "right"}[x], va="center",
            )  # fmt: skip
            box = label.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
            label.remove()
            inside = _common(box, shown)
            covered = sum(_common(box, other) for other in taken) + (box.width * box.height - inside)
            if best is None or covered < best[0]:
                best = covered, box, label, abs(y) > 1
        assert best is not None
        _, box, label, far = best
        axes.add_artist(label)
        taken.append(box)
        if far:
            line = {"arrowstyle": "-", "color": theme.ink, "linewidth": 0.6, "shrinkA": 5, "shrinkB": 3}
            axes.annotate("", point, label.xyann, textcoords="offset points", arrowprops=line, zorder=1)


def _common(a: Any, b: Any) -> float:
    """The area that two boxes share, in square pixels."""
    return max(min(a.x1, b.x1) - max(a.x0, b.x0), 0) * max(min(a.y1, b.y1) - max(a.y0, b.y0), 0)
