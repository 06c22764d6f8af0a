"""LS-VID: tracklets of fifteen cameras on a campus, indoors and outdoors, over four days."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.data.benchmarks.tracklets import Tracklet, chosen, matrix, ordered, rows, single
from reidentify.data.root import image_files
from reidentify.errors import InputError
from reidentify.ranking.protocol import LS_VID
from reidentify.values import JUNK, Sightings

FACTS = Facts(
    title="LS-VID",
    paper="Li et al., Global-Local Temporal Representations for Video Person Re-Identification, ICCV 2019, section 3"
    " (3,772 people, 15 cameras; 842 of the people for training); tracklets as public loaders count them, without the"
    " queries in the gallery",
    licence="research only, under a signed agreement",
    obtain="Ask the authors of the paper for it and unpack it so that LS-VID holds tracklet_train, tracklet_test,"
    " list_sequence and test (or the last two inside info).",
    folder="LS-VID",
    counts={
        "train": Counts(None, 842, 15, 2_831),
        "query": Counts(None, None, None, 3_504),
        "gallery": Counts(None, None, None, 7_829),
    },
    notes="The format is known here from public loaders alone, not from the set itself: each line of"
    " list_seq_train.txt and list_seq_test.txt is the beginning of the paths of a tracklet's frames, and a person; the"
    " third part of a frame's name is its camera, the fourth its number; query in info_test.mat counts the lines of the"
    " test list from 1. If a person is numbered 0, all numbers are raised by one, for 0 stands for distractors here and"
    " this set has none. The validation part (200 people) is not read. Its authors' rule lets the queries stand in the"
    " gallery, where loaders that leave them out take the matches of some queries away. No clock is told.",
)
VARIANTS: dict[str, Facts] = {}
LISTS = {"train": "list_sequence/list_seq_train.txt", "test": "list_sequence/list_seq_test.txt"}
QUERIES = ("test/data/info_test.mat", "data/info_test.mat")
LINE = "tracklet_train/0001/0001_0001 1"
NAME, EXAMPLE = r"[^_]+_[^_]+_(\d+)_(\d+).*", "0001_0001_03_0000001.jpg"


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, ["tracklet_train", "tracklet_test"], ["lsvid"])
    lists = {side: _first(home, [name]) for side, name in LISTS.items()}
    queries = _first(home, QUERIES)
    lines = {side: _lines(path) for side, path in lists.items()}
    shift = int(any(person == 0 for listed in lines.values() for _, person in listed))
    train, test = (_tracklets(home, lists[side], lines[side], shift) for side in LISTS)
    asking = chosen(queries, matrix(queries, "query"), len(test))
    roles = np.full(len(test), "gallery", dtype=object)
    roles[asking] = "query"
    return Benchmark(
        "lsvid", Sightings.concat([rows(train, "train"), rows(test, "gallery").replace(split=roles)]), LS_VID, FACTS
    )


def _first(home: Path, names: tuple[str, ...] | list[str]) -> Path:
    """The first of the files that is there, in the set's folder or in info inside it."""
    found = next((p / n for p in (home, home / "info") for n in names if (p / n).is_file()), None)
    if found is None:
        raise InputError(f"{FACTS.title}: expected {names[0]} in {home} or {home / 'info'}. {FACTS.obtain}")
    return found


def _lines(path: Path) -> list[tuple[str, int]]:
    """The beginning of the frames' paths and the person, of each line."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        start, _, person = line.strip().rpartition(" ")
        if not start or not re.fullmatch(r"-1|\d+", person):
            raise InputError(f"{path}, line {number}: expected a path and a person like {LINE}, got {line!r}")
        found.append((start.strip(), int(person)))
    if not found:
        raise InputError(f"{path}: lists no tracklets")
    return found


def _tracklets(home: Path, path: Path, lines: list[tuple[str, int]], shift: int) -> list[Tracklet]:
    """The tracklets of a list; a folder, which holds all tracklets of a person, is read once."""
    there: dict[Path, list[Path]] = {}
    found = []
    for number, (start, person) in enumerate(lines, start=1):
        folder, prefix = (home / start.lstrip("/")).parent, Path(start).name
        if folder not in there:
            there[folder] = image_files(folder) if folder.is_dir() else []
        # A prefix without a closing underscore must not take in the tracklet 10 when it names the tracklet 1.
        begins = prefix if prefix.endswith("_") else f"{prefix}_"
        files = [f for f in there[folder] if f.name.startswith(begins)]
        if not files:
            raise InputError(f"{path}, line {number}: no frame of the tracklet {start} is in {folder}; unpack it again")
        files, names = ordered(files, NAME, EXAMPLE)
        pid = person if person == JUNK else person + shift
        try:
            camera = single(names[:, 0], "camera", files)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        found.append(Tracklet(files, names[:, 1], pid, camera))
    return found
