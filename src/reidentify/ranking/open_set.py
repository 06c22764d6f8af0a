"""Open-set search: does the gallery hold this person at all? False alarms against right finds, over thresholds."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.files import write, write_parquet
from reidentify.ranking.distance import Scorer
from reidentify.ranking.evaluate import match_sightings, scorer_for, sightings_of
from reidentify.ranking.protocol import Protocol
from reidentify.ranking.thresholds import Curve, OperatingPoint
from reidentify.ranking.verify import identified, measure
from reidentify.values import Embeddings, Sightings

FALSE_ALARMS = (0.01, 0.1)
"""The false-positive identification rates that a table states, as far as there are queries enough to measure them."""
OPEN_SET, CURVE = "open_set.json", "open_set.parquet"


@dataclass(frozen=True, eq=False)
class OpenSet:
    """How well a threshold tells whether a person is in the gallery, and finds the person who is.

    Every query is searched twice. Without its person in the gallery, anything within the threshold is a false alarm:
    the false-positive identification rate (FPIR) is the share of queries with one. With its person there, the query
    is found if a right row is within the threshold and before every wrong one: the detection and identification rate
    (DIR) at rank 1, 1 minus the miss rate FNIR of NIST. Without a threshold DIR is rank-1.

    Sources: Phillips, Grother and Micheals, "Evaluation Methods in Face Recognition", Handbook of Face Recognition,
    chapter 14 (DIR and false alarm rate); Grother, Ngan and Hanaoka, FRVT Part 2: Identification, NISTIR 8271 (FPIR).

    Args:
        protocol: the rule that says which gallery rows each query sees.
        gallery: number of gallery rows.
        rows: Q, int64. The query rows that have an identity; what follows is of these.
        nearest_wrong: Q, float64. Distance of the nearest row of another person; infinite without any.
        nearest_right: Q, float64. Distance of the nearest match; infinite without any.
        first: Q, bool. Whether that match stands before every wrong row; of equal distances the earlier gallery row
            does.
        cosine: whether distances are cosine distances, so that 1 minus a threshold is a similarity.
    """

    protocol: Protocol
    gallery: int
    rows: NDArray[np.int64]
    nearest_wrong: NDArray[np.float64]
    nearest_right: NDArray[np.float64]
    first: NDArray[np.bool_]
    cosine: bool

    @property
    def absent(self) -> int:
        """Searches without the person in the gallery, over which FPIR is taken: one per query."""
        return len(self.rows)

    @cached_property
    def present(self) -> int:
        """Searches with the person in the gallery, over which DIR is taken: one per query with a match."""
        return int(np.isfinite(self.nearest_right).sum())

    @cached_property
    def curve(self) -> Curve:
        """False alarms and right finds at every threshold."""
        wrong = np.sort(self.nearest_wrong[np.isfinite(self.nearest_wrong)])
        found = np.sort(self.nearest_right[self.first])
        thresholds = np.unique(np.concatenate([wrong, found]))
        thresholds = np.concatenate([[np.nextafter(thresholds[0], -np.inf)], thresholds])
        alarms, finds = (side.searchsorted(thresholds, "right") for side in (wrong, found))
        return Curve(thresholds, alarms, finds, (self.absent, self.present), self.cosine)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Distances at which the rates change, rising; before them one that accepts nothing. K, float64."""
        return self.curve.thresholds

    @property
    def fpir(self) -> NDArray[np.float64]:
        """False-positive identification rate at each threshold. K, float64."""
        return self.curve.false_rate

    @property
    def dir(self) -> NDArray[np.float64]:
        """Detection and identification rate at rank 1 at each threshold. K, float64."""
        return self.curve.true_rate

    def at(self, fpir: float) -> OperatingPoint:
        """The largest threshold whose FPIR is not above `fpir`, with its DIR as `true_rate`.

        Raises:
            InputError: a rate that is not above 0 or is above 1, or that so few queries cannot show.
        """
        return self.curve.at(fpir)

    def __repr__(self) -> str:
        rates = [f"DIR {p.true_rate:.4f} at FPIR {rate:g}" for rate, p in self.curve.points(FALSE_ALARMS).items()]
        return f"OpenSet({self.protocol.name}: {', '.join([*rates, f'{self.absent} queries'])})"

    def __str__(self) -> str:
        """The rates as a table in percent, with their thresholds and the rule."""
        rows = [("DIR, no threshold", self.dir[-1], "rank-1: everybody is taken to be in the gallery")]
        for rate, point in self.curve.points(FALSE_ALARMS).items():
            alarms = f"{round(point.false_rate * self.absent):,} false alarms"
            rows.append((f"DIR at FPIR {rate:g}", point.true_rate, f"up to {self.curve.words(point)}, {alarms}"))
        table = [f"  {name:<18}{100 * value:6.2f} %   {note}" for name, value, note in rows]
        head = (
            f"Open-set search, protocol {self.protocol.name}: {self.gallery:,} gallery rows, {self.absent:,} queries"
            f" without their person there, {self.present:,} with"
        )
        rule = (
            "  FPIR: share of queries that raise a false alarm where the gallery lacks their person. DIR: share whose"
            f" first answer is right and within the threshold. Rule: {self.protocol.rule}"
        )
        return "\n".join([head, *table, textwrap.fill(rule, 98, subsequent_indent="  ")])

    def summary(self) -> dict[str, Any]:
        """The rates by name, as in `open_set.json`; thresholds as distances, and as similarities where cosine."""
        points = {f"{r:g}": self.curve.named(p, "fpir", "dir") for r, p in self.curve.points(FALSE_ALARMS).items()}
        return {
            "dir_at_fpir": points, "dir_without_threshold": float(self.dir[-1]),
            "searches_absent": self.absent, "searches_present": self.present, "gallery": self.gallery,
            "protocol": self.protocol.name, "rule": self.protocol.rule,
        }  # fmt: skip

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `open_set.parquet` (one row per threshold), then `open_set.json`, into `folder`."""
        write_parquet(self.curve.table("fpir", "dir"), Path(folder) / CURVE)
        write(Path(folder) / OPEN_SET, json.dumps(self.summary(), indent=2, allow_nan=False) + "\n")


def open_set(
    query: Embeddings | Sightings,
    gallery: Embeddings | Sightings,
    protocol: Protocol | None = None,
    *,
    scorer: Scorer | None = None,
) -> OpenSet:
    """Search every query that has an identity, with its person in the gallery and without.

    What the protocol ignores is in neither gallery; distractors are other people. A protocol that draws its gallery
    is not drawn here: every gallery row counts.

    Args:
        query, gallery: Embeddings, compared by cosine distance; with a `scorer`, their Sightings are enough.
        protocol: the rule, chosen as by `evaluate` if None.
        scorer: what measures the distances instead; its rows are those of `query` and `gallery`.

    Raises:
        InputError: as `evaluate`; also where the gallery holds nobody but the query's person, or a distance is
            infinite.
    """
    matches = match_sightings(sightings_of(query), sightings_of(gallery), protocol)
    matches.require()
    distances = scorer_for(query, gallery, matches, scorer=scorer)
    groups = identified(matches)
    rows = np.concatenate(groups)
    wrong, right, first = np.full(len(rows), np.inf), np.full(len(rows), np.inf), np.zeros(len(rows), bool)
    lists = (one for group in groups for one in measure(distances, group, matches))
    for i, (row, given) in enumerate(zip(rows, lists)):
        positives, others = matches.positives[row], given.copy()
        others[matches.left_out(row)] = np.inf
        others[positives] = np.inf
        nearest_wrong = int(others.argmin())
        wrong[i] = others[nearest_wrong]
        if len(positives):
            nearest_right = positives[given[positives].argmin()]
            right[i] = given[nearest_right]
            first[i] = (right[i], nearest_right) < (wrong[i], nearest_wrong)
    if np.isinf(wrong).all():
        raise InputError("the gallery holds nobody but each query's own person: give it other people too")
    return OpenSet(matches.protocol, len(matches.gallery_pids), rows, wrong, right, first, cosine=scorer is None)
