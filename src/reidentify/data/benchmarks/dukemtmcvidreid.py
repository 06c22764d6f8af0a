"""DukeMTMC-VideoReID: tracklets of eight cameras on a campus. Withdrawn by its authors: only the format is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import find
from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import dukemtmc_attributes, layout
from reidentify.data.benchmarks.dukemtmcreid import FPS, START_FRAMES
from reidentify.data.benchmarks.tracklets import Tracklet, folders, numbered, rows, single
from reidentify.errors import InputError
from reidentify.values import Sightings

FACTS = Facts(
    title="DukeMTMC-VideoReID",
    paper="Wu et al., Exploit the Unknown Gradually: One-Shot Video-Based Person Re-Identification by Stepwise"
    " Learning, CVPR 2018; counts as in the set's README (github.com/Yu-Wu/DukeMTMC-VideoReID), those of the query as"
    " public loaders count them; frame rate from Ristani et al., ECCV 2016 workshops",
    licence="withdrawn by the authors of DukeMTMC in 2019 over the privacy of the people in it",
    obtain="The set was withdrawn over the privacy of the people in it and is not offered again; its format is read for"
    " those who hold it.",
    folder="DukeMTMC-VideoReID",
    counts={
        "train": Counts(369_656, 702, 8, 2_196),
        "query": Counts(111_848, 702, 8, 702),
        "gallery": Counts(445_764, 1_110, 8, 2_636),
    },
    fps=FPS,
    notes="The published folder gallery holds a copy of every query tracklet, so that the queries stand in the gallery"
    " as under MARS's official protocol, each ignored by its own query because it is of its camera. 408 gallery"
    " identities have no query. Frames are in the order of their number in the tracklet (F), all of them kept; frame"
    " numbers are those of the camera's video (X), and times on the network's common clock as in DukeMTMC-reID. Names"
    " with and without underscores are read. If duke_attributes.csv lies in the folder or beside it, its labels are"
    " read as attributes. The people are those of DukeMTMC-reID: do not train on one and test on the other.",
)
VARIANTS: dict[str, Facts] = {}
SPLITS = ("train", "query", "gallery")
NAME, EXAMPLE = r"(\d{4})_?C([1-8])_?F(\d+)_?X(\d+)", "0001_C6_F0099_X30823.jpg"


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, SPLITS, ["dukemtmc-vidreid"])
    parts, numbers = zip(*(_folder(home / name, name) for name in SPLITS))
    sightings = Sightings.concat(parts)
    frames, camids = sightings.frames, sightings.camids
    assert frames is not None
    assert camids is not None
    starts = np.array(START_FRAMES)[camids[sightings.frame_rows()] - 1]
    sightings = sightings.replace(times=(frames + starts - 1) / FPS)
    table = find(dukemtmc_attributes.VIDEO_NAME, (home, home.parent))
    if table is None:
        return Benchmark("dukemtmcvidreid", sightings, facts=FACTS)
    columns, schema = dukemtmc_attributes.read(table, sightings.pids, camids, np.concatenate(numbers))
    return Benchmark("dukemtmcvidreid", sightings.replace(attributes=columns), facts=FACTS, schema=schema)


def _folder(place: Path, split: str) -> tuple[Sightings, NDArray[np.int64]]:
    """The tracklets of one of the three folders, and their numbers (N, int64; -1 where the folder's name is none)."""
    found, numbers = [], []
    for person in folders(place):
        for folder in folders(person):
            files, names = numbered(folder, NAME, EXAMPLE, by=2)
            pid, camid = single(names[:, 0], "person", files), single(names[:, 1], "camera", files)
            if person.name.lstrip("0") != str(pid):
                raise InputError(f"{files[0]}: is of person {pid} and lies in the folder of person {person.name}")
            found.append(Tracklet(files, names[:, 3], pid, camid))
            numbers.append(int(folder.name) if folder.name.isdecimal() else -1)
    return rows(found, split), np.array(numbers, dtype=np.int64)
