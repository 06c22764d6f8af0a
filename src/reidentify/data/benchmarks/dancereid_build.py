"""Builds DanceReID: crops and poses, from its annotation, the frames of its videos, and its files of boxes."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reidentify import files
from reidentify.data.benchmarks.dancereid import SIZE, TEST, TRAIN, VIDEOS, first_people
from reidentify.data.console import tracked
from reidentify.data.pixels import decode
from reidentify.data.root import image_files
from reidentify.errors import InputError
from reidentify.joints import COCO17

STEP = 5
"""Only frames whose number this divides are kept, as in the paper."""
QUALITY = 95
"""Of the JPEG files."""
_ALLOWED = {
    ("builtins", "dict"), ("builtins", "list"), ("builtins", "int"), ("builtins", "float"), ("_codecs", "encode"),
    ("collections", "OrderedDict"), ("collections", "defaultdict"), ("numpy", "ndarray"), ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}  # fmt: skip


def build(
    annotation: str | os.PathLike[str],
    frames: str | os.PathLike[str],
    boxes: str | os.PathLike[str],
    out: str | os.PathLike[str],
    progress: bool = True,
) -> str:
    """Write the data set that `dancereid.read` reads, in the published layout.

    Of every fifth frame, each person whom the annotation calls valid there: the box, enlarged to twice as high as wide
    around its middle, moved into the frame where it reaches beyond it and cut where it is larger than it, is resized to
    256 x 128; the 17 joints of COCO come in pixels of that crop, -1 -1 if they were not found.

    Args:
        annotation: annotation.json: {video: {person: [valid frames]}}.
        frames: a folder with a folder for each video, whose name holds the video's id, with images whose names end with
            the number of the frame, counted from 0; of every fifth frame is enough.
        boxes: a folder with a .npy file for each video, whose name holds the video's id: {frame: {box: {"id": person
            from 1, "box_pos": [x0, x1, y0, y1], "pose_pos": 17 x (x, y)}}}. They are pickles, of which nothing is
            admitted but arrays, numbers, text and containers of these.
        out: a folder without a data set.
        progress: show a progress bar for each video.

    Returns:
        What was built, and what is missing, in words.

    Raises:
        InputError: a file is not as described, or names what is not there; `out` holds a data set; or there is no
            video of which all is at hand.
    """
    annotated, target = _annotation(Path(annotation)), Path(out)
    if (target / "meta.json").exists():
        raise InputError(f"{target}: holds a data set already; give another folder")
    identities: list[list[str]] = [[] for _ in range(sum(VIDEOS.values()))]
    built, missing, unboxed = dict[str, list[int]](), list[str](), 0
    for place, (video, first) in enumerate(first_people().items()):
        folder, table = _named(Path(frames), video, ""), _named(Path(boxes), video, ".npy")
        if folder is None or table is None or video not in annotated:
            there = {"frames": folder, "boxes": table, "annotation": annotated.get(video)}
            missing.append(f"{video} (no {' and no '.join(what for what, value in there.items() if not value)})")
            continue
        crops = _Crops(target, f"{place:03d}_{video}", first, annotated[video])
        images, boxed = _numbered(folder), read_boxes(table)
        if abs(max(images) - max(boxed, default=-1)) >= STEP:
            raise InputError(
                f"{folder}: has images up to frame {max(images)} and {table.name} boxes up to frame"
                f" {max(boxed, default=-1)}, so they are not of the same frames; extract those of the published video"
                f" as they are, none doubled and none dropped: {_extraction(folder)}"
            )
        people = crops.write(images, boxed, progress)
        identities[first : first + len(people)] = people
        built[video] = list(range(first, first + len(people)))
        unboxed += crops.expected - sum(map(len, people))
    if not built:
        raise InputError(f"of no video are frames, boxes and annotation at hand: {'; '.join(missing)}")
    splits = [{"trainval": [*TRAIN[kind]], "query": [*TEST], "gallery": [*TEST]} for kind in (None, "published")]
    counts = [sum(len(identities[pid]) for pid in pids) for pids in built.values()]
    meta = {"identities": identities, "shot": "single", "name": "DanceReID", "n_detects": counts}
    files.write(target / "splits.json", json.dumps(splits))
    files.write(target / "video.json", json.dumps(built))
    files.write(target / "meta.json", json.dumps(meta | {"total_detects": sum(counts)}))  # last: now it is whole
    shown = f"{sum(counts):,} images of {sum(map(len, built.values()))} people in {len(built)} of {len(VIDEOS)} videos"
    lacking = f"; {unboxed:,} images that are annotated have no box" if unboxed else ""
    return f"{target}: {shown}{lacking}" + (f"; missing: {'; '.join(missing)}" if missing else "")


def _annotation(path: Path) -> dict[str, list[set[int]]]:
    """The valid frames of each person of each video of the set."""
    try:
        content = json.loads(path.read_text())
        found = {
            video: [set(map(int, people[str(person)])) for person in range(len(people))]
            for video, people in content.items()
            if video in VIDEOS
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the annotation of DanceReID ({error!r}); get annotation.json again") from None
    for video, people in found.items():
        if len(people) != VIDEOS[video]:
            raise InputError(f"{path}: names {len(people)} people of the video {video}, which shows {VIDEOS[video]}")
    return found


def _named(folder: Path, video: str, suffix: str) -> Path | None:
    """The folder (no suffix) or file inside `folder` that is named by a video, if there is one."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = sorted(p for p in folder.iterdir() if video in p.name and (p.suffix == suffix if suffix else p.is_dir()))
    if len(found) > 1:
        raise InputError(f"{folder}: {found[0].name} and {found[1].name} are both named by the video {video}")
    return found[0] if found else None


