"""CUHK01: two cameras on a campus, two images of each person per camera; seeded splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.errors import InputError
from reidentify.ranking.protocol import SINGLE_SHOT
from reidentify.values import Sightings

FACTS = Facts(
    title="CUHK01",
    paper="Li et al., Human Reidentification with Transferred Metric Learning, ACCV 2012 (971 people, 3,884 images);"
    " 485 for training and 486 for testing as commonly evaluated",
    licence="research only",
    obtain="Ask for CUHK01.zip at https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html and unpack it so that"
    " CUHK01/campus holds the images.",
    folder="CUHK01",
    counts={"train": Counts(1_940, 485, 2), "query": Counts(972, 486, 1), "gallery": Counts(972, 486, 1)},
    splits=layout.RANDOM_SPLITS,
    notes="No splits are published: @0 to @9 are seeded. Images 1 and 2 of a person are camera 1 (the queries), 3 and 4"
    " camera 2. The people are those of CUHK02's first camera pair: do not train on one and test on the other.",
)
VARIANTS = {
    "100": replace(
        FACTS,
        paper="Li et al., ACCV 2012; 871 people for training and 100 for testing as in Ahmed et al., An Improved Deep"
        " Learning Architecture for Person Re-Identification, CVPR 2015, section 5",
        counts={"train": Counts(3_484, 871, 2), "query": Counts(200, 100, 1), "gallery": Counts(200, 100, 1)},
    )
}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set; variant `100` tests on 100 people, otherwise half of them are tested."""
    layout.check_split(split, FACTS)
    facts = VARIANTS[variant] if variant else FACTS
    home = layout.locate(root, FACTS, ["campus"])
    files = np.array(layout.images(home / "campus"))
    names = layout.parse(files, r"(\d{4})(\d{3})", "0001001.png")
    pids, numbers = np.array([m.groups() for m in names]).astype(np.int64).T
    camids = (numbers + 1) // 2
    people = len(np.unique(pids))
    if variant and people <= 100:
        raise InputError(f"{home / 'campus'}: {people} people are too few to test on 100")
    trained = np.isin(pids, layout.draw(pids, people - 100 if variant else people // 2, split))
    parts = {"train": trained, "query": ~trained & (camids == 1), "gallery": ~trained & (camids == 2)}
    sightings = [layout.rows(files[m], pids[m], camids[m], s) for s, m in parts.items()]
    return Benchmark("cuhk01", Sightings.concat(sightings), SINGLE_SHOT, facts)
