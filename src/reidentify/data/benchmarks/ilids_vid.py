"""iLIDS-VID: 300 people, one tracklet from each of two cameras in an airport's arrival hall; ten published splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.data.benchmarks.tracklets import chosen, matrix, views
from reidentify.errors import InputError
from reidentify.ranking.protocol import SINGLE_SHOT

FACTS = Facts(
    title="iLIDS-VID",
    paper="Wang et al., Person Re-Identification by Video Ranking, ECCV 2014 (300 people, half of them for training)",
    licence="research only; the footage is the UK Home Office's i-LIDS",
    obtain="Get iLIDS-VID.tar from https://xiatian-zhu.github.io/downloads_qmul_iLIDS-VID_ReID_dataset.html and unpack"
    " it so that iLIDS-VID holds i-LIDS-VID and 'train-test people splits'.",
    folder="iLIDS-VID",
    counts={
        "train": Counts(None, 150, 2, 300),
        "query": Counts(None, 150, 1, 150),
        "gallery": Counts(None, 150, 1, 150),
    },
    splits=10,
    notes="@0 to @9 are the published splits of train_test_splits_ilidsvid.mat, over which papers average: the first"
    " half of a split's people tests, the other half trains, each counted by the place of the person's folder. Queries"
    " come from cam1, the gallery from cam2, one tracklet each. Frame numbers are as published; no clock is told.",
)
VARIANTS: dict[str, Facts] = {}
VIEWS = ("i-LIDS-VID/sequences/cam1", "i-LIDS-VID/sequences/cam2")
SPLIT_FILE = "train-test people splits/train_test_splits_ilidsvid.mat"


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, [*VIEWS, SPLIT_FILE])
    path = home / SPLIT_FILE
    people = sorted(p.name for p in (home / VIEWS[0]).iterdir() if p.is_dir())
    listed = matrix(path, "ls_set")
    if listed.ndim != 2 or listed.shape[0] != FACTS.splits or listed.shape[1] != len(people):
        raise InputError(
            f"{path}: expected {FACTS.splits} splits of the {len(people)} people in {VIEWS[0]}, got shape"
            f" {listed.shape}"
        )
    order = chosen(path, listed[split], len(people))
    train, test = (
        [people[i] for i in np.sort(part)] for part in (order[len(people) // 2 :], order[: len(people) // 2])
    )
    name, example = r"cam(\d+)_person(\d+)_(\d+)", "cam1_person001_00317.png"
    sightings = views([home / v for v in VIEWS], train, test, r"person(\d+)", name, example)
    return Benchmark("ilids-vid", sightings, SINGLE_SHOT, FACTS)
