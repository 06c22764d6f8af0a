"""DanceReID: groups of dancers in videos, who hide behind one another and must be told apart afterwards."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.errors import InputError, ReidentifyWarning
from reidentify.joints import COCO17
from reidentify.ranking.protocol import DANCEREID
from reidentify.values import Sightings

VIDEOS = {
    "ZhuDSdmby8k": 5, "FvfBGRSycQQ": 7, "T4vr8mA4hoY": 5, "Js76pyw4UDk": 3, "O0Y5ewoMOjU": 3, "LuidpS7an4w": 5,
    "ON6GQ7lUZBM": 3, "FTSl3VWnCaU": 4, "qz2311gT1y4": 5, "3iNoS5utYL4": 3, "A0mfE8pBLqg": 5, "N64zW8iDe9I": 5,
    "EFVCxU49bWM": 7, "t463QgtOo-c": 7, "E--IWzJznxo": 4, "B3syPoisQMU": 8, "1hl-3HrwMw4": 4, "UDJPTG5IQVM": 5,
    "trftzcE6kXA": 4, "vm--8m-dKvE": 5, "7jRvxkYuYvk": 3,
}  # fmt: skip
"""The videos as video_data.csv orders and names them, and how many people each shows; they number the people from 0,
whatever videos are at hand."""
TEST = (*range(12), *range(35, 40), *range(88, 100))
TRAIN = {None: (*range(12, 35), *range(40, 88)), "published": (*range(17, 88),)}
"""People who are tested, and those who are trained on, by variant."""
FPS = 30.0
SIZE = (256, 128)
"""Height and width of the crops."""
PAPER = "Ho et al., Learning from Dances: Pose-Invariant Re-Identification for Multi-Person Tracking, ICASSP 2020"

FACTS = Facts(
    title="DanceReID",
    paper=f"{PAPER}; the counts are of every fifth frame of annotation.json (github.com/azuxmioy/DanceReID), those of"
    " the test as in its README, those of the training our own",
    licence="no licence is stated with the annotation; the videos are of YouTube, collected there as Creative Commons",
    obtain="Get annotation.json, the boxes and poses (.npy) and the list of videos as"
    " https://github.com/azuxmioy/DanceReID says, write the frames of each video into a folder that is named by its id"
    " (of the two that some videos have, that in File_name; ffmpeg -i VIDEO -fps_mode passthrough -start_number 0"
    " -qscale:v 2 frames/ID/%06d.jpg; numbers must be those of the published video's frames, so that no copy at another"
    " rate will do; JPEG is enough, and of the files only every fifth, 0, 5, 10, ..., is needed), and build the set:"
    " reidentify data dancereid annotation.json --frames frames --boxes npy --out DanceReID.",
    folder="DanceReID",
    counts={"train": Counts(34_754, 71, 15), "query": Counts(19_526, 29, 6)},
    fps=FPS,
    notes="Each video is a camera, and a person is in one video only. The people are numbered by the table of all 21"
    " videos, one higher than in the files, so that a video which is missing shifts nobody; the 12 further videos of"
    " annotation.json are no part of the published set and are not read. The published split trains"
    " on the people 17 to 87 of the files and tests on 35 to 39 as well; here the two are disjoint, with the people 12"
    " to 16, whom the published split leaves out, in their place. The variant `published` is the leaking one, for"
    " comparison with published figures. Every test image is a query and stands in the gallery. The data do not tell"
    " the videos' frame rate; times are frame numbers at 30 a second, which the published download allows at most."
    " Keypoints are COCO's 17. Two protocols: dancereid, as published, where the neighbours of a frame are right"
    " answers, and dancereid-strict (--protocol), which ignores the 4 seconds around it.",
)
VARIANTS = {
    "published": replace(
        FACTS,
        title="DanceReID, published split",
        paper=f"{PAPER}; the counts are those of github.com/azuxmioy/DanceReID (README)",
        counts={"train": Counts(31_643, 71, 15), "query": Counts(19_526, 29, 6)},
        notes="The published split, whose statistics these are: five of its 71 training people, 35 to 39 of the files,"
        " are tested too, so its scores are too high. Else as dancereid.",
    )
}


def first_people() -> dict[str, int]:
    """The number of the first person of each video, from 0."""
    counts = list(VIDEOS.values())
    return dict(zip(VIDEOS, np.cumsum([0, *counts[:-1]]).tolist()))


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set as `reidentify data dancereid` or the published script builds it; see FACTS for what it holds."""
    facts = FACTS if variant is None else VARIANTS[variant]
    layout.check_split(split, facts)
    home = layout.locate(root, facts, ["meta.json", "video.json", "images"])
    people = _people(home)
    _check_split(home)
    parts = [_rows(home, people, TRAIN[variant], "train"), _rows(home, people, TEST, "query")]
    return Benchmark("dancereid", Sightings.concat(parts), DANCEREID, facts)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); build the data set again") from None


