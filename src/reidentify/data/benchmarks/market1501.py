"""Market-1501: six cameras before a supermarket, with distractors and junk; optionally 500,000 distractors more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import find
from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout, market1501_attributes
from reidentify.errors import InputError
from reidentify.ranking.protocol import MARKET1501, MARKET1501_TRACKLETS
from reidentify.values import DISTRACTOR, JUNK, Sightings

FACTS = Facts(
    title="Market-1501",
    paper="Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015, section 3; the counts of files are"
    " those of the data set's own page (zheng-lab-anu.github.io/Project/project_reid.html)",
    licence="research only; neither commercial use nor redistribution (readme.txt of the archive)",
    obtain="Get Market-1501-v15.09.15.zip from https://zheng-lab-anu.github.io/Project/project_reid.html and unpack it"
    " there.",
    folder="Market-1501-v15.09.15",
    counts={"train": Counts(12_936, 751, 6), "query": Counts(3_368, 750, 6), "gallery": Counts(19_732, 750, 6)},
    fps=25.0,
    own_clocks=True,
    notes="The gallery's 19,732 files include junk (pid -1, ignored in ranking) and distractors (pid 0, wrong for every"
    " query); without the junk it has 15,913. Frame numbers restart with each sequence; times put a camera's sequences"
    " end to end, so they tell the order and the distance within a camera, not the clock. If the folder"
    " market1501-annotations lies beside the set, its 14 joints per image are read as keypoints, and"
    " market_attribute.mat (Lin et al., Pattern Recognition 2019) as attributes of the identities. Attributes of the"
    " sightings (orientation, truncation, legs) are derived from the joints, not labelled.",
)
VARIANTS = {
    "500k": replace(
        FACTS,
        title="Market-1501 + 500k",
        obtain="Get distractors_500k.zip from https://zheng-lab-anu.github.io/Project/project_reid.html and unpack it"
        " inside the folder of Market-1501, where it becomes images/.",
        counts={**FACTS.counts, "gallery": Counts(None, 750, 6)},
        notes=FACTS.notes + " The distractors of images/ or distractors_500k/ join the gallery with pid 0.",
    ),
    "tracklets": replace(
        FACTS,
        title="Market-1501 as tracklets",
        paper=FACTS.paper + "; grouped into tracklets here, so the counts of tracklets are our own",
        counts={"train": Counts(12_936, 751, 6, 3_541), "query": Counts(13_115, 750, 6, 3_618)},
        notes="Not a published set, but real tracklets: the images of bounding_box_train and bounding_box_test that"
        " show one identity in one sequence of one camera, in the order of their frames. 3,541 to train on (1,393 with"
        " 4 images or more, 42 at most) and 3,618 to test on (1,454 and 43), of which each is a query; junk,"
        " distractors and the folder query are left out. Neighbours lie two seconds apart in the median, minutes where"
        " a person left and came back within the sequence; one in eleven is a second box of the same frame. "
        + FACTS.notes,
    ),
}
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
SPLITS = ("train", "query", "gallery")
# The published query folder holds one name that ends in .jpg.jpg.
NAME, EXAMPLE = r"(-1|\d+)_c([1-6])s(\d+)_(\d+)_(\d+)(?:\.jpg)?", "0002_c1s1_000451_03.jpg"

SEQUENCE_FRAMES = {
    1: (72681, 74546, 74881, 74661, 74891, 54346),
    2: (163691, 164677, 98102),
    3: (161708, 161769, 104469),
    4: (72107, 72373, 74810, 74541, 74910, 50616),
    5: (161095, 161724, 103487),
    6: (87551, 131268, 95817, 30952),
}
"""Frames of each camera's sequences, in order (from Wang et al., Spatial-Temporal Person Re-identification, AAAI 2019:
the published code of st-ReID, on whose time line results with Market's times rest). They are the largest frame numbers
found; for five sequences a few images go beyond, by 24 seconds at most, without running into the next sequence."""


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set; variant `500k` adds the distractors of `images/` to the gallery, `tracklets` joins its images."""
    layout.check_split(split, FACTS)
    facts = VARIANTS[variant] if variant else FACTS
    home = layout.locate(root, FACTS, FOLDERS, ["market1501", "market"])
    places = [p / "market1501-annotations" for p in (root, home, home.parent, home.parent.parent)]
    used = FOLDERS if variant != "tracklets" else FOLDERS[::2]
    parts = [_folder(home / folder, SPLITS[FOLDERS.index(folder)], places) for folder in used]
    protocol = MARKET1501
    if variant == "tracklets":
        train, test = (_tracklets(part) for part in parts)
        parts = [train, test.replace(split=np.full(len(test), "query", object))]
        protocol = MARKET1501_TRACKLETS
    elif variant == "500k":
        extra = next((home / n for n in ("images", "distractors_500k") if (home / n).is_dir()), None)
        if extra is None:
            raise InputError(f"{facts.title}: expected the distractors in {home / 'images'}. {facts.obtain}")
        parts.append(_distractors(extra))
    table = find(market1501_attributes.NAME, (*places, home, home / "attribute"))
    rows, schema = market1501_attributes.label(Sightings.concat(parts), table)
    return Benchmark("market1501", rows, protocol, facts, schema)


