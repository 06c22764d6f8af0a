"""VIPeR: 632 people, one image from each of two views; seeded splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Download, Facts
from reidentify.data.benchmarks import layout
from reidentify.errors import InputError
from reidentify.ranking.protocol import SINGLE_SHOT
from reidentify.values import Sightings

FACTS = Facts(
    title="VIPeR",
    paper="Gray, Brennan and Tao, Evaluating Appearance Models for Recognition, Reacquisition, and Tracking, PETS 2007"
    " (632 pairs, half of them for training)",
    licence="no licence stated by the publisher; cite the paper",
    obtain="Fetch http://users.soe.ucsc.edu/~manduchi/VIPeR.v1.0.zip and unpack it so that VIPeR holds cam_a and"
    " cam_b.",
    folder="VIPeR",
    counts={"train": Counts(632, 316, 2), "query": Counts(316, 316, 1), "gallery": Counts(316, 316, 1)},
    downloads=(Download("http://users.soe.ucsc.edu/~manduchi/VIPeR.v1.0.zip"),),
    splits=layout.RANDOM_SPLITS,
    notes="No splits are published: @0 to @9 are seeded, and papers average over ten. Queries come from cam_a.",
)
VARIANTS: dict[str, Facts] = {}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, ["cam_a", "cam_b"])
    views = [_view(home / v) for v in ("cam_a", "cam_b")]
    people = sorted(views[0])
    if people != sorted(views[1]):
        raise InputError(f"{home}: cam_a and cam_b show different people; unpack VIPeR again")
    trained = set(layout.draw(np.array(people), len(people) // 2, split).tolist())
    parts = []
    for camera, (view, role) in enumerate(zip(views, ("query", "gallery")), start=1):
        for split_name, chosen in (("train", trained), (role, set(people) - trained)):
            # The people of the first view are numbered through: the published numbers have gaps and start at 0.
            pids = [1 + i for i, p in enumerate(people) if p in chosen]
            files = [view[p] for p in people if p in chosen]
            parts.append(layout.rows(files, pids, np.full(len(files), camera), split_name))
    return Benchmark("viper", Sightings.concat(parts), SINGLE_SHOT, FACTS)


def _view(folder: Path) -> dict[int, Path]:
    """The image of each person (by published number) in one view."""
    files = layout.images(folder)
    return {int(m[1]): f for f, m in zip(files, layout.parse(files, r"(\d+)_(\d+)", "000_45.bmp"))}
