"""CUHK02: five pairs of cameras on a campus; the fifth pair is the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.values import Sightings

FACTS = Facts(
    title="CUHK02",
    paper="Li and Wang, Locally Aligned Feature Transforms across Views, CVPR 2013, section 4 (971, 306, 107, 193 and"
    " 239 people in the pairs P1 to P5, two images per camera)",
    licence="research only",
    obtain="Ask for it at https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html and unpack it so that"
    " CUHK02/Dataset holds P1 to P5.",
    folder="CUHK02",
    counts={"train": Counts(6_308, 1_577, 8), "query": Counts(478, 239, 1), "gallery": Counts(478, 239, 1)},
    notes="P1 to P4 train and P5 tests, its first camera the query, as commonly evaluated; the paper itself tests"
    " within each pair. The people of P1 are those of CUHK01. Each pair numbers its people separately.",
)
VARIANTS: dict[str, Facts] = {}
PAIRS = ("P1", "P2", "P3", "P4", "P5")


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, PAIRS, ["Dataset"])
    parts, offset = [], 0
    for number, pair in enumerate(PAIRS):
        views = [layout.images(home / pair / view) for view in ("cam1", "cam2")]
        labels = [np.array([int(m[1]) for m in layout.parse(v, r"(\d+)_.*", "012_0023.png")]) for v in views]
        people = np.unique(np.concatenate(labels))
        for view, (files, names) in enumerate(zip(views, labels)):
            role = "train" if pair != PAIRS[-1] else ("query", "gallery")[view]
            pids = offset + 1 + np.searchsorted(people, names)
            parts.append(layout.rows(files, pids, np.full(len(files), 2 * number + view + 1), role))
        offset += len(people)
    return Benchmark("cuhk02", Sightings.concat(parts), facts=FACTS)
