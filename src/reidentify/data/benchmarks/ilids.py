"""QMUL i-LIDS: 119 people in an airport's arrival hall; cameras not told; seeded splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Download, Facts
from reidentify.data.benchmarks import layout
from reidentify.ranking.protocol import NO_CAMERAS
from reidentify.values import Sightings

FACTS = Facts(
    title="i-LIDS",
    paper="Zheng, Gong and Xiang, Associating Groups of People, BMVC 2009 (119 people, 476 images); one gallery image"
    " per person and the others probes as in Zheng, Gong and Xiang, Person Re-identification by Probabilistic Relative"
    " Distance Comparison, CVPR 2011, section 4",
    licence="research only; the footage is the UK Home Office's i-LIDS",
    obtain="Fetch http://www.eecs.qmul.ac.uk/~jason/data/i-LIDS_Pedestrian.tgz and unpack it so that"
    " i-LIDS_Pedestrian/Persons holds the images.",
    folder="i-LIDS_Pedestrian",
    counts={"train": Counts(None, 59), "query": Counts(None, 60), "gallery": Counts(60, 60)},
    downloads=(Download("http://www.eecs.qmul.ac.uk/~jason/data/i-LIDS_Pedestrian.tgz"),),
    splits=layout.RANDOM_SPLITS,
    notes="No splits are published: @0 to @9 are seeded. Names tell the person and the number of the image, not the"
    " camera; cameras are unknown. With one gallery image per person every score is single-shot.",
)
VARIANTS: dict[str, Facts] = {}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, ["Persons"], ["ilids"])
    files = np.array(layout.images(home / "Persons"))
    names = layout.parse(files, r"(\d{4})(\d+)", "0001001.jpg")
    pids = np.array([int(m[1]) for m in names], dtype=np.int64)
    trained = np.isin(pids, layout.draw(pids, len(np.unique(pids)) // 2, split))
    order = np.random.default_rng([split, 1]).permutation(len(pids))
    _, first = np.unique(pids[order], return_index=True)
    drawn = np.isin(np.arange(len(pids)), order[first])  # one random image of every person
    parts = {"train": trained, "query": ~trained & ~drawn, "gallery": ~trained & drawn}
    # The people of i-LIDS are numbered from 1, so that no number is a reserved one.
    sightings = [layout.rows(files[m], pids[m], None, s) for s, m in parts.items()]
    return Benchmark("ilids", Sightings.concat(sightings), NO_CAMERAS, FACTS)
