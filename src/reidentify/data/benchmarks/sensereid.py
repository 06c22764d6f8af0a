"""SenseReID: a test set without training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.values import Sightings

FACTS = Facts(
    title="SenseReID",
    paper="Zhao et al., Spindle Net: Person Re-identification with Human Body Region Guided Feature Decomposition and"
    " Fusion, CVPR 2017, section 4.1",
    licence="research only",
    obtain="The authors give the link in https://github.com/yokattame/SpindleNet/issues/1; unpack it so that"
    " SenseReID holds test_probe and test_gallery.",
    folder="SenseReID",
    counts={"query": Counts(1_040, 522), "gallery": Counts(3_388, 1_717)},
    notes="No training images. The published numbers of people and cameras start at 0; here both start at 1.",
)
VARIANTS: dict[str, Facts] = {}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, ["test_probe", "test_gallery"])
    parts = []
    for folder, role in (("test_probe", "query"), ("test_gallery", "gallery")):
        files = layout.images(home / folder)
        names = layout.parse(files, r"(\d+)_(\d+)", "00001_0.jpg")
        pids, camids = np.array([m.groups() for m in names]).astype(np.int64).T
        parts.append(layout.rows(files, pids + 1, camids + 1, role))
    return Benchmark("sensereid", Sightings.concat(parts), facts=FACTS)
