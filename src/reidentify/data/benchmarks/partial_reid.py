"""Partial-REID: a test set; people cut off by the frame or an obstacle are searched among whole ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.values import Sightings

FACTS = Facts(
    title="Partial-REID",
    paper="Zheng et al., Partial Person Re-identification, ICCV 2015, section 4.1 (60 people, 900 images: five whole,"
    " five occluded and five partial each)",
    licence="research only",
    obtain="Ask the authors of the paper for it and unpack it so that Partial-REID_Dataset holds partial_body_images,"
    " occluded_body_images and whole_body_images.",
    folder="Partial-REID_Dataset",
    counts={"query": Counts(300, 60), "gallery": Counts(300, 60)},
    notes="No training images. Queries are the partial images (cut to what is seen), with the variant `occluded` the"
    " occluded ones (uncut). The cameras are not told; queries count as camera 1 and whole images as camera 2, so that"
    " none is ignored.",
)
VARIANTS = {"occluded": FACTS}
GALLERY = "whole_body_images"


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set; variant `occluded` takes the occluded images as queries instead of the partial ones."""
    layout.check_split(split, FACTS)
    query = f"{variant or 'partial'}_body_images"
    home = layout.locate(root, FACTS, [query, GALLERY], ["partial-reid", "partialreid"])
    parts = []
    for camera, (folder, role) in enumerate(((query, "query"), (GALLERY, "gallery")), start=1):
        files = layout.images(home / folder)
        pids = np.array([int(m[1]) for m in layout.parse(files, r"(\d+)_.*", "001_001.jpg")])
        parts.append(layout.rows(files, pids, np.full(len(files), camera), role))
    return Benchmark("partial-reid", Sightings.concat(parts), facts=FACTS)
