"""MSMT17: fifteen cameras, indoors and outdoors, over four days; in two releases, the second with masked faces."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.errors import InputError
from reidentify.values import Sightings

FACTS = Facts(
    title="MSMT17",
    paper="Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-Identification, CVPR 2018, section 3 and"
    " table 1",
    licence="research only, under a signed release agreement",
    obtain="Ask for it at https://www.pkuvmc.com/dataset.html (a signed agreement is needed) and unpack MSMT17_V1.",
    folder="MSMT17_V1",
    counts={
        "train": Counts(32_621, 1_041, 15),
        "query": Counts(11_659, 3_060, 15),
        "gallery": Counts(82_161, 3_060, 15),
    },
    notes="Train is the published list_train.txt and list_val.txt together, as in the paper's count. Train and test"
    " number their people separately from 0; here train has the pids 1 to 1041 and test those after. Names tell the day"
    " and the part of it but no clock, so there are no times: the attributes day (month * 100 + day) and period"
    " (0 morning, 1 noon, 2 afternoon) hold them, and frames the published frame number.",
)
VARIANTS = {
    "v1": FACTS,
    "v2": replace(
        FACTS,
        title="MSMT17 V2",
        obtain="Ask for it at https://www.pkuvmc.com/dataset.html (a signed agreement is needed) and unpack MSMT17_V2.",
        folder="MSMT17_V2",
        notes=FACTS.notes + " In this release faces are masked.",
    ),
}
TRAIN_IDENTITIES = 1_041
FOLDERS = {"v1": ("train", "test"), "v2": ("mask_train_v2", "mask_test_v2")}
LISTS = {"train": ("list_train.txt", "list_val.txt"), "query": ("list_query.txt",), "gallery": ("list_gallery.txt",)}
NAME = re.compile(r"\d+_\d+_(\d+)_(\d{4})(morning|noon|afternoon)_(\d+)_.*")
PERIODS = {"morning": 0, "noon": 1, "afternoon": 2}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set; variant `v2` is the release with masked faces, otherwise the first release is read."""
    layout.check_split(split, FACTS)
    release = variant or "v1"
    facts = VARIANTS[release]
    lists = [name for names in LISTS.values() for name in names]
    places = {r: layout.find(root, [VARIANTS[r].folder, "msmt17"], [*FOLDERS[r], *lists]) for r in FOLDERS}
    home = places[release]
    if home is None:
        other = next((r for r, p in places.items() if p is not None), None)
        if other is not None:
            raise InputError(f"{facts.title}: only {VARIANTS[other].folder} is under {root}; ask for msmt17-{other}")
        raise layout.missing(root, facts, " and ".join([*FOLDERS[release], *lists]))
    train, test = FOLDERS[release]
    parts = [
        _listed(home / (train if part == "train" else test), home / name, part)
        for part, names in LISTS.items()
        for name in names
    ]
    return Benchmark(f"msmt17-{release}", Sightings.concat(parts), facts=facts)


def _listed(folder: Path, path: Path, split: str) -> Sightings:
    """The images of one list file: a relative path and an identity per line."""
    files, labels, names = [], [], []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition(" ")
        match = NAME.fullmatch(Path(file).stem)
        if match is None or not label.isdigit():
            raise InputError(
                f"{path}, line {number}: expected a line like 0000/0000_000_01_0303morning_0008_0.jpg 0, got {line!r}"
            )
        files.append(folder / file)
        labels.append(int(label))
        names.append(match.groups())
    if not files:
        raise InputError(f"{path}: lists no images")
    cameras, days, periods, frames = zip(*names)
    return layout.rows(
        files,
        np.array(labels) + (1 if split == "train" else 1 + TRAIN_IDENTITIES),
        np.array(cameras, dtype=np.int64),
        split,
        frames=np.array(frames, dtype=np.int64),
        attributes={"day": np.array(days, dtype=np.int64), "period": np.array([PERIODS[p] for p in periods])},
    )
