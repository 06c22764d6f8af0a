"""Joints of sightings in pixels of the images that a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reidentify.data.console import tracked
from reidentify.data.pixels import Size
from reidentify.errors import ImageError, InputError
from reidentify.joints import MARKET14, to_market14
from reidentify.values import Sightings

_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width


def resized(sightings: Sightings, size: Size, progress: bool = True) -> NDArray[np.float32]:
    """The joints of every frame after its file is resized.

    A pixel's centre has whole coordinates, so a point x of a file of width w comes to (x + 0.5) * W / w - 0.5.

    Args:
        sightings: with files and with keypoints of a known set of joints, in pixels of the files as they are shown.
        size: height and width of the resized images.
        progress: show a progress bar while the files' sizes are read.

    Returns:
        F x 14 x 3, float32: x, y and visibility of Market-1501's joints (`to_market14`). A joint outside its image has
        visibility 0, and one that is unseen has the coordinates 0.

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
    _refuse(~((visibility >= 0) & (visibility <= 1)), files, "has a visibility outside 0 to 1")
    unseen = visibility == 0
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
