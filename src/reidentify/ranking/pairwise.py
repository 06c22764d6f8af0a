"""Stated pairs judged one by one: confusion matrix, accuracy, ROC AUC, and intervals over identities."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from reidentify.errors import InputError
from reidentify.files import naming, read_parquet, write, write_parquet
from reidentify.ranking.statistics import LEVEL, REPLICATES

METRICS, PAIRS = "metrics.json", "pairs.parquet"


@dataclass(frozen=True, eq=False)
class PairScores:
    """What a network says of pairs whose truth is known, and how far it is right.

    Args:
        scores: P, float64. The higher, the more probably of one person.
        pids: P x 2, int64. The identities of the two images.
        threshold: scores from it on are taken for one person.
        score: what a score is, in words.
        rule: where the threshold comes from, in words.

    Raises:
        InputError: columns that do not fit together, a score that is NaN, or pairs of one kind alone.
    """

    scores: NDArray[np.floating]
    pids: NDArray[np.int64]
    threshold: float
    score: str
    rule: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float64))
        if self.scores.ndim != 1 or self.pids.shape != (len(self.scores), 2):
            raise InputError(
                f"pairs: expected P scores and P x 2 identities, got {self.scores.shape} and {self.pids.shape}"
            )
        if np.isnan(self.scores).any():
            raise InputError(f"pairs: the score of pair {int(np.argmax(np.isnan(self.scores)))} is not a number")
        if self.same.all() or not self.same.any():
            kind = "one person" if self.same.any() else "two people"
            raise InputError(f"every pair is of {kind}, so nothing can be told apart: give pairs of both kinds")

    @cached_property
    def same(self) -> NDArray[np.bool_]:
        """Which pairs are of one person. P."""
        return np.asarray(self.pids[:, 0] == self.pids[:, 1])

    @cached_property
    def accepted(self) -> NDArray[np.bool_]:
        """Which pairs are taken for one person. P."""
        return np.asarray(self.scores >= self.threshold)

    @property
    def confusion(self) -> dict[str, int]:
        """How many pairs of one person are accepted (TP) and refused (FN), and of two people (FP and TN)."""
        cells = {"tp": (True, True), "fn": (True, False), "fp": (False, True), "tn": (False, False)}
        return {name: int(((self.same == a) & (self.accepted == b)).sum()) for name, (a, b) in cells.items()}

    @property
    def rates(self) -> dict[str, float]:
        """Share of all pairs that are judged rightly; shares of those of one person and of two that are accepted."""
        c = self.confusion
        return {
            "accuracy": (c["tp"] + c["tn"]) / len(self.scores),
            "tpr": c["tp"] / (c["tp"] + c["fn"]),
            "fpr": c["fp"] / (c["fp"] + c["tn"]),
        }

    @cached_property
    def auc(self) -> float:
        """How probably a pair of one person scores higher than one of two, ties half: the area under the ROC curve."""
        values, places = np.unique(self.scores, return_inverse=True)
        same, different = (np.bincount(places[kind], minlength=len(values)) for kind in (self.same, ~self.same))
        below = np.cumsum(different) - different
        return float((same * (below + different / 2)).sum() / (same.sum() * different.sum()))

    def intervals(self, replicates: int = REPLICATES, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % percentile intervals of the rates, from resampling identities.

        Pairs that share a person succeed and fail together. A replicate draws the identities with replacement; a pair
        of one person counts as often as that person was drawn, one of two as the product of both (Owen, "The pigeonhole
        bootstrap", Annals of Applied Statistics 2007).
        """
        people, places = np.unique(self.pids, return_inverse=True)
        a, b = places.reshape(-1, 2).T
        k = len(people)
        accepted, refused = self.accepted, ~self.accepted
        own = [np.bincount(a[self.same & kind], minlength=k).astype(np.float64) for kind in (accepted, refused)]
        # How many pairs each two people have: sparse, as most have none.
        two = [
            csr_array((np.ones(int(rows.sum())), (a[rows], b[rows])), shape=(k, k))
            for rows in (~self.same & accepted, ~self.same & refused)
        ]
        rng = np.random.default_rng(seed)
        found = []
        for _ in range(-(-replicates // 100)):
            drawn = rng.multinomial(k, np.full(k, 1 / k), 100).astype(np.float64)
            tp, fn = (drawn @ counts for counts in own)
            fp, tn = (((drawn @ counts) * drawn).sum(1) for counts in two)
            with np.errstate(invalid="ignore"):
                found.append(np.stack([(tp + tn) / (tp + fn + fp + tn), tp / (tp + fn), fp / (fp + tn)], axis=1))
        low, high = np.nanquantile(np.concatenate(found)[:replicates], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return {name: (float(x), float(y)) for name, x, y in zip(self.rates, low, high)}

    def part(self, rows: NDArray[Any]) -> PairScores:
        """Some of the pairs."""
        return PairScores(self.scores[rows], self.pids[rows], self.threshold, self.score, self.rule)

    def most_confident(self, same: bool, accepted: bool, count: int) -> NDArray[np.int64]:
        """Up to `count` pairs of one cell of the confusion matrix, those farthest from the threshold first."""
        cell = np.flatnonzero((self.same == same) & (self.accepted == accepted))
        order = np.argsort(-self.scores[cell] if accepted else self.scores[cell], kind="stable")
        return cell[order][:count]

    def summary(self) -> dict[str, Any]:
        """The figures by name, as in `metrics.json`."""
        return {
            "pairs_same": int(self.same.sum()), "pairs_different": int((~self.same).sum()),
            "confusion": self.confusion, **self.rates, "auc": self.auc,
            "intervals": {name: list(ends) for name, ends in self.intervals().items()},
            "threshold": self.threshold, "score": self.score, "rule": self.rule,
        }  # fmt: skip

    def __str__(self) -> str:
        """The confusion matrix and the rates in percent, with their intervals."""
        c, bounds = self.confusion, self.intervals()
        lines = [
            f"{int(self.same.sum()):,} pairs of one person, {int((~self.same).sum()):,} of two",
            f"  {'':<22}{'taken for one person':>22}{'for two':>12}",
            f"  {'of one person':<22}{c['tp']:>22,}{c['fn']:>12,}",
            f"  {'of two people':<22}{c['fp']:>22,}{c['tn']:>12,}",
        ]
        names = {"accuracy": "accuracy", "tpr": "true positive rate", "fpr": "false positive rate"}
        for key, value in self.rates.items():
            low, high = bounds[key]
            lines.append(f"  {names[key]:<22}{100 * value:6.2f} %   [{100 * low:.2f}, {100 * high:.2f}]")
        note = (
            f"  Score: {self.score}; taken for one person from {self.threshold:.4g} on ({self.rule}). In brackets 95 %"
            " intervals, from resampling identities."
        )
        lines += [f"  {'ROC AUC':<22}{100 * self.auc:6.2f} %", textwrap.fill(note, 98, subsequent_indent="  ")]
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str], columns: Mapping[str, NDArray[Any]], **also: Any) -> None:
        """Write `pairs.parquet` (one row per pair), then `metrics.json` with `also`, into `folder`.

        Args:
            folder: is made if need be.
            columns: more columns of the table, P each.
        """
        import pyarrow as pa

        own = {
            "pid_a": self.pids[:, 0], "pid_b": self.pids[:, 1], "score": self.scores, "same": self.same,
            "accepted": self.accepted,
        }  # fmt: skip
        write_parquet(pa.table({**columns, **own}), Path(folder) / PAIRS)
        write(Path(folder) / METRICS, json.dumps(self.summary() | also, indent=2, allow_nan=False) + "\n")


def best_threshold(scores: NDArray[np.floating], same: NDArray[np.bool_]) -> float:
    """The threshold with the best accuracy on some pairs, halfway between the scores that it parts.

    Of several the one that accepts least; to accept none it lies just above the highest score.
    """
    values, places = np.unique(scores, return_inverse=True)
    positive, negative = (np.bincount(places[kind], minlength=len(values)) for kind in (same, ~same))
    # Right answers of a threshold at each of the values, and of one that accepts none.
    right = np.r_[positive[::-1].cumsum()[::-1] + np.r_[0, negative.cumsum()[:-1]], negative.sum()]
    best = len(values) - int(np.argmax(right[::-1]))
    if best == len(values):
        return float(np.nextafter(values[-1], np.inf))
    return float(values[0] if best == 0 else (np.float64(values[best - 1]) + np.float64(values[best])) / 2)


def threshold_from(folder: str | os.PathLike[str], weights: str, sha256: str, score: str) -> tuple[float, str]:
    """The threshold with the best accuracy on the pairs that a folder holds, and where it is from in words.

    Args:
        folder: written by `PairScores.save`.
        weights, sha256: name and file of the network, which must have judged these pairs.
        score: what its scores are, which must be the same.

    Raises:
        InputError: no such files, or pairs judged by another network or by another score.
    """
    path = Path(folder) / METRICS
    try:
        stated = json.loads(path.read_text())
        made_by, data = (stated["weights"], stated["sha256"]), f"{stated['data']}, {stated['split']}"
        judged_by = stated["score"]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a folder that `reidentify pairs` wrote") from None
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{path}: not written by `reidentify pairs`") from None
    if made_by != (weights, sha256):
        raise InputError(f"{folder}: its pairs were judged by other weights ({made_by[0]}): judge them anew")
    if judged_by != score:
        raise InputError(f"{folder}: its scores are {judged_by}, and now they are {score}: judge its pairs anew")
    table = read_parquet(Path(folder) / PAIRS)
    with naming(Path(folder) / PAIRS):
        if not {"score", "same"} <= set(table.column_names):
            raise InputError("expected the columns score and same")
    scores, same = (table[name].to_numpy() for name in ("score", "same"))
    return best_threshold(scores, same), f"the best accuracy on the {len(scores):,} pairs of {data}"


@dataclass(frozen=True)
class Group:
    """Pairs that have the same value of an attribute, or different ones.

    Args:
        attribute: its name.
        values: "same", "different", or the name of the value that both have.
        pairs: how many.
        accuracy, tpr, fpr: as of `PairScores.rates`, None where there is no pair to measure it on.
    """

    attribute: str
    values: str
    pairs: int
    accuracy: float | None
    tpr: float | None
    fpr: float | None


def by_attribute(
    scored: PairScores, name: str, names: tuple[str, ...], first: NDArray[np.int64], second: NDArray[np.int64]
) -> list[Group]:
    """Rates of the pairs with the same value of an attribute and of those with different ones; then value by value.

    Args:
        scored: P pairs.
        name: of the attribute.
        names: of its values.
        first, second: P each, the value of the two images; a pair with an unlabelled one (-1) is left out.
    """
    known = (first >= 0) & (second >= 0)
    kinds = {"same": known & (first == second), "different": known & (first != second)}
    kinds |= {f"both {value}": known & (first == i) & (second == i) for i, value in enumerate(names)}

    def share(which: NDArray[np.bool_], of: NDArray[np.bool_]) -> float | None:
        return float(which[of].mean()) if of.any() else None

    right = scored.accepted == scored.same
    return [
        Group(
            name,
            kind,
            int(rows.sum()),
            share(right, rows),
            share(scored.accepted, rows & scored.same),
            share(scored.accepted, rows & ~scored.same),
        )
        for kind, rows in kinds.items()
        if rows.any()
    ]
