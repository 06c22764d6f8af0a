"""The Result: scores, the values of every query, and the protocol that made them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.files import read_parquet, write, write_parquet
from reidentify.ranking import statistics
from reidentify.ranking.protocol import PROTOCOLS, Protocol
from reidentify.ranking.statistics import Averages, Comparison

METRICS, PER_QUERY = "metrics.json", "per_query.parquet"
RANKS = (1, 5, 10)
_STATED = ("queries", "valid_queries", "mAP", "mAP_trapezoid", "mINP")
"""What both files tell, and so must agree on."""
_COLUMNS = ("pids", "camids", "matches", "ap", "ap_trapezoid", "inp", "first_rank")


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """Scores of each query camera against the matches of each gallery camera.

    The matches that other cameras hold are ignored and every wrong answer stays, whatever its camera; so each
    pair is ranked in the gallery of the whole benchmark. (The toolkit of Market-1501 ranks a pair within the rows of
    that one gallery camera: evaluate `gallery[gallery.sightings.camids == c]` for that.)

    Args:
        query_cameras: A, int64, sorted.
        gallery_cameras: B, int64, sorted.
        queries: A x B, int64. Queries with a match in that camera.
        rank1, mAP: A x B, float64, fractions; NaN where there are no queries. Where the protocol draws galleries,
            rank-1 (and, if it draws them for everything, mAP) is of the draws that hold a match of that camera, and NaN
            if none does.
    """

    query_cameras: NDArray[np.int64]
    gallery_cameras: NDArray[np.int64]
    queries: NDArray[np.int64]
    rank1: NDArray[np.float64]
    mAP: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Result:
    """What an evaluation found. Scores are fractions, not percent.

    `mAP`, `mINP` and `cmc` average over the queries that have a match (the valid ones); `mAP_trapezoid` is the
    official convention of Market-1501 and MARS, which averages over all, with 0 for a query without a match.
    Where the protocol draws its gallery, the values of a query are means over the draws.

    Args:
        protocol: the rule that made the scores.
        gallery: number of gallery rows, G.
        pids: Q, int64. Identity of each query.
        camids: Q, int64, or None. Camera of each query.
        matches: Q, int64. Matches of each query.
        ap: Q, float64. Mean precision at the matches; NaN without any.
        ap_trapezoid: Q, float64. Area under the precision-recall curve by the trapezoid rule; 0 without a match.
        inp: Q, float64. Matches divided by the rank of the last one (Ye et al., "Deep Learning for Person
            Re-identification", TPAMI 2021, section 4.1); NaN without any.
        first_rank: Q, int64. Rank of the first match, from 1; 0 without any. Q x draws where the protocol draws.
        camera_pairs: None where cameras are unknown.
        ranking: in words, what was done besides comparing embeddings; empty for nothing.
    """

    protocol: Protocol
    gallery: int
    pids: NDArray[np.int64]
    camids: NDArray[np.int64] | None
    matches: NDArray[np.int64]
    ap: NDArray[np.float64]
    ap_trapezoid: NDArray[np.float64]
    inp: NDArray[np.float64]
    first_rank: NDArray[np.int64]
    camera_pairs: CameraPairs | None = None
    ranking: str = ""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which queries have a match. Q, bool."""
        return self.matches > 0

    @property
    def queries(self) -> int:
        """Number of queries."""
        return len(self.matches)

    @property
    def valid_queries(self) -> int:
        """Number of queries that have a match."""
        return int(self.valid.sum())

    @cached_property
    def mAP(self) -> float:
        """Mean of `ap` over the valid queries."""
        return float(self.ap[self.valid].mean())

    @cached_property
    def mAP_trapezoid(self) -> float:
        """Mean of `ap_trapezoid` over all queries."""
        return float(self.ap_trapezoid.mean())

    @cached_property
    def mINP(self) -> float:
        """Mean of `inp` over the valid queries."""
        return float(self.inp[self.valid].mean())

    @cached_property
    def cmc(self) -> NDArray[np.float64]:
        """Share of valid queries whose first match is among the first 1, 2, ..., G. G, float64."""
        first = self.first_rank[self.valid].reshape(-1)
        found: NDArray[np.float64] = np.cumsum(np.bincount(first, minlength=self.gallery + 1)[1:]) / len(first)
        return found

    def rank(self, k: int) -> float:
        """Share of valid queries whose first match is among the first `k`, for any k from 1."""
        if k < 1:
            raise InputError(f"rank(k): k counts from 1, got {k}")
        return float(self.cmc[min(k, self.gallery) - 1])

    def intervals(
        self, level: float = statistics.LEVEL, replicates: int = statistics.REPLICATES, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Bootstrap intervals of mAP, mAP_trapezoid, mINP, rank1, rank5 and rank10, resampling identities.

        Args:
            level: share of the resampled scores inside the interval.
            replicates: how often the identities are drawn.
            seed: of the draws.

        Returns:
            Lower and upper bound by score, as in `summary`.

        Raises:
            InputError: a level outside 0 to 1, or fewer than two identities.
        """
        return statistics.intervals(self._averages, level, replicates, seed)

    def compare(self, other: Result, names: tuple[str, str] = ("first", "second"), seed: int = 0) -> Comparison:
        """How the scores of `other` differ from these, with intervals and a paired test over identities.

        Args:
            other: a result on the same queries and gallery, under the same protocol.
            names: what the two are called when printed.
            seed: of the draws.

        Raises:
            InputError: the two were not measured on the same queries (identities, matches, and cameras where both know
                them) under the same protocol, or fewer than two identities.
        """
        if self.protocol != other.protocol:
            raise InputError(
                f"the protocols differ ({_differing(self.protocol, other.protocol)}): evaluate both under the same one"
            )
        columns = [(self.pids, other.pids), (self.matches, other.matches)]
        if self.camids is not None and other.camids is not None:
            columns.append((self.camids, other.camids))
        if self.gallery != other.gallery or any(not np.array_equal(a, b) for a, b in columns):
            raise InputError(
                f"the two results are of different queries or galleries ({self.queries} in {self.gallery:,} and"
                f" {other.queries} in {other.gallery:,} rows, or in another order): evaluate both on the same data"
            )
        if len(self._averages.sums) < 2:
            raise InputError("a comparison needs the queries of at least two identities")
        sides = self.summary(), other.summary()
        values = [(float(sides[0][name]), float(sides[1][name])) for name in self._averages.names]
        return statistics.paired(self._averages, other._averages, values, names, seed)

    @cached_property
    def _averages(self) -> Averages:
        first = self.first_rank.reshape(self.queries, -1)
        hits = {f"rank{k}": np.where(self.valid, (first <= k).mean(axis=1), np.nan) for k in RANKS}
        named = {"mAP": self.ap, "mAP_trapezoid": self.ap_trapezoid, "mINP": self.inp}
        return Averages.of(self.pids, {**named, **hits})

    @property
    def rule(self) -> str:
        """The rule of the protocol in words."""
        return self.protocol.rule

    def summary(self) -> dict[str, float | int | str]:
        """The scores by name, as in `metrics.json`."""
        ranks = {f"rank{k}": self.rank(k) for k in RANKS}
        return {
            "mAP": self.mAP, "mAP_trapezoid": self.mAP_trapezoid, "mINP": self.mINP, **ranks,
            "protocol": self.protocol.name, "rule": self.rule, "ranking": self.ranking,
            "queries": self.queries, "valid_queries": self.valid_queries, "gallery": self.gallery,
        }  # fmt: skip

    def __repr__(self) -> str:
        scores = f"mAP {self.mAP:.4f}, rank-1 {self.rank(1):.4f}"
        return f"Result({self.protocol.name}: {scores}, {self.valid_queries} of {self.queries} queries)"

    def __str__(self) -> str:
        """The scores as a table in percent, with intervals, what each averages, and the rule in words."""
        values, bounds = self.summary(), self.intervals_if_any()
        notes = {
            "mAP": "plain: mean precision at the matches",
            "mAP_trapezoid": "official Market-1501: trapezoid rule, over all queries",
            "mINP": "matches / rank of the last one",
        }
        table = []
        for name in (*notes, *(f"rank{k}" for k in RANKS)):
            low, high = (100 * v for v in bounds.get(name, (np.nan, np.nan)))
            interval = f"[{low:.1f}, {high:.1f}]" if bounds else ""
            shown = name.replace("_", " ").replace("rank", "rank-")
            table.append(
                f"  {shown:<14}{100 * float(values[name]):6.2f} %  {interval:<14}  {notes.get(name, '')}".rstrip()
            )
        valid = f"{self.valid_queries:,} with a match, over which the scores average"
        head = f"Protocol {self.protocol.name}: {self.gallery:,} gallery rows, {self.queries:,} queries ({valid})"
        rule = textwrap.fill(self.rule, 96, initial_indent="  Rule: ", subsequent_indent="  ")
        ranking = f"  Ranking: {self.ranking}." if self.ranking else ""
        brackets = "  In brackets: 95 % intervals, resampling identities." if bounds else ""
        return "\n".join(filter(None, [head, *table, ranking, brackets, rule]))

    def intervals_if_any(self) -> dict[str, tuple[float, float]]:
        """The intervals as they are printed and saved; empty where all queries are of one identity."""
        return self.intervals() if len(self._averages.sums) > 1 else {}

    @staticmethod
    def join(results: Sequence[Result]) -> Result:
        """One result of the queries of several, as when papers average over random splits of a data set.

        Raises:
            InputError: no result, or different protocols.
        """
        if not results or any(r.protocol != results[0].protocol for r in results):
            raise InputError("results to join must be under one protocol, and at least one must be given")
        known = all(r.camids is not None for r in results)
        columns: dict[str, Any] = {"camids": None}
        for name in _COLUMNS:
            if name != "camids" or known:
                columns[name] = np.concatenate([getattr(r, name) for r in results])
        gallery, ranking = max(r.gallery for r in results), results[0].ranking
        return Result(protocol=results[0].protocol, gallery=gallery, ranking=ranking, **columns)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `per_query.parquet`, then `metrics.json`, into `folder`, which is made if need be."""
        import pyarrow as pa

        columns: dict[str, Any] = {}
        for name in _COLUMNS:
            if (values := getattr(self, name)) is not None:
                flat = pa.array(values.reshape(-1))
                columns[name] = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        columns["valid"] = pa.array(self.valid)
        folder = Path(folder)
        write_parquet(pa.table(columns), folder / PER_QUERY)
        settings = dataclasses.asdict(self.protocol)
        del settings["name"], settings["rule"]
        bounds = {name: list(bound) for name, bound in self.intervals_if_any().items()}
        content = {
            **self.summary(),
            "intervals": bounds,
            "protocol_settings": settings,
            "camera_pairs": _pairs_to_json(self.camera_pairs),
        }
        write(folder / METRICS, json.dumps(content, indent=2, allow_nan=False) + "\n")

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> Result:
        """Read what `save` wrote; `folder` may also name the `metrics.json` in it.

        Raises:
            InputError: a file is missing or is not of a Result, or the two are of different results.
        """
        path = Path(folder)
        path = path if path.name == METRICS else path / METRICS
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            name, rule, gallery = content["protocol"], content["rule"], int(content["gallery"])
            ranking = str(content.get("ranking", ""))
            known = PROTOCOLS.get(name)
            protocol = Protocol(name, rule, **content["protocol_settings"])
            pairs = _pairs_from_json(content["camera_pairs"])
            stated = {score: float(content[score]) for score in _STATED}
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}): give the folder of an evaluation") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not the metrics of an evaluation ({error!r}): evaluate again") from None
        table = read_parquet(path.with_name(PER_QUERY))
        missing = [c for c in _COLUMNS if c not in table.column_names and c != "camids"]
        if missing:
            raise InputError(f"{path.with_name(PER_QUERY)}: columns {', '.join(missing)} are missing: evaluate again")
        columns = {}
        for column in table.column_names:
            array = table[column].combine_chunks()
            width = array.type.list_size if hasattr(array.type, "list_size") else None
            flat = (array if width is None else array.flatten()).to_numpy(zero_copy_only=False)
            columns[column] = flat if width is None else flat.reshape(-1, width)
        values: dict[str, Any] = {c: columns.get(c) for c in _COLUMNS}
        protocol = known if known == protocol else protocol
        result = Result(protocol=protocol, gallery=gallery, **values, camera_pairs=pairs, ranking=ranking)
        for score, value in stated.items():  # the numbers of queries first: without any, a mean is not defined
            found = float(getattr(result, score))
            if not math.isclose(value, found, rel_tol=0, abs_tol=1e-9):
                raise InputError(
                    f"{path} and {PER_QUERY} beside it are of different evaluations ({score} is {value:g} there and"
                    f" {found:g} here): evaluate again"
                )
        return result


