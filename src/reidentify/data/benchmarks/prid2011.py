"""PRID2011, the single-shot part: two cameras over a street, 200 people seen by both; seeded splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.ranking.protocol import SINGLE_SHOT
from reidentify.values import Sightings

SHARED = 200
"""People 1 to 200 are the same in both views; higher numbers mean different people in each."""

FACTS = Facts(
    title="PRID2011",
    paper="Hirzer et al., Person Re-Identification by Descriptive and Discriminative Classification, SCIA 2011 (385 and"
    " 749 people, 200 in both); 100 of the 200 for training as in Hirzer et al., Relaxed Pairwise Learned Metric for"
    " Person Re-identification, ECCV 2012",
    licence="research only",
    obtain="Get it at https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/PRID11/ and unpack it so"
    " that prid_2011/single_shot holds cam_a and cam_b.",
    folder="prid_2011",
    counts={"train": Counts(200, 100, 2), "query": Counts(100, 100, 1), "gallery": Counts(649, 649, 1)},
    splits=layout.RANDOM_SPLITS,
    notes="No splits are published: @0 to @9 are seeded. Probes from view A are searched among 100 partners and the 549"
    " people whom only view B shows; the 185 whom only view A shows are not used.",
)
VARIANTS: dict[str, Facts] = {}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, ["single_shot/cam_a", "single_shot/cam_b"], ["prid2011", "prid"])
    views = [np.array(layout.images(home / "single_shot" / view)) for view in ("cam_a", "cam_b")]
    people = [
        np.array([int(m[1]) for m in layout.parse(v, r"person_(\d+)", "person_0001.png")], dtype=np.int64)
        for v in views
    ]
    shared = people[0][people[0] <= SHARED]
    train = layout.draw(shared, len(shared) // 2, split)
    parts = []
    for camera, (files, pids, role) in enumerate(zip(views, people, ("query", "gallery")), start=1):
        trained = np.isin(pids, train)
        tested = ~trained & ((pids <= SHARED) | (role == "gallery"))
        for name, chosen in (("train", trained), (role, tested)):
            parts.append(layout.rows(files[chosen], pids[chosen], np.full(int(chosen.sum()), camera), name))
    return Benchmark("prid2011", Sightings.concat(parts), SINGLE_SHOT, FACTS)