def _folder(folder: Path, split: str, places: Sequence[Path]) -> Sightings:
    """The images of one of the three published folders."""
    files = layout.images(folder)
    names = layout.parse(files, NAME, EXAMPLE)
    pids, camids, sequences, frames, _ = np.array([m.groups() for m in names]).astype(np.int64).T
    joints = find(f"market1501_14point_{split}.mat", places)
    keypoints = None if joints is None else _joints(joints, len(files))
    times = seconds(camids, sequences, frames)
    return layout.rows(files, pids, camids, split, frames=frames, times=times, keypoints=keypoints)


def _tracklets(images: Sightings) -> Sightings:
    """The images of each identity, camera and sequence as one row, in the order of their frames; pids > 0 only."""
    images = images[np.flatnonzero(images.pids > DISTRACTOR)]
    assert images.files is not None
    names = layout.parse([Path(f) for f in images.files], NAME, EXAMPLE)
    sequences, boxes = (np.array([int(m[i]) for m in names]) for i in (3, 5))
    keys = np.array([images.pids, images.camids, sequences])
    order = np.lexsort((boxes, images.frames, *keys[::-1]))
    images, keys = images[order], keys[:, order]
    first = np.flatnonzero(np.r_[True, (np.diff(keys) != 0).any(axis=0)])
    rows = {name: column[first] for name in Sightings.ROWS if (column := getattr(images, name)) is not None}
    return images.replace(**rows, offsets=np.r_[first, len(images)])


def _distractors(folder: Path) -> Sightings:
    """The images of the 500k extension: known is only that a person and a camera begin each name."""
    files = layout.images(folder)
    names = layout.parse(files, r"(-1|\d+)_c(\d+).*", "0000_c1s1_000151_01.jpg")
    pids, camids = np.array([m.groups() for m in names]).astype(np.int64).T
    return layout.rows(files, np.where(pids == JUNK, JUNK, DISTRACTOR), camids, "gallery")


def seconds(camids: NDArray[np.int64], sequences: NDArray[np.int64], frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds on each camera's own time line: its sequences end to end, at 25 frames a second.

    Args:
        camids, sequences, frames: N each, int64, as in the file names (cameras and sequences from 1).

    Raises:
        InputError: a camera has no such sequence.
    """
    starts = np.full((7, 8), -1, np.int64)
    for camera, lengths in SEQUENCE_FRAMES.items():
        starts[camera, 1 : len(lengths) + 1] = np.cumsum((0, *lengths[:-1]))
    known = starts[camids, np.clip(sequences, 0, 7)]
    if (known < 0).any():
        row = int(np.argmax(known < 0))
        raise InputError(f"Market-1501: camera {camids[row]} has no sequence {sequences[row]}; a file name is wrong")
    return (known + frames) / 25.0


def _joints(path: Path, count: int) -> NDArray[np.float32]:
    """Joints of the images in sorted order of their names: `count` x 14 x 3, the third column 1 (all are given).

    The files count pixels from 1, as MATLAB does: their whole numbers run from 1 to 64 and from 1 to 128.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            flat = np.asarray(file["pp"], dtype=np.float32) - 1
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: not the published joints of Market-1501 ({error})") from None
    if flat.shape != (count, 28):
        raise InputError(f"{path}: expected {count} x 28 numbers, one row per image of the folder, got {flat.shape}")
    return np.stack([flat[:, :14], flat[:, 14:], np.ones_like(flat[:, :14])], axis=2)
