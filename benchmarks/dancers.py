"""What pose does to embeddings: networks on people who dance, with every joint known.

    python benchmarks/dancers.py WEIGHTS... [--data street-dance] [--out DIR] [--seed 0]

For every network: rank-1 and mAP under the data's own protocol; how far a person in another pose is, where another
person is at 1 ("pose ratio"), and how closely distance in embedding follows distance in pose ("pose correlation"; see
`reidentify.ranking.invariance`); and how often a person is known again who was lost for 1 to 10 seconds, where the data
lost them and where a stretch was cut out of their track (`reidentify.ranking.resumption`). In brackets: 95 % intervals,
resampling identities. DIR gets dancers.json and dancers.png.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import reidentify
from reidentify.commands.shared import benchmark_of
from reidentify.data.benchmark import Benchmark
from reidentify.errors import InputError, ReidentifyError
from reidentify.files import write
from reidentify.ranking.invariance import PoseInvariance, pose_invariance
from reidentify.ranking.results import Result
from reidentify.ranking.resumption import Share, resumptions
from reidentify.report.charts import LIGHT, Theme, canvas, style, to_png
from reidentify.values import Embeddings

INKS = ("#2466c2", "#d9772b", "#2a8a5c", "#a03ca0", "#6b6f76", "#b8a21c", "#c23b4e", "#3aa6b9")
"""Colours of networks; there are no more in one chart."""


@dataclass(frozen=True)
class Scores:
    """What is measured of one network."""

    result: Result
    invariance: PoseInvariance
    lost: list[Share]
    cut: list[Share]

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **self.result.summary(), "intervals": self.result.intervals(), "invariance": self.invariance.summary(),
            "lost": [one.summary() for one in self.lost], "cut": [one.summary() for one in self.cut],
        }  # fmt: skip


def measured(said: Embeddings, data: Benchmark, seed: int) -> Scores:
    """Everything of one network from its embeddings of the test rows (`data.test`)."""
    rows = data.test
    times = rows.row_times()
    if rows.camids is None or times is None or rows.keypoints is None or not rows.is_images:
        raise InputError(f"{data.name}: images with cameras, times and joints are needed, as those of street-dance")
    asks = rows.split == "query"
    query, others = said[np.flatnonzero(asks)], said[np.flatnonzero(~asks)]
    gallery = said if data.protocol.queries_in_gallery else others
    columns = said.vectors, rows.pids, rows.camids, times
    return Scores(
        reidentify.evaluate(query, gallery, data.protocol, seed=seed),
        pose_invariance(*columns, rows.keypoints, seed=seed),
        resumptions(*columns).shares(seed=seed),
        resumptions(*columns, cut=True, seed=seed).shares(seed=seed),
    )


def bounded(value: float, bounds: tuple[float, float], scale: float = 100) -> str:
    """A figure with its interval."""
    if np.isnan(value):
        return "none"
    shown = f"{scale * value:.{1 if scale > 1 else 3}f}"
    if np.isnan(bounds[0]):
        return shown
    low, high = (f"{scale * b:.{1 if scale > 1 else 3}f}" for b in bounds)
    return f"{shown} ({low} to {high})"


def table(title: str, scores: dict[str, Scores]) -> Table:
    """One column for each network."""
    made = Table("measure", *scores, title=title)
    some = next(iter(scores.values()))
    for name, label in (("mAP", "mAP, %"), ("rank1", "rank-1, %")):
        values = {key: one.result.mAP if name == "mAP" else one.result.rank(1) for key, one in scores.items()}
        made.add_row(label, *(bounded(values[key], one.result.intervals()[name]) for key, one in scores.items()))
    found = [one.invariance for one in scores.values()]
    made.add_row("pose ratio", *(bounded(one.ratio, one.ratio_interval, 1) for one in found))
    made.add_row("pose correlation", *(bounded(one.correlation, one.correlation_interval, 1) for one in found))
    for kind in ("lost", "cut"):
        for k, share in enumerate(getattr(some, kind)):
            label = f"{kind} for {share.low:g} to {share.high:g} s: resumed, % of {share.count}"
            if share.count:
                label += f" (guessing: {100 * share.chance:.0f})"
            parts = [getattr(one, kind)[k] for one in scores.values()]
            made.add_row(label, *(bounded(part.share, part.interval) for part in parts))
    return made


def chart(scores: dict[str, Scores], theme: Theme) -> bytes:
    """Both measures of every network, as PNG."""
    figure, axes = canvas(theme, (10.4, 6.8))
    axes.remove()
    (left, right), (lost, cut) = figure.subplots(2, 2, height_ratios=[max(0.28 * len(scores), 0.5), 1])
    for panel in (left, right, lost, cut):
        style(panel, theme, 10)
    found = [one.invariance for one in scores.values()]
    for panel, name, label in (
        (left, "ratio", "pose ratio: a person in another pose (another person: 1)"),
        (right, "correlation", "pose correlation: distance of embeddings with that of poses"),
    ):
        panel.set_title(label, color=theme.ink, size=10, loc="left")
        for k, one in enumerate(found):
            value, (low, high) = getattr(one, name), getattr(one, f"{name}_interval")
            panel.plot([low, high], [k, k], color=INKS[k], linewidth=2)
            panel.plot(value, k, "o", color=INKS[k], markersize=7)
        low, high = panel.get_xlim()  # a correlation may be below 0
        panel.set(ylim=(len(found) - 0.5, -0.5), xlim=(min(0, low), max(1.02, high) if panel is left else None))
        panel.set_yticks(range(len(found)), list(scores) if panel is left else [""] * len(found))
    for panel, kind, label in ((lost, "lost", "lost in the data"), (cut, "cut", "cut out of tracks")):
        parts = {name: getattr(one, kind)[1:] for name, one in scores.items()}
        some = next(iter(parts.values()))
        for k, (name, shares) in enumerate(parts.items()):
            at = np.arange(len(shares)) + 0.09 * (k - (len(parts) - 1) / 2)
            for x, share in zip(at, shares):
                panel.plot([x, x], [100 * share.interval[0], 100 * share.interval[1]], color=INKS[k], linewidth=1.6)
            panel.plot(at, [100 * share.share for share in shares], "o-", color=INKS[k], markersize=5, label=name)
        for x, share in enumerate(some):
            panel.plot([x - 0.3, x + 0.3], [100 * share.chance] * 2, ":", color=theme.ink, linewidth=1.2)
        panel.set_title(f"known again, %: {label} (dotted: guessing)", color=theme.ink, size=10, loc="left")
        panel.set_xticks(range(len(some)), [f"{s.low:g} to {s.high:g} s\n{s.count} gaps" for s in some])
        panel.set(ylim=(0, 102))
        panel.grid(False, axis="x")
    if len(scores) > 1:
        lost.legend(loc="lower left", frameon=False, labelcolor=theme.ink, fontsize=9)
    return to_png(figure)


def main() -> None:
    """Print the table, and write the figures and the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", metavar="WEIGHTS", help="shipped weights, or run folders")
    parser.add_argument("--data", default="street-dance", help="images with times and joints (default: %(default)s)")
    parser.add_argument("--root", help="the data root")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write dancers.json and dancers.png there")
    parser.add_argument("--seed", type=int, default=0, help="of the cuts, of drawn galleries and of intervals")
    given = parser.parse_args()
    names = [Path(one).name for one in given.weights]
    if len(set(names)) < len(names):
        names = given.weights
    if len(names) > len(INKS) or len(set(names)) < len(names):
        raise SystemExit(f"give up to {len(INKS)} different weights")
    try:
        data = benchmark_of(given.data, given.root)
        scores = {}
        for name, weights in zip(names, given.weights):
            model = reidentify.load(weights)
            said = model.embed_sightings(data.test, cameras=model.card.dataset == data.name)
            scores[name] = measured(said, data, given.seed)
    except ReidentifyError as error:
        raise SystemExit(str(error)) from None
    people = len(data.test.identities)
    Console().print(table(f"{given.data}: {len(data.test):,} pictures of {people} people", scores))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        stated = [{"weights": w, **one.summary()} for w, one in zip(given.weights, scores.values())]
        write(given.out / "dancers.json", json.dumps(stated, indent=2) + "\n")
        write(given.out / "dancers.png", chart(scores, LIGHT))
        print(given.out)


if __name__ == "__main__":
    main()
