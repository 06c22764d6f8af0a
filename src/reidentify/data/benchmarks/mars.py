"""MARS: tracklets of six cameras before a supermarket, detected and tracked by machine, with distractors and junk."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import find
from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout, mars_attributes
from reidentify.data.benchmarks.tracklets import chosen, matrix
from reidentify.errors import InputError
from reidentify.ranking.protocol import MARS_OFFICIAL
from reidentify.values import Sightings

FACTS = Facts(
    title="MARS",
    paper="Zheng et al., MARS: A Video Benchmark for Large-Scale Person Re-identification, ECCV 2016; the counts are"
    " those of its official split files (github.com/liangzheng06/MARS-evaluation), without the queries in the gallery",
    licence="no licence is stated with the split files; made for academic research, cite the paper",
    obtain="Get bbox_train.zip and bbox_test.zip from http://www.liangzheng.com.cn/Project/project_mars.html and the"
    " folder info from https://github.com/liangzheng06/MARS-evaluation, and put bbox_train, bbox_test and info into"
    " MARS.",
    folder="MARS",
    counts={
        "train": Counts(509_914, 625, 6, 8_298),
        "query": Counts(114_493, 626, 6, 1_980),
        "gallery": Counts(566_596, 620, 6, 10_200),
    },
    notes="Cut from the footage of Market-1501, whose numbers its people have, but split otherwise: 307 of the 634"
    " tested people are among those that Market-1501 trains on, so do not train on one and test on the other. The"
    " default protocol is the official one, mars-official: the gallery holds all 12,180 test tracklets, the 1,980"
    " queries among them. Many papers use torchreid's (--protocol mars-torchreid), which takes the queries out"
    " and so leaves 140 of them without a match; the scores of the two are not comparable. 870 gallery tracklets are"
    " junk (pid -1) and 3,248 distractors (pid 0). Frames are numbered within their tracklet and no clock is told, so"
    " there are no times. If mars_attributes.csv lies in info, in MARS or in mars-annotations beside it, its labels are"
    " read as attributes.",
)
VARIANTS: dict[str, Facts] = {}
NAME = re.compile(r"(00-1|\d{4})C([1-6])T(\d+)F(\d+)\.jpg")
EXAMPLE = "0001C1T0001F001.jpg"
INFO = ("train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat")


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, ["bbox_train", "bbox_test", "info"])
    absent = [name for name in INFO if not (home / "info" / name).is_file()]
    if absent:
        raise InputError(f"{FACTS.title}: expected {' and '.join(absent)} in {home / 'info'}. {FACTS.obtain}")
    (train, first), (test, second) = (_side(home, side) for side in ("train", "test"))
    path = home / "info" / "query_IDX.mat"
    roles = np.full(len(test), "gallery", dtype=object)
    roles[chosen(path, matrix(path, "query_IDX"), len(test))] = "query"
    sightings = Sightings.concat(
        [train.replace(split=np.full(len(train), "train", dtype=object)), test.replace(split=roles)]
    )
    places = (home / "info", home, root / "mars-annotations", home.parent / "mars-annotations")
    table = find(mars_attributes.NAME, places)
    if table is None:
        return Benchmark("mars", sightings, MARS_OFFICIAL, FACTS)
    assert sightings.camids is not None
    columns, schema = mars_attributes.read(table, sightings.pids, sightings.camids, np.concatenate([first, second]))
    return Benchmark("mars", sightings.replace(attributes=columns), MARS_OFFICIAL, FACTS, schema)


def _side(home: Path, side: str) -> tuple[Sightings, NDArray[np.int64]]:
    """The tracklets of train or test (without a split), and their published numbers (N, int64)."""
    names, table = home / "info" / f"{side}_name.txt", home / "info" / f"tracks_{side}_info.mat"
    files = names.read_text().split()
    numbers = _numbers(names, files)
    tracks = matrix(table, f"track_{side}_info")
    if tracks.ndim != 2 or tracks.shape[1] != 4:
        raise InputError(f"{table}: expected rows of first and last frame, person and camera, got shape {tracks.shape}")
    begins, ends = tracks[:, 0] - 1, tracks[:, 1]
    wrong = np.flatnonzero((begins < 0) | (ends <= begins) | (ends > len(files)))
    if len(wrong):
        raise InputError(
            f"{table}: row {wrong[0] + 1} is of the frames {begins[wrong[0]] + 1} to {ends[wrong[0]]}, but {names.name}"
            f" has {len(files)} lines"
        )
    lengths = ends - begins
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.repeat(np.arange(len(tracks)), lengths)
    taken = np.repeat(begins - offsets[:-1], lengths) + np.arange(offsets[-1])
    other = np.flatnonzero((numbers[taken, :2] != tracks[rows, 2:]).any(axis=1))
    if len(other):
        row, frame = rows[other[0]], taken[other[0]]
        raise InputError(
            f"{table}: row {row + 1} is of person {tracks[row, 2]} and camera {tracks[row, 3]}, but its frame"
            f" {files[frame]} is not; a tracklet shows one person before one camera"
        )
    folder = home / f"bbox_{side}"
    _require(folder, table, files, rows, taken)
    return Sightings(
        tracks[:, 2],
        camids=tracks[:, 3],
        files=np.array([f"{folder}/{files[i][:4]}/{files[i]}" for i in taken], dtype=object),
        frames=numbers[taken, 3],
        offsets=offsets,
    ), numbers[begins, 2]


def _numbers(path: Path, files: list[str]) -> NDArray[np.int64]:
    """Person, camera, tracklet and frame in each name: F x 4, int64."""
    numbers = np.empty((len(files), 4), dtype=np.int64)
    for line, file in enumerate(files):
        match = NAME.fullmatch(file)
        if match is None:
            raise InputError(f"{path}, line {line + 1}: expected a name like {EXAMPLE}, got {file}")
        numbers[line] = [int(number.removeprefix("00-1") or -1) for number in match.groups()]
    return numbers


def _require(folder: Path, table: Path, files: list[str], rows: NDArray[np.int64], taken: NDArray[np.int64]) -> None:
    """Refuse a tracklet that lacks a frame on disk; whole folders are listed, for there are over a million files."""
    there: dict[str, set[str]] = {}
    for person in {file[:4] for file in files}:
        there[person] = set(os.listdir(folder / person)) if (folder / person).is_dir() else set()
    absent = np.array([files[i] not in there[files[i][:4]] for i in taken], dtype=bool)
    if absent.any():
        row = rows[absent][0]
        missing = taken[absent & (rows == row)]
        raise InputError(
            f"{table}: row {row + 1} is a tracklet of {int((rows == row).sum())} frames, of which {len(missing)} are"
            f" not in {folder} ({files[missing[0]]}, for instance); unpack {folder.name}.zip again"
        )
