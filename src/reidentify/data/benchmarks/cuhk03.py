"""CUHK03: pairs of cameras on a campus, boxes drawn by hand or detected, in the classic and the new protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import cuhk03_mat, layout
from reidentify.data.root import image_files
from reidentify.errors import InputError
from reidentify.ranking.protocol import CUHK03_CLASSIC
from reidentify.values import Sightings

_PAPER = "Li et al., DeepReID: Deep Filter Pairing Neural Network for Person Re-identification, CVPR 2014, section 5"
_NEW = "Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017, section 5.1"
_CONFIGS = "https://github.com/zhunzhong07/person-re-ranking"


def _new(boxes: str, train: int, gallery: int) -> Facts:
    counts = {"train": Counts(train, 767, 2), "query": Counts(1_400, 700, 2), "gallery": Counts(gallery, 700, 2)}
    return Facts(
        title=f"CUHK03 ({boxes}, new protocol)",
        paper=f"{_PAPER}; split of {_NEW}",
        licence="research only, not for redistribution",
        obtain="Ask for cuhk03_release at https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html, put cuhk-03.mat"
        f" into CUHK03 and beside it cuhk03_new_protocol_config_{boxes}.mat from {_CONFIGS}; or unpack that page's"
        " cuhk03-np.",
        folder="CUHK03",
        counts=counts,
        notes="One split of 767 and 700 people, evaluated as Market-1501. Read from cuhk-03.mat (extracted once to"
        f" images_{boxes}), from such a folder of images, or from cuhk03-np. The camera is the view, 1 or 2.",
    )


def _classic(boxes: str) -> Facts:
    return Facts(
        title=f"CUHK03 ({boxes}, classic protocol)",
        paper=f"{_PAPER} (1,360 people; 100 of them in each of 20 test sets)",
        licence="research only, not for redistribution",
        obtain="Ask for cuhk03_release at https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html and put"
        " cuhk-03.mat into CUHK03.",
        folder="CUHK03",
        counts={"train": Counts(None, 1_260, 2), "query": Counts(None, 100, 2), "gallery": Counts(None, 100, 2)},
        splits=20,
        notes="@0 to @19 are the published test sets. The 1,360 people of the paper are those of the first three camera"
        " pairs (its 13,164 images are their detected boxes); some later work also trains on the 107 of the other two."
        " Every test image is a query; the gallery draws one image of the other view per person.",
    )


FACTS = _new("detected", 7_365, 5_332)
VARIANTS = {
    "np-detected": FACTS,
    "np-labeled": _new("labeled", 7_368, 5_328),
    "classic-detected": _classic("detected"),
    "classic-labeled": _classic("labeled"),
    "open-reid": replace(
        _classic("labeled"),
        title="CUHK03 (as open-reid lays it out)",
        obtain="Let open-reid prepare CUHK03, so that CUHK03 holds images, meta.json and splits.json.",
        counts={"train": Counts(None, 1_367, 2), "query": Counts(None, 100, 2), "gallery": Counts(None, 100, 2)},
        notes="open-reid puts labelled and detected boxes of all five camera pairs together; @0 to @19 are the"
        " published test sets. Its scores are not comparable with those of either kind of box.",
    ),
    "talk": replace(
        _classic("labeled"),
        title="CUHK03 (labelled, two folders)",
        paper=f"{_PAPER}; train holds the 743 people of the pairwise Siamese experiments with"
        " https://github.com/manideep2510/CUHK03_dataset (31,795 positive pairs), val 100 others, as counted",
        obtain="Put it into cuhk03-labeled, so that this holds train and val.",
        folder="cuhk03-labeled",
        counts={"train": Counts(None, 743, 2), "query": Counts(None, 100, 2), "gallery": Counts(None, 100, 2)},
        splits=1,
        notes="The folders train and val number their people separately, both from 0: they are different people. Images"
        " 00 to 04 of a person are camera 1, 05 to 09 camera 2. val is query and gallery, as in the classic protocol.",
    ),
}
ALIASES = ("cuhk03_release", "cuhk-03", "cuhk03-np")
NAME, EXAMPLE = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})"), "1_001_1_01.png"
CLASSIC_PAIRS = 3
"""Camera pairs whose people the paper counts."""


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set in one of its variants; without one, the new protocol on detected boxes."""
    variant = variant or "np-detected"
    facts = VARIANTS[variant]
    kind, _, boxes = variant.partition("-")
    layout.check_split(split, facts)
    if kind == "np":
        return Benchmark(f"cuhk03-{variant}", _read_new(root, boxes, facts), facts=facts)
    if kind == "classic":
        sightings = _read_classic(root, boxes, split, facts)
    else:
        sightings = _read_talk(root, facts) if kind == "talk" else _read_open_reid(root, split, facts)
    return Benchmark(f"cuhk03-{variant}", sightings, CUHK03_CLASSIC, facts)


def _read_new(root: Path, boxes: str, facts: Facts) -> Sightings:
    folders = ("bounding_box_train", "query", "bounding_box_test")
    ready = layout.find(root, [facts.folder, *ALIASES], [f"{boxes}/{f}" for f in folders])
    if ready is not None:
        return _market_like([ready / boxes / f for f in folders])
    config = f"cuhk03_new_protocol_config_{boxes}.mat"
    home = _home(root, boxes, facts, config)
    files = _images(home, boxes)
    return cuhk03_mat.new_protocol(home / config, files)


