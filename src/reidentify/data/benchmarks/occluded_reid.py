"""Occluded-REID: a test set; people behind obstacles are searched among whole ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.data.root import image_files
from reidentify.errors import InputError
from reidentify.values import Sightings

FACTS = Facts(
    title="Occluded-REID",
    paper="Zhuo et al., Occluded Person Re-identification, ICME 2018, section 3 (200 people, five occluded and five"
    " whole images each)",
    licence="non-commercial research only",
    obtain="Follow https://github.com/tinajia2012/ICME2018_Occluded-Person-Reidentification_datasets and unpack it so"
    " that Occluded_REID holds occluded_body_images and whole_body_images.",
    folder="Occluded_REID",
    counts={"query": Counts(1_000, 200), "gallery": Counts(1_000, 200)},
    notes="No training images. The cameras are not told; as is usual, occluded images count as camera 1 and whole ones"
    " as camera 2, so that none is ignored.",
)
VARIANTS: dict[str, Facts] = {}
FOLDERS = ("occluded_body_images", "whole_body_images")


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set: a folder of images per person, in either part."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, FOLDERS, ["occludedreid", "ICME2018_Occluded-Person-Reidentification_datasets"])
    parts = []
    for camera, (folder, role) in enumerate(zip(FOLDERS, ("query", "gallery")), start=1):
        files = image_files(home / folder, recursive=True)
        if not files:
            raise InputError(f"{home / folder}: holds no images; unpack {FACTS.title} again")
        names = layout.parse(files, r"(\d+)_.*", "001/001_01.tif")
        pids = np.array([int(m[1]) for m in names])
        parts.append(layout.rows(files, pids, np.full(len(files), camera), role))
    return Benchmark("occluded-reid", Sightings.concat(parts), facts=FACTS)