def _differing(first: Protocol, second: Protocol) -> str:
    """In what two protocols differ: their names, or else their settings."""
    sides = dataclasses.asdict(first), dataclasses.asdict(second)
    if first.name != second.name:
        return f"{first.name} and {second.name}"
    settings = [key for key in sides[0] if key != "rule" and sides[0][key] != sides[1][key]]
    differing = "; ".join(f"{key} is {sides[0][key]!r} and {sides[1][key]!r}" for key in settings)
    return f"both are named {first.name}, but {differing or 'their rules are in other words'}"


def _pairs_to_json(pairs: CameraPairs | None) -> dict[str, Any] | None:
    if pairs is None:
        return None
    cells = [
        {
            "query_camera": int(pairs.query_cameras[a]), "gallery_camera": int(pairs.gallery_cameras[b]),
            "queries": int(pairs.queries[a, b]), "rank1": float(pairs.rank1[a, b]), "mAP": float(pairs.mAP[a, b]),
        }
        for a, b in np.argwhere(pairs.queries > 0)
    ]  # fmt: skip
    cameras = {"query_cameras": pairs.query_cameras.tolist(), "gallery_cameras": pairs.gallery_cameras.tolist()}
    return {**cameras, "pairs": cells}


def _pairs_from_json(content: dict[str, Any] | None) -> CameraPairs | None:
    if content is None:
        return None
    sides = tuple(np.array(content[side], np.int64) for side in ("query_cameras", "gallery_cameras"))
    shape = len(sides[0]), len(sides[1])
    pairs = CameraPairs(sides[0], sides[1], np.zeros(shape, np.int64), np.full(shape, np.nan), np.full(shape, np.nan))
    for cell in content["pairs"]:
        at = tuple(np.searchsorted(side, cell[k]) for side, k in zip(sides, ("query_camera", "gallery_camera")))
        pairs.queries[at], pairs.rank1[at], pairs.mAP[at] = cell["queries"], cell["rank1"], cell["mAP"]
    return pairs
