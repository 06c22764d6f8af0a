"""Joints of sightings in pixels of the images that a network sees, and joints kept on disk by file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reidentify.data.console import tracked
from reidentify.data.pixels import Size
from reidentify.errors import ImageError, InputError
from reidentify.files import read_parquet, write_parquet
from reidentify.joints import MARKET14, to_market14
from reidentify.values import Sightings

_STAMP = ("path", "size", "modified")  # columns of the table of joints that are kept
_FLAGS = "; of COCO's flags 0, 1 and 2, give 0 for 0, 0 (or 0.5) for 1, and 1 for 2"
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width


def resized(sightings: Sightings, size: Size, progress: bool = True) -> NDArray[np.float32]:
    """The joints of every frame after its file is resized.

    A pixel's centre has whole coordinates, so a point x of a file of width w comes to (x + 0.5) * W / w - 0.5.

    Args:
        sightings: with files and with keypoints of a known set of joints, in pixels of the files as they are shown.
        size: height and width of the resized images.
        progress: show a progress bar while the files' sizes are read.

    Returns:
        F x 14 x 3, float32: x, y and visibility of Market-1501's joints (`to_market14`). A joint outside its image and
        one of which nothing is known (a visibility of NaN) have visibility 0; one that is unseen has the coordinates 0.

    Raises:
        InputError: no files or no keypoints, an unknown number of joints, a seen joint that is no point, or a
            visibility outside 0 to 1; the file is named.
        ImageError: a file cannot be read.
    """
    if sightings.files is None or sightings.keypoints is None:
        missing = "files" if sightings.files is None else "keypoints"
        raise InputError(f"these sightings have no {missing}, so where their joints are is not known")
    files = sightings.files.tolist()
    joints = to_market14(sightings.keypoints).copy()
    points, visibility = joints[..., :2], joints[..., 2]
    _refuse((visibility < 0) | (visibility > 1), files, f"has a visibility outside 0 to 1{_FLAGS}")
    unseen = ~(visibility > 0)
    _refuse(~unseen & ~np.isfinite(points).all(-1), files, "is seen and yet has no finite position")
    points[unseen] = 0
    shown = image_sizes(files, progress)[:, None, ::-1].astype(np.float32)  # width, height, as x and y
    outside = ((points < -0.5) | (points > shown - 0.5)).any(-1)
    points += 0.5
    points *= np.array(size[::-1], np.float32) / shown
    points -= 0.5
    joints[unseen | outside] = 0
    return joints


def image_sizes(files: Sequence[str], progress: bool = True) -> NDArray[np.int64]:
    """Height and width of each image as it is shown, upright as its EXIF says; only headers are read.

    Returns:
        F x 2, int64.

    Raises:
        ImageError: a file is missing or no image.
    """
    with ThreadPoolExecutor(8) as pool:
        found = list(tracked(pool.map(_size, files, chunksize=64), len(files), "Reading image sizes", progress))
    return np.array(found, np.int64).reshape(-1, 2)


def _size(path: str) -> Size:
    try:
        with Image.open(path) as image:
            width, height = image.size
            # The base class's way, for that of PNG decodes the whole picture.
            turned = Image.Image.getexif(image).get(_ORIENTATION) in _SIDEWAYS
    except FileNotFoundError:
        raise ImageError(path, "no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(path, str(error)) from None
    return (width, height) if turned else (height, width)


def _refuse(wrong: NDArray[np.bool_], files: Sequence[str], what: str) -> None:
    if wrong.any():
        frame, joint = np.argwhere(wrong)[0].tolist()
        raise InputError(f"keypoints: the {MARKET14.joints[joint]} in {files[frame]} {what}")


Stamp: TypeAlias = tuple[str, int, int]
"""A file as it is now: absolute path, bytes, and time of its last change in nanoseconds."""


def file_stamps(files: Sequence[str]) -> list[Stamp]:
    """What tells each file from what it was before.

    Raises:
        ImageError: one is missing.
    """
    stamps = []
    for name in map(os.path.abspath, files):
        try:
            stat = os.stat(name)
        except OSError:
            raise ImageError(name, "no such file") from None
        stamps.append((name, stat.st_size, stat.st_mtime_ns))
    return stamps


def kept_joints(path: Path, stamps: Sequence[Stamp]) -> NDArray[np.float32]:
    """The joints of files from what `keep_joints` wrote, F x 14 x 3; NaN of those not there or changed since."""
    joints = np.full((len(stamps), len(MARKET14), 3), np.nan, np.float32)
    if path.exists():
        table = read_parquet(path)
        kept = dict(zip(zip(*(table[name].to_pylist() for name in _STAMP)), range(table.num_rows)))
        rows = np.array([kept.get(stamp, -1) for stamp in stamps], np.int64)
        there = rows >= 0
        values = table["joints"].combine_chunks().flatten().to_numpy()
        joints[there] = values.reshape(-1, len(MARKET14), 3)[rows[there]]
    return joints


def keep_joints(path: Path, stamps: Sequence[Stamp], joints: NDArray[np.float32]) -> None:
    """Add the joints of files, F x 14 x 3, to the table at `path`, in place of those the files had before.

    Processes that do so at once wait for one another, so that the rows of all are kept; who reads meets a whole table.
    """
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = pa.array(np.ascontiguousarray(joints, np.float32).reshape(-1))
    columns = dict(zip(_STAMP, zip(*stamps)))
    table = pa.table({**columns, "joints": pa.FixedSizeListArray.from_arrays(numbers, len(MARKET14) * 3)})
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            before, replaced = read_parquet(path), {name for name, _, _ in stamps}
            others = [name not in replaced for name in before["path"].to_pylist()]
            table = pa.concat_tables([before.filter(pa.array(others, pa.bool_())), table])
        write_parquet(table, path)
