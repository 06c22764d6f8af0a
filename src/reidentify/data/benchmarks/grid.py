"""QMUL GRID: 250 people in an underground station and 775 images of others; ten published splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.data.benchmark import Benchmark, Counts, Download, Facts
from reidentify.data.benchmarks import layout
from reidentify.errors import InputError
from reidentify.ranking.protocol import SINGLE_SHOT
from reidentify.values import Sightings

FACTS = Facts(
    title="GRID",
    paper="Loy, Xiang and Gong, Multi-Camera Activity Correlation Analysis, CVPR 2009 (250 pairs, 775 further images);"
    " splits of Loy et al., Person Re-identification by Manifold Ranking, ICIP 2013 (125 people each)",
    licence="research only",
    obtain="Fetch http://personal.ie.cuhk.edu.hk/~ccloy/files/datasets/underground_reid.zip and unpack it so that"
    " underground_reid holds probe, gallery and features_and_partitions.mat.",
    folder="underground_reid",
    counts={"train": Counts(250, 125, None), "query": Counts(125, 125, None), "gallery": Counts(900, 125, None)},
    downloads=(Download("http://personal.ie.cuhk.edu.hk/~ccloy/files/datasets/underground_reid.zip"),),
    splits=10,
    notes="@0 to @9 are the published splits of features_and_partitions.mat. The 775 images of people without a probe"
    " are distractors (pid 0). Eight cameras.",
)
VARIANTS: dict[str, Facts] = {}
PARTITIONS = "features_and_partitions.mat"


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, ["probe", "gallery", PARTITIONS], ["grid"])
    train = _train_identities(home / PARTITIONS, split)
    parts = []
    for folder, role in (("probe", "query"), ("gallery", "gallery")):
        files = np.array(layout.images(home / folder))
        names = layout.parse(files, r"(\d+)_(\d+)_.*", "0001_1_25004_107_32_106_221.jpeg")
        pids, camids = np.array([m.groups() for m in names]).astype(np.int64).T
        trained = np.isin(pids, train)
        for name, chosen in (("train", trained), (role, ~trained)):
            parts.append(layout.rows(files[chosen], pids[chosen], camids[chosen], name))
    return Benchmark("grid", Sightings.concat(parts), SINGLE_SHOT, FACTS)


def _train_identities(path: Path, split: int) -> NDArray[np.int64]:
    """Training identities of one published split: `trainIdxAll{split}` holds a struct of three fields, the last
    of them the identities."""
    from scipy.io import loadmat

    try:
        cell: Any = loadmat(path)["trainIdxAll"][0][split]
        fields = cell[0][0]
        identities = np.asarray(fields[len(fields) - 1]).astype(np.int64).ravel()
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: split {split} cannot be read ({error}); unpack {FACTS.title} again") from None
    return identities
