"""How far the sightings of one person lie apart: distances of positives, and their variance around each sighting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.ranking.distance import as_array, blocks
from reidentify.ranking.matches import UNKNOWN
from reidentify.ranking.parts import appearance
from reidentify.report.charts import Theme, canvas, style, to_png
from reidentify.values import DISTRACTOR, JUNK, Embeddings

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False)
class Spread:
    """Cosine distances from anchors to their positives.

    An anchor is a sighting of an identity with at least two positives: sightings of the identity by other cameras
    (where cameras are unknown, all its others). Its negatives are all sightings of others, distractors included, junk
    not.

    A network may draw everything together, different people too. The relative values, in which the mean distance of
    negatives is 1, do not change with that.

    Args:
        distances: P, float64: of each anchor with each of its positives.
        variances: A, float64: for each anchor the variance of its distances, their number as the divisor.
        negative: the mean distance of anchors and negatives.
    """

    distances: NDArray[np.float64]
    variances: NDArray[np.float64]
    negative: float

    @property
    def anchors(self) -> int:
        """How many anchors there are."""
        return len(self.variances)

    @property
    def mean(self) -> float:
        """Mean distance of an anchor and a positive."""
        return float(self.distances.mean())

    @property
    def variance(self) -> float:
        """Mean over anchors of the variance of their distances."""
        return float(self.variances.mean())

    @property
    def relative_mean(self) -> float:
        """`mean` where the mean distance of negatives is 1."""
        return self.mean / self.negative

    @property
    def relative_variance(self) -> float:
        """`variance` where the mean distance of negatives is 1."""
        return self.variance / self.negative**2

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for a JSON file."""
        names = ("anchors", "mean", "variance", "negative", "relative_mean", "relative_variance")
        return {name: getattr(self, name) for name in names}


def spread(embeddings: Embeddings) -> Spread:
    """Measure the spread of positives.

    Args:
        embeddings: of any sightings; each is compared with each other, block by block.

    Raises:
        InputError: no sighting has two positives, or none has a negative.
    """
    kept = embeddings[np.flatnonzero(embeddings.sightings.pids != JUNK)]
    pids, camids = kept.sightings.pids, kept.sightings.camids
    scorer = appearance(kept, kept)
    distances, variances = [], []
    negative, negatives = 0.0, 0
    for rows in blocks(len(kept), len(kept)):
        block = as_array(scorer.block(rows, slice(None))).astype(np.float64)
        same = pids[rows, None] == pids
        positive = same & (pids > DISTRACTOR)
        if camids is not None:
            positive &= (camids[rows, None] != camids) | (camids[rows, None] == UNKNOWN)
        positive[np.arange(len(block)), np.arange(len(kept))[rows]] = False
        for found, other, row in zip(positive, ~same, block):
            if found.sum() > 1:
                distances.append(row[found])
                variances.append(row[found].var())
                negative += row[other].sum()
                negatives += int(other.sum())
    if not distances:
        raise InputError("no sighting has two others of its person by other cameras, so nothing can be spread")
    if not negatives:
        raise InputError("all sightings show one person, so there is no distance of others to compare with")
    return Spread(np.concatenate(distances), np.array(variances), float(negative / negatives))


COLOURS = ("#2a9d6f", "#9b5fc0", "#c94f6d", "#8a8f98")
"""Of series after the two of a theme."""


def chart(spreads: Mapping[str, Spread], theme: Theme) -> bytes:
    """The relative distances of positives, and their relative variance per anchor, as PNG.

    Args:
        spreads: by the name of the network, in the order in which they are drawn; up to six.
        theme: colours.
    """
    colours = (theme.same, theme.different, *COLOURS)
    if not 0 < len(spreads) <= len(colours):
        raise InputError(f"a chart of spreads shows one to {len(colours)} networks, got {len(spreads)}")
    figure, axes = canvas(theme, (8.4, 3.6 + 0.25 * len(spreads)))
    axes.remove()
    left, right = figure.subplots(1, 2)
    scaled = {name: s.distances / s.negative for name, s in spreads.items()}
    bins = np.histogram_bin_edges(np.concatenate([*scaled.values()]), 60).tolist()
    for colour, (name, values) in zip(colours, scaled.items()):
        weights = np.full(len(values), 100 / len(values))
        left.hist(values, bins, weights=weights, histtype="stepfilled", color=colour, alpha=0.15)
        label = f"{name}: mean {spreads[name].relative_mean:.3f}"
        left.hist(values, bins, weights=weights, histtype="step", color=colour, linewidth=1.8, label=label)
    style(left, theme, size=10)
    left.set(xlabel="distance of positives (mean of negatives = 1)", ylabel="share of pairs, %")
    left.set_ylim(0, left.get_ylim()[1] * (1.05 + 0.1 * len(spreads)))  # room for the legend above the curves
    left.legend(loc="upper right", frameon=False, labelcolor=theme.ink, fontsize=9)

    # The middle half of the anchors is the box, and nine in ten lie between the whiskers.
    boxes = [s.variances / s.negative**2 for s in spreads.values()]
    places = np.arange(len(boxes), 0, -1).tolist()
    drawn = right.boxplot(boxes, positions=places, widths=0.5, whis=(5, 95), showfliers=False, orientation="horizontal")
    for lines in drawn.values():
        for line in lines:
            line.set(color=theme.ink, linewidth=1.2)
    ends = [line.get_xdata()[1] for line in drawn["whiskers"][1::2]]
    for place, colour, one in zip(places, colours, spreads.values()):
        mean = one.relative_variance
        right.plot(mean, place, "o", color=colour, markersize=8, zorder=3)
        right.text(mean, place + 0.29, f"mean {mean:.4f}", color=theme.ink, ha="center", va="bottom", size=9)
    right.set_yticks(places, [*spreads])
    right.set_ylim(0.4, len(boxes) + 0.8)
    right.set_xlim(0, 1.08 * max(max(ends), *(s.relative_variance for s in spreads.values())))
    style(right, theme, size=10)
    right.set_xlabel("variance of an anchor's distances to positives")
    right.grid(False, axis="y")
    return to_png(figure)
