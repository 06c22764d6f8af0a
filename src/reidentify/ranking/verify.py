"""Verification: same person or not, decided by a threshold; ROC, TPR at a stated FPR, EER and AUC over all pairs."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.files import write, write_parquet
from reidentify.ranking.distance import Floats, Scorer, as_array, blocks
from reidentify.ranking.evaluate import match_sightings, scorer_for, sightings_of
from reidentify.ranking.matches import Lists, Matches
from reidentify.ranking.protocol import Protocol
from reidentify.ranking.thresholds import Curve, OperatingPoint
from reidentify.values import DISTRACTOR, Embeddings, Sightings

STEPS = 1 << 16
"""Distances are counted in at most this many steps, and in at least half as many, over the range they take."""
FALSE_RATES = (1e-2, 1e-3, 1e-4)
"""The false positive rates that a table states, as far as there are pairs enough to measure them."""
_CACHED = 1 << 18
"""Distances counted together: few enough to stay in the processor's cache."""
VERIFICATION, ROC = "verification.json", "roc.parquet"


@dataclass(frozen=True, eq=False)
class Counts:
    """How many pairs of one person and of two lie at which distance, on a grid.

    The lines of the grid are the integer multiples of 2^-exponent, and entry i counts the distances above line
    `first + i - 1` up to line `first + i`, itself included. Scaling by a power of two does not round, so what lies
    up to a line is counted exactly; two grids can be joined on the coarser one, again exactly.

    Args:
        exponent: the step between the lines is 2^-exponent.
        first: the first line.
        same, different: K, int64.
    """

    exponent: int
    first: int
    same: NDArray[np.int64]
    different: NDArray[np.int64]

    @staticmethod
    def of(distances: Floats, same: Floats, left_out: Floats) -> Counts:
        """Of finite distances, those among them of one person, and those of pairs that do not count."""
        low, high = float(distances.min()), float(distances.max())
        # Where all are nearly equal, the step stays above the rounding of 32 bits.
        span = max(high - low, max(abs(low), abs(high)) * 2.0**-24, 2.0**-60)
        exponent = int(np.floor(np.log2((STEPS - 2) / span)))
        scale = distances.dtype.type(2.0**exponent)
        first, last = (int(np.ceil(distances.dtype.type(end) * scale)) for end in (low, high))

        def counted(some: Floats) -> NDArray[np.int64]:
            found, flat = np.zeros(last - first + 1, np.int64), some.reshape(-1)
            for start in range(0, len(flat), _CACHED):
                lines = np.ceil(flat[start : start + _CACHED] * scale)
                lines -= first
                found += np.bincount(lines.astype(np.int64), minlength=len(found))
            return found

        of_one = counted(same)
        return Counts(exponent, first, of_one, counted(distances) - of_one - counted(left_out))

    @property
    def step(self) -> float:
        """Distance between two lines of the grid."""
        return float(2.0**-self.exponent)

    def coarser(self, exponent: int) -> Counts:
        """The same pairs on a grid of larger steps."""
        lines = -(-(self.first + np.arange(len(self.same))) >> (self.exponent - exponent))  # divided and rounded up

        def gathered(counts: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.bincount(lines - lines[0], counts).astype(np.int64)

        return Counts(exponent, int(lines[0]), gathered(self.same), gathered(self.different))

    def __add__(self, other: Counts) -> Counts:
        """The pairs of both, on the finest grid that both can have and that covers them in `STEPS` steps."""
        exponent = min(self.exponent, other.exponent)
        while True:
            parts = self.coarser(exponent), other.coarser(exponent)
            first = min(part.first for part in parts)
            size = max(part.first + len(part.same) for part in parts) - first
            if size <= STEPS:
                break
            exponent -= 1
        same, different = np.zeros((2, size), np.int64)
        for part in parts:
            here = slice(part.first - first, part.first - first + len(part.same))
            same[here] += part.same
            different[here] += part.different
        return Counts(exponent, first, same, different)

    def curve(self, cosine: bool) -> Curve:
        """What a threshold on each line of the grid accepts that has something new to accept."""
        used = np.flatnonzero(self.same + self.different)
        lines = (self.first + used) * self.step
        return Curve(
            np.concatenate([[lines[0] - self.step], lines]),
            np.concatenate([[0], np.cumsum(self.different[used])]),
            np.concatenate([[0], np.cumsum(self.same[used])]),
            (int(self.different.sum()), int(self.same.sum())),
            cosine,
        )


@dataclass(frozen=True, eq=False)
class Verification:
    """How well a threshold on the distance tells pairs of one person from pairs of two.

    Thresholds stand on a grid, and the rates at each are exact; distances within one step of the grid count as equal.

    Args:
        protocol: the rule that says which pairs count.
        counts: the pairs by distance.
        cosine: whether distances are cosine distances, so that 1 minus a threshold is a similarity.
    """

    protocol: Protocol
    counts: Counts
    cosine: bool

    @cached_property
    def curve(self) -> Curve:
        """False and true positives at every threshold."""
        return self.counts.curve(self.cosine)

    @property
    def different(self) -> int:
        """Number of pairs of two people."""
        return self.curve.trials[0]

    @property
    def same(self) -> int:
        """Number of pairs of one person."""
        return self.curve.trials[1]

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Distances at which the rates change, rising; before them one that accepts nothing. K, float64."""
        return self.curve.thresholds

    @property
    def fpr(self) -> NDArray[np.float64]:
        """Share of the pairs of two people that each threshold accepts. K, float64."""
        return self.curve.false_rate

    @property
    def tpr(self) -> NDArray[np.float64]:
        """Share of the pairs of one person that each threshold accepts. K, float64."""
        return self.curve.true_rate

    def at(self, fpr: float) -> OperatingPoint:
        """The largest threshold whose false positive rate is not above `fpr`, with its true positive rate.

        Raises:
            InputError: a rate that is not above 0 or is above 1, or that so few pairs cannot show.
        """
        return self.curve.at(fpr)

    @cached_property
    def auc(self) -> float:
        """Area under the ROC curve: how probably a pair of one person is nearer than one of two, ties half."""
        return float((np.diff(self.fpr) * (self.tpr[1:] + self.tpr[:-1])).sum() / 2)

    @cached_property
    def eer(self) -> OperatingPoint:
        """Where as large a share of the pairs of two people is accepted as is refused of those of one.

        The rates are those where the curve, straight between two points, crosses that line; the threshold is that of
        the point nearer to the crossing.
        """
        over = self.fpr + self.tpr - 1  # from -1 to 1, never falling
        after = int(np.argmax(over >= 0))
        before = after - 1
        share = -over[before] / (over[after] - over[before])
        rate = float(self.fpr[before] + share * (self.fpr[after] - self.fpr[before]))
        return OperatingPoint(float(self.thresholds[after if share >= 0.5 else before]), rate, 1 - rate)

    def __repr__(self) -> str:
        pairs = f"{self.same:,} same and {self.different:,} different pairs"
        return f"Verification({self.protocol.name}: EER {self.eer.false_rate:.4f}, AUC {self.auc:.4f}, {pairs})"

    def __str__(self) -> str:
        """The rates as a table in percent, with their thresholds and the rule that chose the pairs."""
        rows = [("AUC", self.auc, ""), ("EER", self.eer.false_rate, f"at {self.curve.words(self.eer)}")]
        for rate, point in self.curve.points(FALSE_RATES).items():
            accepted = f"{round(point.false_rate * self.different):,} false"
            rows.append((f"TPR at FPR {rate:g}", point.true_rate, f"up to {self.curve.words(point)}, {accepted}"))
        table = [f"  {name:<18}{100 * value:6.2f} %   {note}".rstrip() for name, value, note in rows]
        head = (
            f"Verification, protocol {self.protocol.name}: {self.same:,} pairs of one person, {self.different:,} of two"
        )
        rule = (
            f"  Rule: {self.protocol.rule} Every pair that is not ignored counts, without draws. Thresholds stand"
            f" {self.counts.step:.2g} apart, and the rates at each are exact."
        )
        return "\n".join([head, *table, textwrap.fill(rule, 98, subsequent_indent="  ")])

    def summary(self) -> dict[str, Any]:
        """The rates by name, as in `verification.json`; thresholds as distances, and as similarities where cosine."""
        points = {f"{r:g}": self.curve.named(p, "fpr", "tpr") for r, p in self.curve.points(FALSE_RATES).items()}
        return {
            "auc": self.auc, "eer": self.curve.named(self.eer, "fpr", "tpr"), "tpr_at_fpr": points,
            "pairs_same": self.same, "pairs_different": self.different, "step": self.counts.step,
            "protocol": self.protocol.name, "rule": self.protocol.rule,
        }  # fmt: skip

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `roc.parquet` (one row per threshold), then `verification.json`, into `folder`."""
        write_parquet(self.curve.table("fpr", "tpr"), Path(folder) / ROC)
        write(Path(folder) / VERIFICATION, json.dumps(self.summary(), indent=2, allow_nan=False) + "\n")


def verification(
    query: Embeddings | Sightings,
    gallery: Embeddings | Sightings,
    protocol: Protocol | None = None,
    *,
    scorer: Scorer | None = None,
) -> Verification:
    """Count the pairs of one person and of two by their distance, block by block; the whole matrix never exists.

    A pair is a query with an identity and a gallery row. Those that the protocol ignores are left out; distractors are
    other people. A protocol that draws its gallery is not drawn here: every gallery row counts. As in ranking, two
    people seen by one camera make a pair even where the rule ignores one person seen by one camera.

    Args:
        query, gallery: Embeddings, compared by cosine distance; with a `scorer`, their Sightings are enough.
        protocol: the rule, chosen as by `evaluate` if None.
        scorer: what measures the distances instead; its rows are those of `query` and `gallery`.

    Raises:
        InputError: as `evaluate`; also where no pair is of two people, or a distance is infinite.
    """
    matches = match_sightings(sightings_of(query), sightings_of(gallery), protocol)
    matches.require()
    distances = scorer_for(query, gallery, matches, scorer=scorer)
    counts = reduce(add, (_counted(measure(distances, rows, matches), rows, matches) for rows in identified(matches)))
    if not counts.different.any():
        raise InputError("every pair is of one person, so none can be mistaken: give the gallery other people too")
    return Verification(matches.protocol, counts, cosine=scorer is None)


def identified(matches: Matches) -> list[NDArray[np.int64]]:
    """The query rows that have an identity, in groups small enough for a block of distances."""
    known = np.flatnonzero(matches.query_pids > DISTRACTOR)
    return [known[part] for part in blocks(len(known), len(matches.gallery_pids))]


def measure(scorer: Scorer, rows: NDArray[np.int64], matches: Matches) -> Floats:
    """Distances of some query rows to the whole gallery, all finite.

    Raises:
        InputError: another shape, or a distance that is infinite or NaN (query and gallery row are named).
    """
    gallery = len(matches.gallery_pids)
    block = as_array(scorer.block(rows, slice(0, gallery)))
    if block.shape != (len(rows), gallery):
        raise InputError(f"distances: expected a block of {len(rows)} x {gallery} (query x gallery), got {block.shape}")
    if not (np.isfinite(block.min()) and np.isfinite(block.max())):
        row, column = np.argwhere(~np.isfinite(block))[0]
        raise InputError(
            f"distances: {block[row, column]} between query row {rows[row]} and gallery row {column}; a threshold needs"
            " finite distances"
        )
    return block


def _counted(block: Floats, rows: NDArray[np.int64], matches: Matches) -> Counts:
    def listed(lists: Lists) -> Floats:
        return block[np.repeat(np.arange(len(rows)), lists.lengths[rows]), np.concatenate([lists[r] for r in rows])]

    left_out = np.concatenate([block[:, matches.junk].ravel(), listed(matches.ignored)])
    return Counts.of(block, listed(matches.positives), left_out)