def _market_like(folders: Sequence[Path]) -> Sightings:
    parts = []
    for folder, split in zip(folders, ("train", "query", "gallery")):
        files = layout.images(folder)
        names = layout.parse(files, r"(\d+)_c([12])_(\d+)", "0001_c1_1.png")
        pids, camids, _ = np.array([m.groups() for m in names]).astype(np.int64).T
        parts.append(layout.rows(files, pids, camids, split))
    # The published numbers are from 1 to 1467; a copy that starts at 0 would make its first person a distractor.
    if min(int(p.pids.min()) for p in parts) == 0:
        parts = [p.replace(pids=p.pids + 1) for p in parts]
    return Sightings.concat(parts)


def _read_classic(root: Path, boxes: str, split: int, facts: Facts) -> Sightings:
    home = _home(root, boxes, facts)
    files = _images(home, boxes)
    mat = cuhk03_mat.find(home)
    made = home / f"splits_classic_{boxes}.json"  # as torchreid writes it
    if mat is not None:
        tested = cuhk03_mat.published_test_set(mat, split)
    elif made.is_file():
        tested = _torchreid_test_set(made, split)
    else:
        raise layout.missing(root, facts, f"the published test sets (in cuhk-03.mat or {made.name})")
    keys = [(int(m[1]), int(m[2])) for name in files if (m := NAME.fullmatch(Path(name).stem))]
    numbers = {key: 1 + i for i, key in enumerate(sorted(set(keys)))}
    pids = np.array([numbers[k] for k in keys])
    views = np.array([int(name.split("_")[2]) for name in files])
    paths = np.array(list(files.values()))
    test = np.array([k in tested for k in keys])
    train = ~test & np.array([k[0] <= CLASSIC_PAIRS for k in keys])
    parts = {"train": train, "query": test, "gallery": test}
    return Sightings.concat([layout.rows(paths[m], pids[m], views[m], s) for s, m in parts.items()])


def _home(root: Path, boxes: str, facts: Facts, *also: str) -> Path:
    """The folder with the images of one kind of boxes, or with the .mat they come from, and with `also`."""
    for holds in (f"images_{boxes}", "cuhk-03.mat", "cuhk03_release/cuhk-03.mat"):
        home = layout.find(root, [facts.folder, *ALIASES], [holds, *also])
        if home is not None:
            return home
    what = [f"images_{boxes} or cuhk-03.mat", *also]
    raise layout.missing(root, facts, " and ".join(what))


def _images(home: Path, boxes: str) -> Mapping[str, Path]:
    """The images of one kind of boxes by file name, extracted first from cuhk-03.mat if that is there."""
    folder = home / f"images_{boxes}"
    mat = cuhk03_mat.find(home)
    if mat is not None:
        cuhk03_mat.extract(mat, boxes, folder)
    files = layout.images(folder)
    layout.parse(files, NAME.pattern, EXAMPLE)
    return {f.name: f for f in files}


def _torchreid_test_set(path: Path, split: int) -> set[tuple[int, int]]:
    """(camera pair, person) of the people tested in one split of torchreid's splits_classic_*.json."""
    try:
        names = [Path(row[0]).stem for row in json.loads(path.read_text())[split]["query"]]
        return {(int(name.split("_")[0]), int(name.split("_")[1])) for name in names}
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: split {split} cannot be read ({error})") from None


def _read_talk(root: Path, facts: Facts) -> Sightings:
    home = layout.locate(root, facts, ["train", "val"])
    parts, offset = [], 1
    for folder, splits in (("train", ("train",)), ("val", ("query", "gallery"))):
        files = layout.images(home / folder)
        labels, numbers = np.array([m.groups() for m in layout.parse(files, r"(\d+)_(\d+)", "0000_00.jpg")]).T
        pids, camids = labels.astype(np.int64) + offset, 1 + (numbers.astype(np.int64) >= 5)
        parts += [layout.rows(files, pids, camids, s) for s in splits]
        offset = int(pids.max()) + 1
    return Sightings.concat(parts)


def _read_open_reid(root: Path, split: int, facts: Facts) -> Sightings:
    home = layout.locate(root, facts, ["images", "splits.json"], ALIASES)
    files: NDArray[np.object_] = np.array(image_files(home / "images"), dtype=object)
    names = layout.parse(files, r"(\d{8})_(\d{2})_(\d{4})", "00000000_00_0000.jpg")
    people, views, _ = np.array([m.groups() for m in names]).astype(np.int64).T
    try:
        chosen = json.loads((home / "splits.json").read_text())[split]
        train, test = np.isin(people, chosen["trainval"]), np.isin(people, chosen["query"])
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{home / 'splits.json'}: split {split} cannot be read ({error})") from None
    parts = {"train": train, "query": test, "gallery": test}
    return Sightings.concat([layout.rows(files[m], people[m] + 1, views[m] + 1, s) for s, m in parts.items()])