def _people(home: Path) -> dict[int, tuple[int, list[str]]]:
    """Video (from 1, as the table orders them) and images of each person, by the number from 0 of the whole table.

    The published script counts only the videos that it finds, so the people of a video are those video.json names.
    """
    named, identities = _json(home / "video.json"), None
    content = _json(home / "meta.json")
    if isinstance(content, dict):
        identities = content.get("identities")
    try:
        lists = [[str(file) for file in files] for files in identities or ()]
        videos = {str(video): [lists[pid] for pid in pids] for video, pids in named.items()}
    except (AttributeError, TypeError, IndexError):
        lists, videos = [], {}
    if not lists or not videos:
        raise InputError(f"{home}: meta.json and video.json do not name the images of people; build the data set again")
    found = {}
    for place, (video, first) in enumerate(first_people().items(), start=1):
        files = videos.get(video, [])
        if files and len(files) != VIDEOS[video]:
            raise InputError(
                f"{home / 'video.json'}: names {len(files)} people of the video {video}, which shows {VIDEOS[video]};"
                " build the data set again"
            )
        found.update({first + person: (place, images) for person, images in enumerate(files)})
    missing = [video for video in VIDEOS if not videos.get(video)]
    if len(missing) == len(VIDEOS):
        raise InputError(f"{home / 'video.json'}: names none of the {len(VIDEOS)} videos of DanceReID")
    if missing:
        warnings.warn(
            f"{FACTS.title}: {len(missing)} of its {len(VIDEOS)} videos are missing: {', '.join(missing)}",
            ReidentifyWarning,
            stacklevel=4,
        )
    return found


def _check_split(home: Path) -> None:
    """The file of splits, under either of its published names, states no other split than those known here."""
    path = next((home / name for name in ("splits.json", "split.json") if (home / name).is_file()), None)
    if path is None:
        return
    known = {frozenset(people) for people in TRAIN.values()}
    try:
        stated = [(frozenset(s["trainval"]), frozenset(s["query"]), frozenset(s["gallery"])) for s in _json(path)]
    except (TypeError, KeyError):
        raise InputError(f"{path}: not a list of splits; build the data set again") from None
    test = frozenset(TEST)
    if any(train not in known or query != test or gallery != test for train, query, gallery in stated):
        raise InputError(f"{path}: states a split of its own, which is not read; remove the file to use the known ones")


def _rows(home: Path, people: dict[int, tuple[int, list[str]]], chosen: tuple[int, ...], split: str) -> Sightings:
    there = [(pid, *people[pid]) for pid in chosen if pid in people]
    files = [file for _, _, images in there for file in images]
    pids, videos = (np.repeat([row[i] for row in there], [len(row[2]) for row in there]) for i in (0, 1))
    names = layout.parse([Path(file) for file in files], r"(\d{4,})_(\d+)", "0017_000310.jpg")
    frames = np.array([int(name[2]) for name in names], np.int64)
    return layout.rows(
        [home / "images" / file for file in files],
        pids.astype(np.int64) + 1,
        videos.astype(np.int64),
        split,
        frames=frames,
        times=frames / FPS,
        keypoints=_poses(home / "poses", files),
    )


def _poses(folder: Path, files: list[str]) -> NDArray[np.float32] | None:
    """F x 17 x 3: x and y as in the files, seen if inside the crop; NaN where there is no file of an image."""
    if not folder.is_dir():
        return None
    poses = np.full((len(files), len(COCO17), 3), np.nan, np.float32)
    for place, file in enumerate(files):
        path = folder / Path(file).with_suffix(".txt")
        try:
            numbers = np.array(path.read_text().split(), np.float32).reshape(len(COCO17), 2)
        except FileNotFoundError:
            continue
        except ValueError:
            raise InputError(f"{path}: expected {len(COCO17)} lines of x and y; build the data set again") from None
        poses[place, :, :2] = numbers
        inside = (numbers > 0) & (numbers <= np.array(SIZE[::-1]) - 0.5)  # 0 and below mean not found, as published
        poses[place, :, 2] = inside.all(axis=1)
    return poses