def _numbered(folder: Path) -> dict[int, Path]:
    """The frames of a video by their numbers."""
    found = {}
    for path in image_files(folder):
        number = re.search(r"\d+$", path.stem)
        if number is None:
            raise InputError(f"{path}: expected a name that ends with the number of the frame, like 000310.png")
        found[int(number[0])] = path
    if 0 not in found:
        raise InputError(f"{folder}: has no frame 0; frames are counted from 0, as with {_extraction(folder)}")
    return found


def _extraction(folder: Path) -> str:
    return f"ffmpeg -i VIDEO -fps_mode passthrough -start_number 0 -qscale:v 2 {folder.name}/%06d.jpg"


class _Crops:
    """Writes the crops and poses of one video.

    Args:
        target: folder of the data set.
        name: of the folder of the video within it.
        first: number of its first person.
        valid: the frames of each person that count.
    """

    def __init__(self, target: Path, name: str, first: int, valid: list[set[int]]) -> None:
        self.name, self.first = name, first
        self.valid = [{frame for frame in frames if frame % STEP == 0} for frames in valid]
        self.expected = sum(map(len, self.valid))
        self.images, self.poses = (target / kind / name for kind in ("images", "poses"))

    def write(
        self, images: Mapping[int, Path], boxes: Mapping[int, Mapping[Any, Any]], progress: bool
    ) -> list[list[str]]:
        """Write all, and return the names of the images of each person."""
        self.images.mkdir(parents=True, exist_ok=True)
        self.poses.mkdir(parents=True, exist_ok=True)
        names: list[list[str]] = [[] for _ in self.valid]
        frames = [frame for frame in sorted(boxes) if any(frame in valid for valid in self.valid)]
        for frame in tracked(frames, len(frames), self.name, progress):
            if frame not in images:
                raise InputError(f"{self.name}: frame {frame} is annotated and not among the images; extract it again")
            picture = decode(images[frame])
            for box in boxes[frame].values():
                person = self._person(box, frame)
                if not 0 <= person < len(names) or frame not in self.valid[person]:
                    continue
                corners, pose = self._read(box, frame)
                stem = f"{self.first + person:04d}_{frame:06d}"
                if (name := f"{self.name}/{stem}.jpg") in names[person]:
                    raise InputError(
                        f"{self.name}: frame {frame} has two boxes of person {person}; get the boxes again"
                    )
                x0, y0, x1, y1 = crop_of(corners, picture.shape[:2])
                crop = Image.fromarray(picture[y0:y1, x0:x1]).resize(SIZE[::-1], Image.Resampling.BILINEAR)
                with files.whole(self.images / f"{stem}.jpg") as partial:
                    crop.save(partial, "JPEG", quality=QUALITY)
                joints = resized_points(pose, (x0, y0, x1, y1))
                text = "".join(f"{x:.2f} {y:.2f}\n" for x, y in joints.tolist())
                files.write(self.poses / f"{stem}.txt", text)
                names[person].append(name)
        return names

    def _person(self, box: Any, frame: int) -> int:
        try:
            return int(box["id"]) - 1
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.name}: frame {frame} has a box of nobody ({error!r}); get the boxes again"
            ) from None

    def _read(self, box: Any, frame: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        try:
            corners = np.asarray(box["box_pos"], np.float64).reshape(4)
            pose = np.asarray(box["pose_pos"], np.float64).reshape(len(COCO17), 2)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.name}: frame {frame} has a box that cannot be read ({error!r})") from None
        if not (np.isfinite(corners).all() and corners[0] < corners[1] and corners[2] < corners[3]):
            raise InputError(f"{self.name}: frame {frame} has a box without an extent: {corners.tolist()}")
        return corners, pose


def crop_of(corners: NDArray[np.float64], frame: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of a frame that a box stands for: x0, y0, x1, y1 in whole pixels.

    Args:
        corners: x0, x1, y0, y1 of the box.
        frame: height and width.
    """
    x0, x1, y0, y1 = corners.tolist()
    height = max(y1 - y0, (x1 - x0) * SIZE[0] / SIZE[1])
    sides = (height * SIZE[1] / SIZE[0], height)
    spans = []
    for side, middle, limit in zip(sides, ((x0 + x1) / 2, (y0 + y1) / 2), frame[::-1]):
        length = min(max(1, round(side)), limit)
        start = min(max(0, round(middle - side / 2)), limit - length)
        spans.append((start, start + length))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def resized_points(points: NDArray[np.float64], crop: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Points of a frame in pixels of the resized crop, N x 2; -1 for those at 0 or below, which were not found."""
    x0, y0, x1, y1 = crop
    scale = np.array(SIZE[::-1]) / (x1 - x0, y1 - y0)
    found = (points > 0).all(axis=1, keepdims=True)
    return np.where(found, (points - (x0, y0) + 0.5) * scale - 0.5, -1.0)


class _Unpickler(pickle.Unpickler):
    """Builds arrays, numbers, text and containers of these, and nothing else: no pickle can run anything."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is neither an array nor a number, list or table")


def read_boxes(path: Path) -> dict[int, dict[Any, Any]]:
    """The boxes of each frame, out of a .npy file that holds one pickled table.

    Raises:
        InputError: it is not such a file, or holds anything but arrays, numbers, text and containers of these.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with path.open("rb") as file:
            shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
            if shape != () or dtype != np.dtype(object):
                raise ValueError("it holds an array")
            content = _Unpickler(file).load()
        table = content.item() if isinstance(content, np.ndarray) else content
        return {int(frame): dict(boxes) for frame, boxes in table.items()}
    except Exception as error:  # a broken pickle may raise anything
        raise InputError(f"{path}: cannot be read as boxes of frames ({error}); get the file again") from None
